"""Markdown as far as the tests need it: headings and code blocks, in their order."""

import re
from typing import NamedTuple


class Block(NamedTuple):
    """A fenced code block; `line` is that of its fence."""

    language: str
    text: str
    line: int


def blocks(page):
    found, language, begin, lines = [], None, 0, []
    for number, line in enumerate(page.splitlines(), 1):
        fence = re.match(r"```(\w*)", line)
        if fence and language is None:
            language, begin, lines = fence[1], number, []
        elif fence:
            found.append(Block(language, "\n".join(lines) + "\n", begin))
            language = None
        elif language is not None:
            lines.append(line)
    if language is not None:
        raise ValueError(f"line {begin}: a code block without an end")
    return found


def headings(page):
    """(level, text) of each heading outside code blocks."""
    found, inside = [], False
    for line in page.splitlines():
        if line.startswith("```"):
            inside = not inside
        heading = None if inside else re.match(r"(#+) (.+)", line)
        if heading:
            found.append((len(heading[1]), heading[2]))
    return found
