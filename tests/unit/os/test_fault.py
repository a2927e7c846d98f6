"""The fault seam and its replay, against the program that FAULT_ACTOR names (fault_actor.c)."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
import fault  # noqa: E402

ACTOR = os.environ['FAULT_ACTOR']
SEEDS = 60


class Scene(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix='posthouse-fault-')
        self.addCleanup(self.temporary.cleanup)
        self.top = self.temporary.name
        self.disk = os.path.join(self.top, 'disk')
        os.mkdir(self.disk)
        self.page = fault.Page.create(os.path.join(self.top, 'page'))
        self.trace = fault.Trace.create(os.path.join(self.top, 'trace'), 1 << 24)
        self.addCleanup(self.page.close)
        self.addCleanup(self.trace.close)

    def start(self, *words, role='queue', trace=True):
        environment = dict(os.environ, POSTHOUSE_FAULT=self.page.path)
        if trace:
            environment['POSTHOUSE_TRACE'] = self.trace.path
        return subprocess.Popen([ACTOR, role, self.disk, *words], env=environment,
                                stdout=subprocess.PIPE, text=True)

    def act(self, script, **how):
        """Runs the lines of a script; the results as numbers."""
        words = [word for line in script.strip().splitlines() for word in line.split()]
        process = self.start(*words, **how)
        output = process.communicate(timeout=30)[0]
        self.status = process.returncode
        return [int(line.split()[-1]) for line in output.splitlines()]

    def snapshot(self, **files):
        for name, content in files.items():
            with open(os.path.join(self.disk, name), 'w', encoding='utf-8') as file:
                file.write(content)
        return fault.Snapshot(self.disk)

    def left(self, before, cut=None, **how):
        """What a crash at `cut` (the end) left, {path: text}."""
        cut = self.page.sequence() if cut is None else cut
        files = fault.replay(before, self.trace.records(), cut, **how).files()
        return {name: content.decode() for name, content in files.items()}

    def possible(self, before, cut=None):
        """Every outcome that some seed gives, as a set of tuples of (path, text)."""
        found = {tuple(sorted(self.left(before, cut, seed=seed).items()))
                 for seed in range(SEEDS)}
        for keep in ('none', 'all'):
            self.assertIn(tuple(sorted(self.left(before, cut, keep=keep).items())), found)
        return found


class Rules(Scene):
    def test_nothing_armed(self):
        self.assertEqual(self.act('write a 0 x\nfsync a\nlink a b'), [0, 0, 0])
        self.assertEqual(self.status, 0)

    def test_calls_are_counted_for_each_role(self):
        self.act('write a 0 x\nfsync a\nfsync a\nrandom', role='queue')
        self.act('fsync a', role='postman')
        self.act('fsync a', role='queue')
        self.assertEqual(self.page.calls('queue', 'fsync'), 3)
        self.assertEqual(self.page.calls('postman', 'fsync'), 1)
        self.assertEqual(self.page.calls('queue', 'write'), 1)
        self.assertEqual(self.page.calls('queue', 'getrandom'), 1)
        self.assertEqual(self.page.calls('reader', 'fsync'), 0)

    def test_fails_from_the_nth_for_so_many(self):
        rule = self.page.rule('fsync', first=2, count=2, error='EIO')
        results = self.act('create a\n' + 'fsync a\n' * 5)
        self.assertEqual(results, [0, 0, -errno.EIO, -errno.EIO, 0, 0])
        self.assertEqual((self.page.seen(rule), self.page.acted(rule)), (5, 2))

    def test_only_that_role_and_path(self):
        self.page.rule('link', role='postman', path='new/', error=errno.ENOSPC)
        script = 'mkdir new\nmkdir tmp\ncreate tmp/x\nlink tmp/x new/x\nlink tmp/x tmp/y'
        self.assertEqual(self.act(script, role='queue'), [0, 0, 0, 0, 0])
        self.assertEqual(self.act('link tmp/x new/z\nlink tmp/x tmp/z', role='postman'),
                         [-errno.ENOSPC, 0])

    def test_any_call_and_removal(self):
        self.act('create a-name')
        rule = self.page.rule(None, path='a-name', error='EACCES')
        self.assertEqual(self.act('fsync a-name\nunlink a-name'), [-errno.EACCES, -errno.EACCES])
        self.page.remove(rule)
        self.assertEqual(self.act('fsync a-name\nunlink a-name'), [0, 0])

    def test_short_transfers_are_continued(self):
        self.page.rule('write', limit=3)
        self.assertEqual(self.act('write a 2 0123456789'), [0])
        self.assertEqual(self.page.calls('queue', 'write'), 4)
        with open(os.path.join(self.disk, 'a'), 'rb') as file:
            self.assertEqual(file.read(), b'\0\x000123456789')

    def test_an_interrupted_call_is_made_again(self):
        self.page.rule('fsync', count=3, error='EINTR')
        self.assertEqual(self.act('create a\nfsync a'), [0, 0])
        self.assertEqual(self.page.calls('queue', 'fsync'), 4)

    def test_kill_strikes_before_the_call(self):
        self.page.rule('unlink', first=2, kill=True)
        self.assertEqual(self.act('create a\ncreate b\nunlink a\nunlink b'), [0, 0, 0])
        self.assertEqual(self.status, -signal.SIGKILL)
        self.assertEqual(os.listdir(self.disk), ['b'])

    def test_delay(self):
        self.page.rule('fsync', delay_ms=300)
        process = self.start('create', 'a', 'fsync', 'a', 'clock')
        # Only a lower bound holds on a loaded machine: by the actor's own clock.
        before = int(subprocess.run([ACTOR, 'other', self.disk, 'clock'], check=True, text=True,
                                    stdout=subprocess.PIPE).stdout.split()[1])
        after = int(process.communicate(timeout=30)[0].splitlines()[-1].split()[1])
        self.assertGreater(after, before - 5000)
        self.assertEqual(self.page.acted(0), 1)

    def test_clocks_are_shifted(self):
        def clocks():
            process = self.start('clock')
            return [int(n) for n in process.communicate(timeout=30)[0].split()[:2]]
        hour = 3600 * 1000
        wall, monotonic = clocks()
        self.page.shift_wall(-5 * hour)
        self.page.shift_monotonic(2 * hour)
        wall_later, monotonic_later = clocks()
        self.assertLess(wall_later, wall - 4 * hour)
        self.assertGreaterEqual(monotonic_later, monotonic + 2 * hour)
        with self.assertRaises(ValueError):
            self.page.shift_monotonic(hour)

    def test_a_shifted_clock_wakes_a_sleeping_loop(self):
        process = self.start('timer', str(3600 * 1000))
        while not self.page.calls('queue', 'poll'):
            self.assertIsNone(process.poll())
        self.page.shift_monotonic(3600 * 1000)
        self.assertEqual(process.communicate(timeout=30)[0], '0\n')

    def test_the_loop_tells_of_a_failed_wait(self):
        self.page.rule('poll', error='ENOMEM')
        self.assertEqual(self.act('timer 1'), [-errno.ENOMEM])

    def test_works_behind_the_jail(self):
        self.page.rule('fsync', delay_ms=20, count=1)
        self.page.rule('link', error='EIO', count=1)
        self.page.rule('unlink', kill=True)
        self.assertEqual(self.act('jail\nwrite a 0 text\nappend a more\nfsync a\nlink a b\n'
                                  'link a b\nrename b c\nmkdir d\nsyncfs\nunlink a'),
                         [0, 0, 0, 0, -errno.EIO, 0, 0, 0, 0])
        self.assertEqual(self.status, -signal.SIGKILL)
        self.assertEqual([record.call for record in self.trace.records()],
                         ['open', 'write', 'write', 'fsync', 'link', 'rename', 'mkdir', 'syncfs'])
        self.assertTrue(all(record.file != (0, 0) for record in self.trace.records()))

    def test_bad_rules_are_refused(self):
        for bad in ({'limit': 0}, {'first': 0}, {'role': 'x' * 16}, {'path': 'x' * 48},
                    {'call': 'no_such_call'}):
            with self.assertRaises(ValueError):
                self.page.rule(**bad)
        for _ in range(32):
            self.page.rule('fsync')
        with self.assertRaises(ValueError):
            self.page.rule('fsync')
        self.page.clear()
        self.page.rule('fsync')


class Traces(Scene):
    def test_records_in_one_order(self):
        self.act('write 信 3 你好\nfsync 信\nmkdir d\nrename 信 d/x', role='queue')
        self.act('link d/x y\nunlink d/x\nrmdir d\ntruncate y 4\nsyncfs', role='postman')
        records = self.trace.records()
        self.assertEqual([record.call for record in records],
                         ['open', 'write', 'fsync', 'mkdir', 'rename', 'link', 'unlink', 'rmdir',
                          'truncate', 'syncfs'])
        self.assertEqual([record.role for record in records], ['queue'] * 5 + ['postman'] * 5)
        numbers = [n for record in records for n in (record.begin, record.end)]
        self.assertEqual(numbers, list(range(1, 21)))
        opened, write, sync, _, rename = records[:5]
        self.assertEqual((write.argument, write.data.decode(), write.result), (3, '你好', 6))
        self.assertEqual(opened.path, '信')
        self.assertEqual((rename.path, rename.to), ('信', 'd/x'))
        self.assertEqual({opened.file, write.file, sync.file, rename.file}, {write.file})
        st = os.stat(self.disk)
        self.assertEqual(opened.dir, (st.st_dev, st.st_ino))
        self.assertEqual(records[8].argument, 4)

    def test_failed_and_short_calls(self):
        self.page.rule('fsync', count=1, error='EIO')  # the seam's own: never happened
        self.page.rule('write', limit=4, count=1)
        self.act('write a 0 01234567\nfsync a\nfsync a\nunlink none')
        calls = [(record.call, record.result, record.data) for record in self.trace.records()]
        self.assertEqual(calls[1:], [('write', 4, b'0123'), ('write', 4, b'4567'), ('fsync', 0, b''),
                                     ('unlink', -errno.ENOENT, b'')])

    def test_appends_know_their_place(self):
        self.act('write a 0 abc\nappend a def')
        self.assertEqual(self.trace.records()[-1].argument, 3)

    def test_threads_and_processes_at_once(self):
        processes = [self.start('threads', role=f'role{i}') for i in range(3)]
        for process in processes:
            self.assertEqual(process.communicate(timeout=60)[0], '0\n')
        records = self.trace.records()
        self.assertEqual(len(records), 3 * 4 * 200 * 2)
        numbers = sorted(n for record in records for n in (record.begin, record.end))
        self.assertEqual(numbers, list(range(1, 2 * len(records) + 1)))
        self.assertEqual(self.page.calls('role1', 'write'), 800)

    def test_a_full_trace_says_so(self):
        self.trace.close()
        self.trace = fault.Trace.create(self.trace.path, 1000)
        self.assertEqual(self.act('write a 0 x\n' * 10), [0] * 10)
        with self.assertRaises(ValueError):
            self.trace.records()


class Replay(Scene):
    def test_the_past_stays(self):
        before = self.snapshot(old='kept')
        self.act('create new')
        self.assertEqual(self.left(before, keep='none'), {'old': 'kept'})
        self.assertEqual(self.left(before, keep='all'), {'old': 'kept', 'new': ''})
        self.assertEqual(self.left(before, cut=0, keep='all'), {'old': 'kept'})

    def test_data_and_name_are_two_things(self):
        before = self.snapshot()
        self.act('write a 0 text\nfdatasync a')
        self.assertEqual(self.possible(before), {(), (('a', 'text'),)})  # fsync names nothing
        self.act('fsync .')
        self.assertEqual(self.possible(before), {(('a', 'text'),)})

    def test_a_name_without_its_data(self):
        before = self.snapshot()
        self.act('write a 0 text\nfsync .')
        self.assertEqual(self.possible(before),
                         {(('a', ''),), (('a', 'text'),), (('a', '\0\0\0\0'),)})

    def test_syncfs_covers_all(self):
        before = self.snapshot()
        self.act('mkdir d\nwrite d/a 0 text\nwrite b 0 more\nsyncfs\nwrite b 0 LESS')
        for outcome in self.possible(before):
            self.assertEqual(dict(outcome)['d/a'], 'text')
            self.assertIn(dict(outcome)['b'], ('more', 'LESS'))

    def test_a_sync_under_way_promises_nothing(self):
        before = self.snapshot(a='old')
        self.act('write a 0 new\nfdatasync a')
        sync = [record for record in self.trace.records() if record.call == 'fdatasync'][0]
        self.assertEqual(self.possible(before, sync.end - 1), {(('a', 'old'),), (('a', 'new'),)})
        self.assertEqual(self.possible(before, sync.end), {(('a', 'new'),)})

    def test_a_failed_sync_promises_nothing(self):
        before = self.snapshot(a='old')
        self.page.rule('fdatasync', error='EIO')
        self.assertEqual(self.act('write a 0 new\nfdatasync a'), [0, -errno.EIO])
        self.assertEqual(self.possible(before), {(('a', 'old'),), (('a', 'new'),)})

    def test_a_write_under_way_may_be_torn(self):
        before = self.snapshot(a='o' * 1024)
        self.act('write a 0 ' + 'n' * 1024)
        write = self.trace.records()[-1]
        outcomes = {dict(outcome)['a'] for outcome in self.possible(before, write.begin)}
        self.assertEqual(outcomes, {first * 512 + second * 512
                                    for first in 'on' for second in 'on'})

    def test_a_piece_holds_one_of_its_contents(self):
        before = self.snapshot(a='00')
        self.act('write a 0 1\nwrite a 1 2')
        outcomes = {dict(outcome)['a'] for outcome in self.possible(before)}
        self.assertEqual(outcomes, {'00', '10', '12'})  # never the second write without the first

    def test_growth_may_be_zeros(self):
        before = self.snapshot(a='x' * 512)
        self.act('write a 512 yyyy')
        outcomes = {dict(outcome)['a'] for outcome in self.possible(before)}
        self.assertEqual(outcomes, {'x' * 512, 'x' * 512 + 'yyyy', 'x' * 512 + '\0' * 4})

    def test_truncation(self):
        before = self.snapshot(a='abcdef')
        self.act('truncate a 2')
        self.assertLessEqual(self.possible(before),
                             {(('a', 'abcdef'),), (('a', 'ab'),), (('a', 'ab\0\0\0\0'),)})
        self.act('fsync a')
        self.assertEqual(self.possible(before), {(('a', 'ab'),)})
        self.act('empty a\nfsync a')
        self.assertEqual(self.possible(before), {(('a', ''),)})

    def test_rename_in_one_directory_is_one_thing(self):
        before = self.snapshot(a='1', b='2')
        self.act('rename a b')
        self.assertEqual(self.possible(before), {(('a', '1'), ('b', '2')), (('b', '1'),)})

    def test_rename_between_directories_loses_nothing(self):
        os.mkdir(os.path.join(self.disk, 'd'))
        before = self.snapshot(a='1')
        self.act('rename a d/a')
        self.assertEqual(self.possible(before),
                         {(('a', '1'),), (('a', '1'), ('d/a', '1')), (('d/a', '1'),)})
        self.act('fsync d')
        self.assertEqual(self.possible(before), {(('a', '1'), ('d/a', '1')), (('d/a', '1'),)})
        self.act('fsync .')
        self.assertEqual(self.possible(before), {(('d/a', '1'),)})

    def test_no_later_change_without_the_earlier(self):
        before = self.snapshot(a='old')
        self.act('rename a b\nwrite a 0 new\nfdatasync a')
        for outcome in self.possible(before):
            self.assertIn('old', dict(outcome).values())  # never lost between the two

    def test_maildir_delivery(self):
        for name in ('tmp', 'new'):
            os.mkdir(os.path.join(self.disk, name))
        before = self.snapshot()
        self.act('write tmp/x 0 letter\nfdatasync tmp/x\nfsync tmp\nlink tmp/x new/x\nfsync new\n'
                 'unlink tmp/x')
        self.assertEqual(self.possible(before),
                         {(('new/x', 'letter'), ('tmp/x', 'letter')), (('new/x', 'letter'),)})
        linked = [record for record in self.trace.records() if record.call == 'link'][0]
        tree = fault.replay(before, self.trace.records(), linked.end, keep='all')
        made = tree.write(os.path.join(self.top, 'made'))
        self.assertEqual(os.stat(os.path.join(made, 'tmp', 'x')).st_nlink, 2)
        for cut in self.trace.cuts():  # whenever the power fails, a letter in new is whole
            for seed in range(5):
                text = self.left(before, cut, seed=seed).get('new/x', 'letter')
                self.assertEqual(text, 'letter')

    def test_an_inode_number_used_again(self):
        before = self.snapshot(a='first')
        self.act('unlink a\nfsync .\nwrite b 0 second\nfsync b\nfsync .')
        self.assertEqual(self.possible(before), {(('b', 'second'),)})

    def test_a_directory_that_is_not_durable_takes_its_content_along(self):
        before = self.snapshot()
        self.act('mkdir d\nwrite d/a 0 text\nfsync d/a\nfsync d')
        self.assertEqual(self.possible(before), {(), (('d/a', 'text'),)})

    def test_directories_come_and_go(self):
        before = self.snapshot()
        self.act('mkdir d\nmkdir d/e\nrmdir d/e\nsyncfs')
        tree = fault.replay(before, self.trace.records(), self.page.sequence())
        self.assertEqual(tree.root, {'d': {}})

    def test_replay_changes_nothing_of_its_sources(self):
        before = self.snapshot(a='old')
        self.act('empty a\nwrite a 0 new\nunlink a\nmkdir d')
        records, cut = self.trace.records(), self.page.sequence()
        first = fault.replay(before, records, cut, seed=3).files()
        for seed in range(10):
            fault.replay(before, records, cut, seed=seed)
        self.assertEqual(fault.replay(before, records, cut, seed=3).files(), first)
        self.assertEqual(fault.replay(before, [], 0).files(), {'a': b'old'})


if __name__ == '__main__':
    unittest.main()
