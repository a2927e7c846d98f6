"""Runs test programs that speak TAP and turns what they say into cases."""

import os
import re
import signal
import subprocess
import tempfile

from . import cases

_PLAN = re.compile(r"^1\.\.(\d+)")
_POINT = re.compile(r"^(not )?ok\b\s*\d*\s*(?:- )?(.*)$")
_SKIP = re.compile(r"#\s*SKIP\b:?\s*(.*)$", re.I)


def parse(suite, program, text):
    """The cases in a TAP text, and how many its plans promised (None: there is no plan).

    cmocka prints a skipped test as `not ok 3 # SKIP name`, ends each group with a comment, and says
    only after the fact what went wrong: comments belong to the point above them.
    """
    points, planned = [], None
    for line in text.splitlines():
        plan, point = _PLAN.match(line), _POINT.match(line)
        if plan:
            planned = (planned or 0) + int(plan[1])
        elif point:
            skip = _SKIP.search(point[2])
            name = _SKIP.sub("", point[2]).strip() or (skip[1].strip() if skip else "")
            status = cases.SKIPPED if skip else cases.FAILED if point[1] else cases.PASSED
            points.append([suite, f"{program}: {name}", status, [skip[1].strip()] if skip else []])
        elif line.startswith("# ") and points and points[-1][2] == cases.FAILED:
            points[-1][3].append(line[2:])
    return [cases.Case(*point[:3], "\n".join(point[3])) for point in points], planned


def judge(suite, program, text, errors, status):
    """The cases of a finished program; one more when it did not end as it should."""
    found, planned = parse(suite, program, text)
    failed = any(case.status == cases.FAILED for case in found)
    problems = []
    if status < 0:
        problems.append(f"ended by signal {-status}")
    elif status and not failed and not any(case.status == cases.SKIPPED for case in found):
        problems.append(f"exit status {status}")
    if re.search(r"(ERROR: \w+Sanitizer|runtime error:)", errors):
        problems.append("a sanitizer spoke")
    if planned is None:
        problems.append("it printed no plan")
    elif len(found) < planned:
        problems.append(f"{len(found)} of {planned} cases were run")
    if not found:
        problems.append("no case was run")
    if problems:
        found.append(cases.Case(suite, f"{program}: runs to its end", cases.FAILED,
                                "\n".join([*problems, *errors.splitlines()[-60:]])))
    return found


def run(suite, program, command, directory, environment, seconds):
    """Runs one program; the cases. What it leaves running in its process group is ended."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, cwd=directory, env={**os.environ, **environment},
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                                   start_new_session=True)
        late = ""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            late = f"\nnot done after {seconds} s"
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        status = process.wait()
        return judge(suite, program, _text(out), _text(errors) + late, status)


def _text(file):
    file.seek(0)
    return file.read().decode("utf-8", "replace")
