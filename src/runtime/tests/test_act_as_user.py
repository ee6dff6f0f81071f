"""Work that a process does as the training user for root: it is waited for within limits."""

import os
import signal
import time
import unittest
from unittest import mock

import test_sync  # noqa: F401  (puts the runtime on the path)
from outside_files import NOBODY, Outside, needs_root

from nx_ec2_runtime.system import account as accounts


class Asked(Exception):
    pass


@needs_root
class ActTest(Outside):
    def setUp(self):
        super().setUp()
        self.pipe = os.path.join(self.work, "pipe")
        os.mkfifo(self.pipe)
        os.chmod(self.pipe, 0o644)
        self.addCleanup(accounts.while_waiting.clear)
        # One that hangs fails the test.
        signal.alarm(60)
        self.addCleanup(signal.alarm, 0)

    def read(self):
        with open(self.pipe) as file:
            return file.read()

    def assert_no_child(self):
        with self.assertRaises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    def test_work_that_blocks_on_a_named_pipe_is_ended(self):
        with mock.patch.object(accounts, "ACT_TIMEOUT_S", 0.5):
            with self.assertRaisesRegex(OSError, "user nobody .* did nothing .* named pipe"):
                accounts.act(NOBODY, self.read)
        self.assert_no_child()

    def test_a_stopped_process_is_ended(self):
        with mock.patch.object(accounts, "ACT_TIMEOUT_S", 0.5):
            with self.assertRaisesRegex(OSError, "the process was stopped"):
                accounts.act(NOBODY, lambda: os.kill(os.getpid(), signal.SIGSTOP))
        self.assert_no_child()

    def test_a_stop_request_ends_it(self):
        def check():
            raise Asked

        accounts.while_waiting.append(check)
        started = time.monotonic()
        with self.assertRaises(Asked):
            accounts.act(NOBODY, self.read)
        self.assertLess(time.monotonic() - started, 30)
        self.assert_no_child()

    def test_the_work_has_the_default_signal_handlers(self):
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGTERM, before)
        with self.assertRaisesRegex(OSError, "it was killed"):
            accounts.act(NOBODY, lambda: os.kill(os.getpid(), signal.SIGTERM))

    def test_work_that_uses_the_processor_may_take_longer_than_the_limit(self):
        def work():
            began = time.monotonic()
            while time.monotonic() - began < 3:
                sum(range(1000))
            return "done"

        with mock.patch.object(accounts, "ACT_TIMEOUT_S", 1.0):
            self.assertEqual(accounts.act(NOBODY, work), "done")

    def test_a_long_answer_is_complete(self):
        self.assertEqual(len(accounts.act(NOBODY, lambda: "x" * 3_000_000)), 3_000_000)


if __name__ == "__main__":
    unittest.main()
