"""The pages: they name only files that exist, and the generated ones are up to date."""

import re
import subprocess
import sys

from . import cases

# What is made, not kept: a page may name it though a fresh tree lacks it.
_MADE = ("build/", "run/", "/")
_PLACEHOLDER = re.compile(r"[A-Z]{2,}|(?<![A-Za-z])X(?![A-Za-z])|_X\b|[<>{}$…*]")


def _mentions(text):
    """(line, name) of what looks like a file of the project: `a/b` in code, or a link's target."""
    text = re.sub(r"^(```.*?^```|    .*?$)", lambda m: "\n" * m[0].count("\n"), text,
                  flags=re.M | re.S)
    for match in re.finditer(r"`([\w.*/+-]+/[\w.*/+-]*)`|\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        yield text.count("\n", 0, match.start()) + 1, match[1] or match[2], match[2] is not None


def _exists(root, page, name, link, tops):
    bases = [page.parent] if link else [root, root / "src", page.parent]
    if not link and not name.startswith(tops):
        return True  # no path of ours: text/plain, Maildir's new/ and the like
    return any(True for base in bases for _ in base.glob(name.rstrip("/")))


def named_files(root):
    """The cases, one a page."""
    pages = sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")])
    tops = tuple(f"{path.name}/" for folder in (root, root / "src")
                 for path in folder.iterdir() if path.is_dir() and path.name != "build")
    for page in pages:
        problems = [f"{page.relative_to(root)}:{line}: there is no {name}"
                    for line, name, link in _mentions(page.read_text(encoding="utf-8"))
                    if not name.startswith(_MADE) and not _PLACEHOLDER.search(name)
                    and not _exists(root, page, name, link, tops)]
        yield cases.check("docs", f"{page.relative_to(root)} names files that exist", problems)


def generated(root):
    """The cases of tools/docs --check, one a page: lines `ok NAME` or `stale NAME`."""
    done = subprocess.run([sys.executable, root / "tools/docs", "--check"], cwd=root,
                          capture_output=True, text=True, check=False)
    if not done.stdout:
        yield cases.Case("docs", "tools/docs runs", cases.FAILED, done.stderr)
    for line in done.stdout.splitlines():
        word, _, page = line.partition(" ")
        yield cases.check("docs", f"{page} is up to date",
                          [] if word == "ok" else [f"{page} is not what `make docs` makes"])
