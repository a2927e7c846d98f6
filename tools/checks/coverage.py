"""How much of each protocol engine its scripts and unit tests run, by lines."""

import re
import subprocess
import tempfile

from . import builds, cases, tap

LEAST = 85  # per cent
# An engine: the files of src/proto that begin so. A file belongs to the longest beginning.
ENGINES = {
    "smtp": ("smtp_",),
    "smtp_client": ("smtp_client", "smtp_offers", "smtp_text", "reply_parser"),
    "pop3": ("pop3_",),
}


def _run_tests(directory):
    """Lines about the test programs that did not pass; their counts are in *.gcda files then."""
    for old in directory.rglob("*.gcda"):
        old.unlink()
    for test in builds.tests(directory):
        if not test["cmd"][0].startswith(tuple(f"{directory}/{folder}/"
                                               for folder in builds.COVER.folders)):
            continue  # not one of this build's programs
        found = tap.run("coverage", test["name"], test["cmd"],
                        test["workdir"] or str(directory), test["env"], 300)
        for case in found:
            if case.status == cases.FAILED:
                yield f"{case.name}: {case.detail}"


def _lines(directory):
    """{file of src/proto: (lines that ran, lines)}, as gcov counts them."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for data in sorted((directory / "src/proto").rglob("*.gcda")):
            said = subprocess.run(["gcov", "-n", str(data)], cwd=scratch, capture_output=True,
                                  text=True, check=False).stdout
            for path, share, count in re.findall(
                    r"File '(?:[^']*/)?src/proto/([^'/]+\.c)'\nLines executed:([\d.]+)% of (\d+)", said):
                found[path] = (round(float(share) * int(count) / 100), int(count))
    return found


def _engine_of(path):
    """The engine that a file of src/proto belongs to, or None."""
    found = [(len(start), engine) for engine, starts in ENGINES.items() for start in starts
             if path.startswith(start)]
    return max(found, default=(0, None))[1]


def run(root):
    """The cases, one an engine; what was measured stands in the case's name."""
    directory = builds.COVER.directory(root)
    problems = list(_run_tests(directory))
    files = _lines(directory)
    for engine in ENGINES:
        some = {path: count for path, count in files.items() if _engine_of(path) == engine}
        ran, of = (sum(count[i] for count in some.values()) for i in (0, 1))
        percent = 100 * ran / of if of else 0
        told = [f"at least {LEAST} % are wanted"]
        told += [f"{path}: {ran} of {of} lines" for path, (ran, of) in sorted(some.items())]
        yield cases.check("coverage", f"{engine} engine: {percent:.1f} % of {of} lines ran",
                          problems + (told if percent < LEAST else []))
