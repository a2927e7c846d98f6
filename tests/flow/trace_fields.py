"""The trace fields that the server sets on top of a letter (RFC 5321 section 4.4)."""

import re

from instance import Trouble

TIME = rb"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"
RECEIVED = re.compile(
    rb"Received:\s+from (?P<helo>\S+)\s+\(\[(?P<ip>[^]]+)\]\)\r\n"
    rb"\tby mail\.example\.test with (?P<with>[A-Z0-9]+)"
    rb"(?:\s+\(helo=(?P<mark>[a-z-]+)\))?\s+id (?P<id>[0-9A-HJKMNP-TV-Z]{26})"
    rb"(?:\s+for <(?P<for>[^>]+)>)?;\r\n"
    rb"\t" + TIME + rb"\r\n")
RETURN_PATH = re.compile(rb"Return-Path: <(?P<from>[^>]*)>\r\n"
                         rb"Delivered-To: (?P<to>\S+) \((?P<token>[0-9A-HJKMNP-TV-Z]{16})\)\r\n")


def parts(letter):
    """The sender in Return-Path, the marks of Received, and what stands below them."""
    path = RETURN_PATH.match(letter)
    received = path and RECEIVED.match(letter, path.end())
    if not received:
        raise Trouble(f"no trace fields on top: {letter[:600]!r}")
    return path["from"].decode(), received, letter[received.end():]
