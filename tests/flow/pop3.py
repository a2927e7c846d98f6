"""What the tests of POP3 share: a clock that they set."""

import os
import sys
import tempfile
import time

from instance import TESTS

sys.path.insert(0, TESTS)
import fault  # noqa: E402 (beside this folder)


class Clock:
    """The monotonic clock of an instance that is started with this environment."""

    def __init__(self):
        handle, self.path = tempfile.mkstemp(prefix="posthouse-page-")
        os.close(handle)
        os.chmod(self.path, 0o666)  # as root the roles are somebody else
        self.page = fault.Page.create(self.path)
        self.environment = {"POSTHOUSE_FAULT": self.path}
        self.shift = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.page.close()
        os.unlink(self.path)

    def on(self, seconds):
        self.shift += 1000 * seconds
        self.page.shift_monotonic(self.shift)

    def second(self):
        """A second, in little time: for a Loop while somebody waits."""
        self.on(1)
        time.sleep(0.02)
