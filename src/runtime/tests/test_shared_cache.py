"""Shared directories: one run makes them, others wait, and none is removed while it is used."""

import fcntl
import os
import shutil
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401  (puts the runtime on the path)

from nx_ec2_runtime.disk import shared_cache
from nx_ec2_runtime.system import atomic_files, file_lock


class Stop(Exception):
    pass


class SharedCacheTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.at = os.path.join(self.root, "envs", "a")
        self.said = []

    def use(self, make=lambda: {"n": 1}, pause=None, **more):
        record, descriptor = shared_cache.acquire(
            self.at,
            "run one",
            make=make,
            say=self.said.append,
            pause=pause or (lambda _: self.fail("it waits")),
            **more,
        )
        self.addCleanup(os.close, descriptor)
        return record

    def test_a_shared_directory_is_made_once_and_used_by_many(self):
        self.assertEqual(self.use(), {"n": 1})
        self.assertEqual(self.use(self.fail), {"n": 1})
        self.assertTrue(file_lock.held(os.path.join(self.at, "lock")))

    def test_a_waiting_run_logs_once_for_whom_and_may_stop(self):
        os.makedirs(self.at)
        lock = os.open(os.path.join(self.at, "lock"), os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, b'{"owner": "run other"}')
        waited = []

        def pause(seconds):
            waited.append(seconds)
            if len(waited) == 3:
                raise Stop()

        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        with self.assertRaises(Stop):
            self.use(self.fail, pause)
        self.assertEqual(self.said, ["waiting for run other, which is preparing the same files"])
        self.assertEqual(len(os.listdir("/proc/self/fd")) if before else 0, before)

    def test_a_waiting_run_logs_again_after_a_while(self):
        os.makedirs(self.at)
        lock = os.open(os.path.join(self.at, "lock"), os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, b'{"owner": "run other"}')
        with mock.patch.object(shared_cache, "MESSAGE_INTERVAL_S", 0):
            self.use(pause=lambda _: os.close(lock) if len(self.said) == 2 else None)
        self.assertRegex(
            self.said[1],
            r"^waiting for run other, which is preparing the same files: \d+ s so far$",
        )

    def test_a_waiting_run_makes_the_directory_if_the_other_failed(self):
        os.makedirs(self.at)
        lock = os.open(os.path.join(self.at, "lock"), os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.assertEqual(self.use(pause=lambda _: os.close(lock)), {"n": 1})

    def test_a_directory_whose_maker_failed_is_not_used_and_not_locked(self):
        def make():
            raise Stop()

        with self.assertRaises(Stop):
            self.use(make)
        self.assertFalse(
            os.path.exists(os.path.join(self.at, "done.json"))
            or file_lock.held(os.path.join(self.at, "lock"))
        )

    def test_an_incomplete_directory_is_made_again_unless_it_is_in_use(self):
        _, descriptor = shared_cache.acquire(
            self.at, "run", make=lambda: {"n": 1}, say=self.said.append, pause=self.fail
        )
        with self.assertRaises(shared_cache.Broken):
            self.use(self.fail, whole=lambda record: record["n"] == 2)
        os.close(descriptor)
        self.assertEqual(
            self.use(lambda: {"n": 2}, whole=lambda record: record["n"] == 2), {"n": 2}
        )
        self.assertEqual(atomic_files.read_json(os.path.join(self.at, "done.json")), {"n": 2})


if __name__ == "__main__":
    unittest.main()
