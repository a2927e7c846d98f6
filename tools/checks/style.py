"""Sizes, conditional compilation, include guards, headers that compile alone, clang-format."""

import re
import shutil
import statistics
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from . import cases

FUNCTION_LINES = 100
FILE_LINES = 1000
EXCEPTIONS = "tools/size-exceptions"
MAX_EXCEPTIONS = 5
CLANG_FORMAT = 14  # other versions format differently

HEADER_FLAGS = ["-std=c17", "-D_POSIX_C_SOURCE=200809L", "-Isrc", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow",
                "-Wconversion", "-Wstrict-prototypes", "-Wundef", "-Werror"]


def read_exceptions(root):
    """{path or path:function: reason} of tools/size-exceptions."""
    path = root / EXCEPTIONS
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    return {name: reason.strip() for name, _, reason in rows}


def sizes(sources, exceptions):
    """The cases: files and functions within their limits, exceptions few, reasoned, and needed."""
    files, functions, used = [], [], set()

    def judge(what, length, limit, problems):
        if length > limit and what in exceptions:
            used.add(what)
        elif length > limit:
            problems.append(f"{what} has {length} lines; the limit is {limit}")

    for source in sources:
        judge(source.path, len(source.lines), FILE_LINES, files)
        for function in source.functions():
            judge(f"{source.path}:{function.name}", function.length, FUNCTION_LINES, functions)
    yield cases.check("sizes", f"files have at most {FILE_LINES} lines", files)
    yield cases.check("sizes", f"functions have at most {FUNCTION_LINES} lines", functions)
    bad = [f"{name}: no reason given" for name, reason in exceptions.items() if not reason]
    bad += [f"{name}: not needed" for name in exceptions if name not in used]
    if len(exceptions) > MAX_EXCEPTIONS:
        bad.append(f"{len(exceptions)} exceptions; at most {MAX_EXCEPTIONS}")
    yield cases.check("sizes", f"{EXCEPTIONS} is short and true", bad)


def _spread(values):
    values = sorted(values)
    if not values:
        return "none"
    return (f"{len(values)}, lines median {statistics.median_low(values)}"
            f" / p90 {values[int(len(values) * 0.9)]} / max {values[-1]}"
            if len(values) > 1 else f"1, of {values[0]} lines")


def distribution(sources):
    """Lines of text about sizes, for people."""
    code = [source for source in sources if not source.path.endswith(".def")]
    functions = [(function.length, f"{source.path}:{function.name}")
                 for source in code for function in source.functions()]
    yield f"files: {_spread([len(source.lines) for source in code])}"
    yield f"functions: {_spread([length for length, _ in functions])}"
    for length, name in sorted(functions, reverse=True)[:3]:
        yield f"    {length:4} {name}"
    count = {}
    for source in code:
        count[source.room] = count.get(source.room, 0) + len(list(source.conditionals()))
    yield "#if in each room: " + ", ".join(f"{room} {n}" for room, n in count.items())


def conditionals(sources):
    """The case: #if stands in os/ and base/ only, tables (.def) left out."""
    problems = [f"{source.path}:{line}: {text}" for source in sources
                if source.room not in ("os", "base") and not source.path.endswith(".def")
                for line, text in source.conditionals()]
    yield cases.check("style", "#if stands in os and base only", problems)


def macros(sources, build_files):
    """The case: _GNU_SOURCE stands in os/*.c, and in no build file."""
    define = re.compile(r"#\s*define\s+_GNU_SOURCE")
    problems = [f"{s.path}: defines _GNU_SOURCE" for s in sources if define.search(s.text)
                and not (s.path.startswith("src/os/") and s.path.endswith(".c"))]
    problems += [f"{path}: defines _GNU_SOURCE" for path in build_files
                 if "_GNU_SOURCE" in path.read_text()]
    yield cases.check("style", "_GNU_SOURCE stands in os/*.c only", problems)


def guards(sources):
    """The case: each header has its include guard, named after its path."""
    problems = [f"{s.path}: no include guard {s.guard()}" for s in sources
                if s.path.endswith(".h")
                and f"#ifndef {s.guard()}\n#define {s.guard()}\n" not in s.text]
    yield cases.check("style", "headers have their include guards", problems)


def headers(root, sources, jobs):
    """The cases: each header compiles alone, with each compiler."""
    def compile_alone(compiler, source):
        done = subprocess.run([compiler, *HEADER_FLAGS, "-include", source.within, "-x", "c", "-"],
                              cwd=root, input="extern int nothing;\n", capture_output=True,
                              text=True, check=False)
        problem = done.stderr.strip() or f"{compiler} failed"
        return cases.check("headers", f"{source.within} compiles alone ({compiler})",
                           [problem] if done.returncode else [])

    pairs = [(compiler, source) for source in sources if source.path.endswith(".h")
             for compiler in ("gcc", "clang")]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda pair: compile_alone(*pair), pairs)


def formatter():
    """clang-format of the version that the house uses, or None."""
    for name in (f"clang-format-{CLANG_FORMAT}", "clang-format"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True,
                                     check=True).stdout
            if f"version {CLANG_FORMAT}." in version:
                return name
    return None


def formatting(root, sources):
    """The cases, one a folder: as clang-format would write it."""
    command = formatter()
    folders = {}
    for source in sources:
        if not source.path.endswith(".def"):
            folders.setdefault(source.path.rpartition("/")[0], []).append(source.path)
    for folder, paths in sorted(folders.items()):
        name = f"{folder} is formatted"
        if command is None:
            yield cases.Case("format", name, cases.SKIPPED, f"no clang-format {CLANG_FORMAT}")
            continue
        done = subprocess.run([command, "--dry-run", "-Werror", *paths], cwd=root,
                              capture_output=True, text=True, check=False)
        places = re.findall(r"^(\S+?):(\d+):\d+: error:", done.stderr, re.M)
        count = Counter(path for path, _ in places)
        problems = [f"{path}: {n} places; `make format` puts it right"
                    for path, n in count.items()]
        yield cases.check("format", name, problems or done.stderr.splitlines())
