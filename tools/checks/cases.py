"""What a check reports: cases, each passed, failed or skipped, and the closing line."""

import json
import threading
from typing import NamedTuple

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Case(NamedTuple):
    suite: str
    name: str
    status: str
    detail: str = ""


def check(suite, name, problems):
    """A case that passes when there are no problems (a list of texts)."""
    problems = list(problems)
    return Case(suite, name, FAILED if problems else PASSED, "\n".join(problems))


def closing_line(cases):
    count = {status: sum(case.status == status for case in cases)
             for status in (PASSED, FAILED, SKIPPED)}
    line = f"{count[PASSED]} passed, {count[FAILED]} failed"
    return line + f", {count[SKIPPED]} skipped" if count[SKIPPED] else line


def print_bad(cases):
    """Failures, and skips with their reasons, once more at the end."""
    for case in cases:
        if case.status == SKIPPED:
            print(f"skipped: {case.suite}: {case.name}: {case.detail}")
    for case in cases:
        if case.status == FAILED:
            print(f"FAILED: {case.suite}: {case.name}")
            for line in case.detail.splitlines():
                print(f"    {line}")


class Report:
    """Collects cases and says what is going on while they come in; several threads may add."""

    def __init__(self, verbose=False):
        self.cases = []
        self.verbose = verbose
        self.lock = threading.Lock()

    def add(self, title, cases, seconds):
        """The cases of one finished step."""
        with self.lock:
            self.cases.extend(cases)
            print(f"{title}: {closing_line(cases)} ({seconds:.1f} s)", flush=True)
            for case in cases:
                if self.verbose and case.status == PASSED:
                    print(f"    ok {case.name}")
                elif case.status != PASSED:
                    first = case.detail.splitlines()[:1]
                    print(f"    {case.status}: {case.suite}: {case.name}"
                          + "".join(f": {line}" for line in first), flush=True)

    def note(self, text):
        with self.lock:
            print(text, flush=True)


def save(cases, path):
    """For tools/tally. The last line says that the run came to its end."""
    with open(path, "w", encoding="utf-8") as out:
        for case in cases:
            print(json.dumps(case), file=out)
        print(json.dumps("end"), file=out)


def load(path):
    """The cases of one saved run; a run that did not end is a failure."""
    broken = Case("run", str(path), FAILED, "ended before its last test")
    try:
        with open(path, encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return [broken]
    if rows[-1:] != ["end"]:
        return [Case(*row) for row in rows] + [broken]
    return [Case(*row) for row in rows[:-1]]
