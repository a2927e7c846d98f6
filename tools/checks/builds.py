"""The builds that the tests need, made with meson below build/, and what they hold."""

import json
import os
import re
import subprocess
import time
from typing import NamedTuple

from . import cases


class Build(NamedTuple):
    name: str
    what: str
    compiler: str
    options: tuple
    folders: tuple = ()  # of the programs that are made; none: all

    def directory(self, root):
        return root / "build" / self.name


PLAIN = Build("plain", "gcc, fault seam", "gcc",
              ("-Dfault=true", "-Dtests=true"))
CHECK = Build("check", "gcc, ASan, UBSan, fault seam", "gcc",
              ("-Dfault=true", "-Dtests=true", "-Db_sanitize=address,undefined"))
CLANG = Build("clang", "clang, no warnings", "clang",
              ("-Dtests=true", "-Dwerror=true", "-Dbuildtype=debug"))
FUZZ = Build("fuzz", "clang, ASan, UBSan, libFuzzer", "clang",
             ("-Dfuzz=true", "-Dfault=true", "-Db_sanitize=address,undefined", "-Db_lundef=false"))
# Not by meson's b_coverage, which stops where PATH has a folder that the user may not enter.
COVER = Build("cover", "gcc, counts lines", "gcc",
              ("-Dtests=true", "-Dc_args=--coverage", "-Dc_link_args=--coverage"),
              ("tests/chat", "tests/unit/proto"))
ALL = (PLAIN, CHECK, CLANG, FUZZ, COVER)


def _commands(root, build, jobs):
    directory = build.directory(root)
    options = [*build.options]
    if os.environ.get("CI") == "true" and "-Dwerror=true" not in options:
        options.append("-Dwerror=true")
    if not (directory / "build.ninja").exists():
        yield ["meson", "setup", *options, str(directory), str(root)]
    yield ["ninja", "-C", str(directory), f"-j{jobs}", *_wanted(root, build)]


def _wanted(root, build):
    """The targets of a build that makes some programs only."""
    for target in _introspect(build.directory(root), "targets") if build.folders else ():
        folder = os.path.relpath(os.path.dirname(target["defined_in"]), root)
        if target["type"] == "executable" and folder in build.folders:
            yield from (os.path.relpath(path, build.directory(root)) for path in target["filename"])


def make(root, build, jobs):
    """One case: the build succeeds. The detail of a failure is the end of what it printed."""
    name = f"build/{build.name} ({build.what})"
    for command in _commands(root, build, jobs):
        done = subprocess.run(command, env={**os.environ, "CC": build.compiler},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            text = done.stdout.decode("utf-8", "replace")
            return cases.Case("build", name, cases.FAILED, "\n".join(_telling(text)))
    return cases.Case("build", name, cases.PASSED)


def _telling(text):
    """The lines of a failed build that tell why: from the first failure on."""
    lines = [line for line in text.splitlines() if not re.match(r"\[\d+/\d+\] (Comp|Link|Gen)", line)]
    first = next((n for n, line in enumerate(lines) if re.search(r"^FAILED: |: error: |ERROR:", line)), 0)
    return lines[first:first + 40]


def _introspect(directory, what):
    path = directory / "meson-info" / f"intro-{what}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def tests(directory):
    """The test programs that meson knows: dicts with name, suite, cmd, env, workdir, timeout."""
    return _introspect(directory, "tests")


def programs(root, directory):
    """(path in the build, place in the product) of the command and of the role binaries."""
    for target in _introspect(directory, "targets"):
        if target["type"] != "executable":
            continue
        room = os.path.relpath(os.path.dirname(target["defined_in"]), root / "src")
        for path in target["filename"]:
            name = os.path.basename(path)
            if room == "ctl" or room.startswith("ctl/"):
                yield path, name
            elif room == "roles" or room.startswith("roles/"):
                yield path, f"libexec/posthouse/{name}"


def stage(root, directory, product):
    """Puts the command and the role binaries where they find each other: PRODUCT/posthouse and
    PRODUCT/libexec/posthouse/ROLE. They are links of what was built, not symbolic ones: a program
    that asks for its own path must hear this one."""
    for path, place in programs(root, directory):
        target = os.path.join(product, place)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = f"{target}.{os.getpid()}"
        os.link(path, temporary)
        os.replace(temporary, target)
        if os.path.exists(temporary):  # both were links of one file already
            os.unlink(temporary)


class Clock:
    """Seconds since its making."""

    def __init__(self):
        self.start = time.monotonic()

    def __call__(self):
        return time.monotonic() - self.start
