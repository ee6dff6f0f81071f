"""A file is opened as the training user, wherever its path leads."""

import errno
import os
import time
import unittest
from unittest import mock

import test_sync  # noqa: F401  (puts the runtime on the path)
from outside_files import NOBODY, Outside, needs_root

from nx_ec2_runtime.system import open_as


class OpenTest(Outside):
    account = None

    def link(self, target):
        path = os.path.join(self.work, "link")
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(target, path)
        return path

    def read(self, path):
        with open(open_as.open_as(self.account, path), "rb") as file:
            return file.read()

    def assert_refused(self, target, *numbers):
        with self.assertRaises(OSError) as raised:
            os.close(open_as.open_as(self.account, self.link(target)))
        self.assertIn(raised.exception.errno, numbers, target)

    def test_opens_a_regular_file_through_links_and_nothing_else(self):
        self.write("scratch/weights", b"weights")
        self.assertEqual(self.read(self.link("../scratch/weights")), b"weights")
        os.symlink(os.path.join(self.home, "scratch"), os.path.join(self.work, "other"))
        self.assertEqual(self.read(self.link("other/weights")), b"weights")
        os.mkfifo(os.path.join(self.home, "scratch/pipe"))
        self.assert_refused("other/pipe", errno.ENXIO)
        self.assert_refused("/dev/null", errno.ENXIO)
        self.assert_refused("link", errno.ELOOP)
        self.assert_refused("nothing", errno.ENOENT)
        self.assert_refused("other", errno.EISDIR)


@needs_root
class OpenAsAnotherTest(OpenTest):
    account = NOBODY

    def test_opens_nothing_that_the_user_may_not_read(self):
        self.assert_refused("../outside/secret", errno.EACCES)
        self.assert_refused("../outside", errno.EACCES, errno.EISDIR)
        self.write("only-root", b"x", 0o600)
        self.assert_refused("../only-root", errno.EACCES)
        # Root's group is not the user's.
        self.write("only-group", b"x", 0o640)
        self.assert_refused("../only-group", errno.EACCES)

    def test_opens_nothing_that_root_has_open(self):
        # Its mode lets everybody read it, its directory nobody.
        path = self.write("outside/open", b"x", 0o644)
        with open(path, "rb") as file:
            os.set_inheritable(file.fileno(), True)
            self.assert_refused(
                "/proc/self/fd/%d" % file.fileno(), errno.ENOENT, errno.EACCES, errno.ENXIO
            )

    def test_a_file_system_that_does_not_answer_is_waited_for_within_a_limit(self):
        with mock.patch.object(open_as, "OPEN_TIMEOUT_S", 0.2), mock.patch.object(
            open_as, "_answer", lambda to, path: time.sleep(600)
        ):
            self.assert_refused("nothing", errno.ETIMEDOUT)
        with self.assertRaises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)


if __name__ == "__main__":
    unittest.main()
