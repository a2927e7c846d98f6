"""tools/rooms against the includes: who may use whom, which library belongs where, no ring."""

import fnmatch
import re
from pathlib import Path

from . import cases

TABLE = "tools/rooms"


class Table:
    """tools/rooms as read."""

    def __init__(self, text, roles=()):
        self.allowed = {}    # room -> set of rooms
        self.libraries = []  # (pattern, places)
        self.prints = ()     # places
        self.roles = tuple(roles)
        self.problems = []   # of the table itself
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if words:
                self._row(f"{TABLE}:{number}", *words)

    def _row(self, where, kind, *words):
        if kind == "room" and words:
            room, below = words[0], words[1:]
            if room in self.allowed:
                self.problems.append(f"{where}: {room} stands here twice")
            for other in below:
                if other not in self.allowed:
                    self.problems.append(f"{where}: {other} must stand above {room}: no ring")
            self.allowed[room] = set(below)
        elif kind == "library" and len(words) > 1:
            self.libraries.append((words[0], words[1:]))
        elif kind == "prints" and words:
            self.prints = words
        else:
            self.problems.append(f"{where}: unknown line")

    def role_of(self, within):
        """The role that a file of roles/ belongs to ("" for what is common to all)."""
        parts = Path(within).parts
        if parts[0] != "roles":
            return ""
        for role in self.roles:
            if parts[1] == role or re.match(rf"{role}(_|\.)", parts[1]):
                return role
        return ""


def read_table(root):
    roles = re.findall(r"^ROLE\((\w+)", (root / "src/ipc/roles.def").read_text(), re.M)
    return Table((root / TABLE).read_text(), roles)


def at(path, places):
    """Whether a file is one of these places: a folder (x/), a file, or the start of a file name."""
    return any(path.startswith(place) if place.endswith("/") or "." not in Path(place).name
               else path == place for place in places)


def _include_problems(table, source, files):
    for line, name, quoted in source.includes():
        where = f"{source.path}:{line}"
        if not quoted:
            yield from _library_problems(table, source, where, name)
            continue
        room = name.partition("/")[0]
        if room not in table.allowed:
            yield f"{where}: \"{name}\" does not spell its room"
        elif name not in files:
            yield f"{where}: there is no src/{name}"
        elif room != source.room and room not in table.allowed[source.room]:
            yield f"{where}: {source.room} may not include {room} (\"{name}\")"
        elif table.role_of(name) not in ("", table.role_of(source.within)):
            yield f"{where}: a role may not include another ({table.role_of(name)})"


def _library_problems(table, source, where, name):
    for pattern, places in table.libraries:
        if fnmatch.fnmatchcase(name, pattern) and not at(source.path, places):
            yield f"{where}: <{name}> belongs in {' '.join(places)} only"


def ring(edges):
    """A ring in a graph {node: set of nodes}, as a list of nodes, or None."""
    state, path = {}, []

    def visit(node):
        state[node] = "open"
        path.append(node)
        for other in sorted(edges.get(node, ())):
            if state.get(other) == "open":
                return path[path.index(other):] + [other]
            if other not in state:
                found = visit(other)
                if found:
                    return found
        state[node] = "closed"
        path.pop()
        return None

    for node in sorted(edges):
        if node not in state:
            found = visit(node)
            if found:
                return found
    return None


def run(table, sources):
    """The cases: the table, each room, no ring of headers."""
    files = {source.within for source in sources}
    yield cases.check("rooms", "the table is in order", table.problems)
    strays = [f"{s.path}: no room of this name in {TABLE}"
              for s in sources if s.room not in table.allowed]
    yield cases.check("rooms", "every file stands in a room", strays)
    for room in table.allowed:
        problems = [problem for source in sources if source.room == room
                    for problem in _include_problems(table, source, files)]
        yield cases.check("rooms", f"{room} includes what it may", problems)
    edges = {s.within: {name for _, name, quoted in s.includes() if quoted} for s in sources}
    found = ring(edges)
    yield cases.check("rooms", "no ring of includes", [" -> ".join(found)] if found else [])
