"""What root must not be led to: files and directories outside of what the training user owns."""

import ctypes
import os
import pwd
import random
import shutil
import tempfile
import threading
import time
import unittest

NOBODY = pwd.getpwnam("nobody")
SECRET = b"only root reads this\n"
needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root")


class Outside(unittest.TestCase):
    """`home` is root's, `work` in it the training user's; `outside` is root's private directory,
    with a `secret` in it.
    """

    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home)
        os.chmod(self.home, 0o755)
        self.work = os.path.join(self.home, "work")
        self.outside = os.path.join(self.home, "outside")
        for path, mode in ((self.work, 0o755), (self.outside, 0o700)):
            os.mkdir(path)
            os.chmod(path, mode)
        self.secret = self.write("outside/secret", SECRET, 0o600)
        if os.geteuid() == 0:
            os.chown(self.work, NOBODY.pw_uid, NOBODY.pw_gid)
        self.before = self.look_outside()

    def write(self, path, data, mode=0o644):
        full = os.path.join(self.home, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(data)
        os.chmod(full, mode)
        return full

    def look_outside(self):
        """All that is outside, with its owners and modes."""
        found = {}
        for at, _, names in os.walk(self.outside):
            for path in [at] + [os.path.join(at, name) for name in names]:
                status = os.lstat(path)
                found[os.path.relpath(path, self.outside)] = (
                    status.st_mode,
                    status.st_uid,
                    status.st_gid,
                    status.st_size,
                    status.st_mtime_ns,
                )
        return found

    def assert_outside_unchanged(self):
        self.assertEqual(self.look_outside(), self.before)

    def swapping(self, path, target):
        """While it is entered, a directory changes places with a link to `target` again and again."""
        return Swapping(path, target)


class Swapping:
    """Exchanges a directory and a link, as one step, at random moments. `count`: how often."""

    def __init__(self, path, target):
        self.path, self.aside = os.fsencode(path), os.fsencode(path + ".aside")
        os.symlink(target, self.aside)
        self.stopped, self.count, self.random = threading.Event(), 0, random.Random(5)
        self.thread = threading.Thread(target=self._swap, daemon=True)

    def _swap(self):
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
        # AT_FDCWD, RENAME_EXCHANGE: twice, so that the directory stands there in the end.
        while not self.stopped.is_set():
            for _ in range(2):
                # Any length, so that it happens between any two steps of who walks.
                time.sleep(self.random.random() * 0.002)
                if exchange(-100, self.path, -100, self.aside, 2):
                    raise OSError(ctypes.get_errno(), "renameat2")
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
