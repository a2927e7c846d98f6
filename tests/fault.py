"""The fault seam from the tests' side (src/os/fault.h): pages, traces, and crashes that never were.

    page = fault.Page.create(path)              # then run with POSTHOUSE_FAULT=path
    page.rule('fdatasync', role='queue', first=3, error=errno.EIO)
    page.calls('queue', 'fdatasync')            # how many there were

    before = fault.Snapshot(directory)          # before the run
    trace = fault.Trace.create(path)            # then run with POSTHOUSE_TRACE=path
    ...
    for cut in trace.cuts():                    # the power fails at that moment
        fault.replay(before, trace.records(), cut, seed=cut).write(elsewhere)

The model of a crash: what a completed sync covered is there. Of everything else that was begun,

  - each 512-byte piece of a file holds what was last synced, or any later content it had;
  - a file is as long as it was when last synced, or as at any time since;
  - a change of names happened or did not, but never a later change of a name without the earlier
    ones, and never a removal by rename without the new name.

File data is made durable by fdatasync, fsync (of that file) and syncfs; names by fsync of their
directory and by syncfs. An fsync of a file makes no name durable. A change counts as covered when
it had ended before the sync began; the sync counts when it had ended, without an error, at the cut.

Limits: only calls of os/ are seen, so a database's own writes are not. A process that is killed from
outside in the midst of a call leaves a record without an end, which stays "perhaps done" for good:
kill by rules (they strike before the call) where a trace is to be replayed.
"""

import copy
import errno as errno_names
import mmap
import os
import random
import re
import stat
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
SECTOR = 512
NEVER = 1 << 64
ALL = (1 << 64) - 1


def _read_calls():
    with open(os.path.join(HERE, '..', 'src', 'os', 'fault_calls.def'), encoding='ascii') as table:
        return re.findall(r'^FAULT_CALL\((\w+)\)', table.read(), re.M)


CALLS = _read_calls()


class _Mapped:
    """A file that the processes under test have mapped too."""

    def __init__(self, path):
        self.path = path
        with open(path, 'r+b') as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def get(self, form, at):
        return struct.unpack_from('<' + form, self.memory, at)[0]

    def put(self, form, at, value):
        struct.pack_into('<' + form, self.memory, at, value)

    def close(self):
        self.memory.close()


def _make_file(path, size, head):
    with open(path, 'wb') as file:
        file.write(head)
        file.truncate(size)


class Page(_Mapped):
    RULES_AT, RULE_SIZE, RULES = 64, 128, 32
    ROLES_AT, ROLE_SIZE, ROLES = 64 + 32 * 128, 536, 32
    ANY = 0xffff

    @classmethod
    def create(cls, path):
        head = struct.pack('<8sII', b'PHFAULT1', 1, len(CALLS))
        _make_file(path, cls.ROLES_AT + cls.ROLE_SIZE * cls.ROLES, head)
        return cls(path)

    def rule(self, call=None, role='', path='', first=1, count=ALL, error=0, delay_ms=0, limit=ALL,
             kill=False):
        """Arms a rule and returns its number. `first` counts matching calls from now on (1: the
        next). `error` is an errno or its name. A rule with a path matches only calls with one."""
        if isinstance(error, str):
            error = getattr(errno_names, error)
        if limit < 1 or first < 1:
            raise ValueError('limit and first begin at 1')
        for number in range(self.RULES):
            at = self.RULES_AT + number * self.RULE_SIZE
            if not self.get('I', at):
                break
        else:
            raise ValueError('all rules are in use')
        role_bytes, path_bytes = role.encode(), path.encode()
        if len(role_bytes) > 15 or len(path_bytes) > 47:
            raise ValueError('the name is too long')
        which = self.ANY if call is None else CALLS.index(call)
        struct.pack_into('<IQQQQQQiI16s48s', self.memory, at + 4, which, first, count, 0, 0,
                         delay_ms, limit, error, int(kill), role_bytes, path_bytes)
        self.put('I', at, 1)  # last: now it counts
        return number

    def acted(self, number):
        """How often the rule has struck."""
        return self.get('Q', self.RULES_AT + number * self.RULE_SIZE + 32)

    def seen(self, number):
        return self.get('Q', self.RULES_AT + number * self.RULE_SIZE + 24)

    def remove(self, number):
        self.put('I', self.RULES_AT + number * self.RULE_SIZE, 0)

    def clear(self):
        for number in range(self.RULES):
            self.remove(number)

    def roles(self):
        """{role: {call: count}}, for calls that were made at all."""
        found = {}
        for number in range(self.ROLES):
            at = self.ROLES_AT + number * self.ROLE_SIZE
            if self.get('I', at) == 2:
                name = self.get('16s', at + 8).rstrip(b'\0').decode()
                counts = struct.unpack_from('<%dQ' % len(CALLS), self.memory, at + 24)
                found[name] = {call: n for call, n in zip(CALLS, counts) if n}
        return found

    def calls(self, role, call):
        return self.roles().get(role, {}).get(call, 0)

    def shift_wall(self, ms):
        """Sets the shift of the wall clock, either way."""
        self.put('q', 16, ms)

    def shift_monotonic(self, ms):
        """Sets the shift of the monotonic clock, which never goes back."""
        if ms < self.get('q', 24):
            raise ValueError('the monotonic clock does not go back')
        self.put('q', 24, ms)

    def sequence(self):
        """The number drawn last: a cut at this moment."""
        return self.get('Q', 32)


class Record:
    """One call of the trace. `end` is NEVER while it is under way."""
    FORM = struct.Struct('<IIQQqII16s2QQ2Q2QIIQ')

    def __init__(self, raw):
        (self.length, call, self.begin, end, self.result, self.pid, self.mode, role, *self.file,
         self.argument, dir_device, dir_inode, to_device, to_inode, path_len, to_len,
         data_len) = self.FORM.unpack_from(raw)
        self.call = CALLS[call]
        self.end = end or NEVER
        self.role = role.rstrip(b'\0').decode()
        self.file = tuple(self.file)
        self.dir = (dir_device, dir_inode)
        self.to_dir = (to_device, to_inode)
        at = self.FORM.size
        self.path = os.fsdecode(raw[at:at + path_len])
        self.to = os.fsdecode(raw[at + path_len:at + path_len + to_len])
        self.data = raw[at + path_len + to_len:at + path_len + to_len + data_len]

    def __repr__(self):
        end = 'never' if self.end == NEVER else self.end
        names = ' '.join(name for name in (self.path, self.to) if name)
        return (f'<{self.begin}..{end} {self.role} {self.call} {names} file={self.file} '
                f'argument={self.argument} len={len(self.data)} = {self.result}>')


class Trace(_Mapped):
    HEAD = 64

    @classmethod
    def create(cls, path, size=1 << 30):
        _make_file(path, size, struct.pack('<8sQQ', b'PHTRACE1', size, cls.HEAD))
        return cls(path)

    def records(self):
        """All records, in the order in which they begin."""
        size, used, lost = struct.unpack_from('<QQQ', self.memory, 8)
        if lost:
            raise ValueError(f'the trace is too small: {lost} records were lost')
        found, at = [], self.HEAD
        while at < min(used, size):
            length = self.get('I', at)
            if not length:  # reserved by a process that died before it wrote
                at += 8
                continue
            if self.get('Q', at + 8):
                found.append(Record(self.memory[at:at + length]))
            at += length
        return sorted(found, key=lambda record: record.begin)

    def cuts(self):
        """Every moment at which something had just begun or ended."""
        moments = {0}
        for record in self.records():
            moments.add(record.begin)
            if record.end != NEVER:
                moments.add(record.end)
        return sorted(moments)


class Node:
    """A file or directory, with all that it has been since it was last synced."""

    def __init__(self, identity, mode, content=b''):
        self.identity = identity
        self.mode = mode
        self.durable = bytearray(content)  # files: as of the last sync
        self.writes = []  # files: (record, durable)
        self.names = {}  # directories: name -> Node, all changes so far applied

    def is_directory(self):
        return stat.S_ISDIR(self.mode)


class Change:
    """One change of one or two names: [(directory, name, node or None)]."""

    def __init__(self, steps, record, durable, needs=None):
        self.steps = steps
        self.record = record
        self.durable = durable
        self.needs = needs  # a change that must have happened too


class Snapshot:
    """What was on the disk, all of it durable, and under which inodes."""

    def __init__(self, directory):
        self.nodes = {}
        self.root = self._take(directory)

    def _take(self, path):
        st = os.lstat(path)
        identity = (st.st_dev, st.st_ino)
        if identity in self.nodes:  # another link
            return self.nodes[identity]
        node = self.nodes[identity] = Node(identity, st.st_mode)
        if stat.S_ISDIR(st.st_mode):
            for name in sorted(os.listdir(path)):
                inner = os.path.join(path, name)
                mode = os.lstat(inner).st_mode
                if stat.S_ISDIR(mode) or stat.S_ISREG(mode):  # sockets and links are no mail
                    node.names[name] = self._take(inner)
        elif stat.S_ISREG(st.st_mode):
            with open(path, 'rb') as file:
                node.durable = bytearray(file.read())
        return node


class _Replay:
    def __init__(self, snapshot, records, cut, choose):
        self.cut = cut
        self.choose = choose
        self.nodes = {}  # (device, inode) -> the Node that has it now
        self.changes = []
        self.root = self._copy(snapshot.root, {})
        self.start = {id(node): dict(node.names) for node in self.nodes.values()}
        begun = [record for record in records if record.begin <= cut and
                 (record.end == NEVER or record.result >= 0)]
        self.synced = {}  # (call, identity or device) -> begin of the latest sync
        for record in begun:
            if record.end <= cut and record.call in ('fdatasync', 'fsync', 'syncfs'):
                what = record.file[0] if record.call == 'syncfs' else record.file
                self.synced[record.call, what] = record.begin
        # In the order of their ends: what a sync covers comes before what it does not.
        for record in sorted(begun, key=lambda r: (min(r.end, cut + 1), r.begin)):
            handler = getattr(self, '_on_' + record.call, None)
            if handler:
                handler(record)

    def _copy(self, node, done):
        if node.identity not in done:
            twin = done[node.identity] = Node(node.identity, node.mode, node.durable)
            self.nodes[node.identity] = twin
            twin.names = {name: self._copy(child, done) for name, child in node.names.items()}
        return done[node.identity]

    # ---- what is durable

    def _covered(self, record, identity, calls):
        syncs = [self.synced.get((call, identity), 0) for call in calls]
        return max(self.synced.get(('syncfs', identity[0]), 0), *syncs) > record.end

    def _data_durable(self, record):
        return self._covered(record, record.file, ('fdatasync', 'fsync'))

    def _names_durable(self, record, directory):
        return self._covered(record, directory.identity, ('fsync',))

    # ---- names

    def _find(self, start, path):
        """(directory, last name) of a path, or (None, None) outside the snapshot."""
        parts = [part for part in path.split('/') if part not in ('', '.')]
        node = self.nodes.get(start)
        for part in parts[:-1]:
            node = node.names.get(part) if node else None
        if not node or not parts or not node.is_directory():
            return None, None
        return node, parts[-1]

    def _change(self, record, steps, needs=None):
        durable = all(self._names_durable(record, directory) for directory, _, _ in steps)
        change = Change(steps, record, durable, needs)
        self.changes.append(change)
        for directory, name, node in steps:
            if node:
                directory.names[name] = node
            else:
                directory.names.pop(name, None)
        return change

    def _make(self, record, mode):
        directory, name = self._find(record.dir, record.path)
        if not directory:
            return
        known = directory.names.get(name)
        if known and (record.file == known.identity or record.file == (0, 0)):
            return
        # A new inode, though perhaps under a number that was in use before. Of a call under way the
        # number is not known, and nobody can use what it made.
        node = Node(record.file, record.mode or mode)
        if record.file != (0, 0):
            self.nodes[record.file] = node
        self._change(record, [(directory, name, node)])

    def _on_open(self, record):
        if record.argument & os.O_CREAT:
            self._make(record, stat.S_IFREG | 0o600)
        if record.argument & os.O_TRUNC:
            to_nothing = copy.copy(record)
            to_nothing.argument = 0
            self._on_truncate(to_nothing)

    def _on_mkdir(self, record):
        self._make(record, stat.S_IFDIR | 0o700)

    def _on_link(self, record):
        directory, name = self._find(record.to_dir, record.to)
        node = self.nodes.get(record.file)
        if directory and node and name not in directory.names:
            self._change(record, [(directory, name, node)])

    def _on_rename(self, record):
        old_directory, old = self._find(record.dir, record.path)
        new_directory, new = self._find(record.to_dir, record.to)
        node = self.nodes.get(record.file)
        if not node or not old_directory or not new_directory:
            return
        if new_directory.names.get(new) is node:  # two names of one file: rename does nothing
            return
        come, gone = (new_directory, new, node), (old_directory, old, None)
        if old_directory is new_directory:
            self._change(record, [gone, come])
        else:
            self._change(record, [gone], needs=self._change(record, [come]))

    def _on_unlink(self, record):
        directory, name = self._find(record.dir, record.path)
        if directory:
            self._change(record, [(directory, name, None)])

    _on_rmdir = _on_unlink

    # ---- contents

    def _on_write(self, record):
        node = self.nodes.get(record.file)
        if node:
            node.writes.append((record, self._data_durable(record)))

    _on_truncate = _on_write

    def _content(self, node):
        content = bytearray(node.durable)
        loose = []
        for record, durable in node.writes:
            if durable:
                _apply(content, record)
            else:
                loose.append(record)
        if not loose:
            return bytes(content)
        sizes, pieces, later = [len(content)], {}, bytearray(content)
        for record in loose:
            size_before = len(later)
            _apply(later, record)
            sizes.append(len(later))
            first, last = _touched(record, size_before)
            for piece in range(first // SECTOR, (last + SECTOR - 1) // SECTOR):
                at = piece * SECTOR
                versions = pieces.setdefault(piece, [bytes(content[at:at + SECTOR])])
                versions.append(bytes(later[at:at + SECTOR]))
        size = self.choose(sizes)
        result = bytearray(content[:size].ljust(size, b'\0'))
        for piece in sorted(pieces):
            at = piece * SECTOR
            room = min(SECTOR, size - at)
            if room > 0:
                result[at:at + room] = self.choose(pieces[piece])[:room].ljust(room, b'\0')
        return bytes(result)

    # ---- the end

    def _kept_changes(self):
        """Which changes of names happened: all durable ones, the others by choice; but each one
        takes with it those that it needs and the earlier ones of the same names."""
        needed, names, kept = set(), set(), []
        for change in reversed(self.changes):
            own = {(id(directory), name) for directory, name, _ in change.steps}
            if change.durable or change in needed or own & names or self.choose((False, True)):
                kept.append(change)
                names |= own
                if change.needs:
                    needed.add(change.needs)
        return reversed(kept)

    def result(self):
        directories = {}

        def names_of(node):
            return directories.setdefault(id(node), dict(self.start.get(id(node), {})))

        for change in self._kept_changes():
            for directory, name, node in change.steps:
                if node:
                    names_of(directory)[name] = node
                else:
                    names_of(directory).pop(name, None)
        contents = {}

        def build(node):
            if node.is_directory():
                return {name: build(child) for name, child in sorted(names_of(node).items())}
            if id(node) not in contents:
                contents[id(node)] = File(self._content(node), stat.S_IMODE(node.mode))
            return contents[id(node)]

        return Tree(build(self.root))


def _apply(content, record):
    if record.call != 'write':
        size = record.argument
        del content[size:]
        content.extend(b'\0' * (size - len(content)))
        return
    data = record.data
    if record.end != NEVER and 0 <= record.result < len(data):
        data = data[:record.result]
    end = record.argument + len(data)
    if data:
        content.extend(b'\0' * (end - len(content)))
        content[record.argument:end] = data


def _touched(record, size_before):
    """The bytes that may have changed."""
    if record.call == 'write':
        return min(record.argument, size_before), record.argument + len(record.data)
    return min(record.argument, size_before), max(record.argument, size_before)


class File:
    def __init__(self, content, mode):
        self.content = content
        self.mode = mode


class Tree:
    """A directory as {name: File or dict}; a File that has two names is one object."""

    def __init__(self, root):
        self.root = root

    def files(self):
        """{path: content}"""
        found = {}

        def walk(directory, prefix):
            for name, entry in directory.items():
                if isinstance(entry, dict):
                    walk(entry, prefix + name + '/')
                else:
                    found[prefix + name] = entry.content
        walk(self.root, '')
        return found

    def write(self, directory):
        """Makes it real below `directory`, which must be empty or not there."""
        first_name = {}

        def make(entries, path):
            os.makedirs(path, exist_ok=True)
            for name, entry in entries.items():
                inner = os.path.join(path, name)
                if isinstance(entry, dict):
                    make(entry, inner)
                elif id(entry) in first_name:
                    os.link(first_name[id(entry)], inner)
                else:
                    with open(inner, 'xb') as file:
                        file.write(entry.content)
                    os.chmod(inner, entry.mode)
                    first_name[id(entry)] = inner
        make(self.root, directory)
        return directory


def replay(snapshot, records, cut, seed=0, keep='random'):
    """The Tree that a crash at `cut` could have left. keep: 'random' (by seed), 'none' (of what was
    not synced nothing was written) or 'all' (everything was)."""
    if keep == 'random':
        choose = random.Random(seed).choice
    else:
        choose = {'none': lambda options: options[0], 'all': lambda options: options[-1]}[keep]
    return _Replay(snapshot, records, cut, choose).result()
