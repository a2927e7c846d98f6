"""The sources as the checks see them: files, includes, functions."""

import re
from pathlib import Path
from typing import NamedTuple

SOURCE_SUFFIXES = (".c", ".h", ".def")
_INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)
_CONDITIONAL = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b(.*)$")


class Function(NamedTuple):
    name: str
    line: int
    length: int


class Source:
    """One file below src/ (or tests/). `path` is relative to the root of the project."""

    def __init__(self, root, path):
        self.path = path.as_posix()
        self.text = (root / path).read_text(encoding="utf-8")
        self.lines = self.text.splitlines()

    @property
    def room(self):
        parts = Path(self.path).parts
        return parts[1] if len(parts) > 2 else ""

    @property
    def within(self):
        """The path as an #include spells it: room/file."""
        return self.path.removeprefix("src/")

    def includes(self):
        """(line, name, quoted) of each #include."""
        for match in _INCLUDE.finditer(self.text):
            line = self.text.count("\n", 0, match.start(1 if match[1] else 2)) + 1
            yield line, match[1] or match[2], match[1] is not None

    def guard(self):
        """The name that the include guard of a header must have."""
        return re.sub(r"\W", "_", self.within).upper()

    def conditionals(self):
        """(line, text) of each #if, the include guard excepted."""
        for number, line in enumerate(self.lines, 1):
            match = _CONDITIONAL.match(line)
            if match and match[1].strip() != self.guard():
                yield number, line.strip()

    def functions(self):
        """The functions, by the house's format: a body opens and closes in the first column."""
        start = None
        for number, line in enumerate(self.lines, 1):
            if line == "{":
                start = self._signature(number)
            elif line == "}" and start:
                text = " ".join(self.lines[start - 1:number])
                name = re.search(r"(\w+)\s*\(", text)
                yield Function(name[1] if name else "?", start, number - start + 1)
                start = None

    def _signature(self, number):
        """The first line of the signature whose body opens in line `number`."""
        while number > 1:
            above = self.lines[number - 2]
            if not above or above[0] in "#/}" or above.rstrip().endswith((";", "*/")):
                break
            number -= 1
        return number


def read(root, folder="src", suffixes=SOURCE_SUFFIXES):
    """All sources below a folder, in order of their paths."""
    return [Source(root, path.relative_to(root))
            for path in sorted((root / folder).rglob("*")) if path.suffix in suffixes]
