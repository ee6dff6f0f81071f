"""The garbage collector: what it removes and what it never removes. If it is killed at any step,
nothing is removed by half, and the next one removes the rest.
"""

import fcntl
import json
import os
import shutil
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401  (puts the runtime on the path)
from workspace import write

from nx_ec2_runtime.disk import garbage, garbage_collector, shared_cache

NOW = 1800000000
DAY = 86400
PLENTY = (10**12, 10**12)


class Killed(BaseException):
    pass


class GarbageCollectorTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root, True)
        self.held = []
        self.addCleanup(lambda: [os.close(each) for each in self.held])

    def put(self, path, days, files):
        """Made-up files below a path, as old as that."""
        at = os.path.join(self.root, path)
        write(at, files)
        for directory, _, names in os.walk(at, topdown=False):
            for name in names + [""]:
                os.utime(os.path.join(directory, name), (NOW - days * DAY, NOW - days * DAY))
        return path

    def run_of(self, n, days, saved=True, unsaved=False):
        files = {
            "run.json": "{}",
            "lock": "",
            "setup.log": "s",
            "work/p/train.py": "x" * 5000,
            "env/bin/a": "",
        }
        if saved is not None:
            files["report.json"] = json.dumps({"saved": saved, "unsaved": unsaved})
        return self.put("runs/20260101-0000%02d-p-aaaaaa" % n, days, files)

    def shared(self, kind, name, days):
        return self.put(
            "%s/%s" % (kind, name),
            days,
            {"lock": "", "used": "", "done.json": "{}", "made-1/a": "x" * 5000},
        )

    def hold(self, path, how=fcntl.LOCK_SH):
        descriptor = os.open(os.path.join(self.root, path, "lock"), os.O_RDWR)
        fcntl.flock(descriptor, how)
        self.held.append(descriptor)
        return path

    def collect(self, free=PLENTY, **more):
        """The result of a collection. `free`: (free, all) bytes of the disk, or a function that
        returns them.
        """
        answers = free if callable(free) else lambda _: free
        with mock.patch.object(garbage_collector, "disk_space", answers):
            return garbage_collector.collect_garbage(self.root, now=NOW, **more)

    def removed(self, *args, **more):
        return sorted(each["path"] for each in self.collect(*args, **more)["removed"])

    def there(self, path):
        return os.path.exists(os.path.join(self.root, path))

    def test_files_of_saved_runs_are_removed_after_a_day_and_the_records_stay(self):
        old, new = self.run_of(1, 2), self.run_of(2, 0.5)
        self.assertEqual(self.removed(), [old + "/env", old + "/work"])
        self.assertTrue(
            self.there(old + "/setup.log")
            and self.there(os.path.join(new, "work", "p", "train.py"))
        )

    def test_a_run_with_files_that_could_not_be_saved_is_kept_for_a_month(self):
        self.run_of(1, 20, unsaved=True)
        self.assertEqual(self.removed(free=(0, 100)), [])
        old = self.run_of(2, 31, unsaved=True)
        self.assertEqual(self.removed(), [old])

    def test_records_are_removed_after_two_weeks_except_for_the_newest(self):
        runs = [self.run_of(n, 20) for n in range(garbage.NEWEST_RUNS + 2)]
        gone = [path for path in self.removed() if not path.endswith(("/work", "/env"))]
        self.assertEqual(gone, runs[:2])

    def test_nothing_of_an_active_run_is_removed(self):
        run, env = (
            self.hold(self.run_of(1, 60), fcntl.LOCK_EX),
            self.hold(self.shared("envs", "a", 60)),
        )
        self.assertEqual(self.removed(free=(0, 100)), [])
        self.assertTrue(
            self.there(os.path.join(run, "work", "p", "train.py"))
            and self.there(env + "/done.json")
        )

    def test_a_run_that_is_not_saved_is_kept_for_a_month_and_then_reported(self):
        for saved in (False, None):
            young, old = self.run_of(1, 29, saved), self.run_of(2, 31, saved)
            result = self.collect(free=(0, 100))
            self.assertEqual(
                result["removed"], [{"path": old, "why": "not saved, and older than 30 days"}]
            )
            self.assertTrue(self.there(os.path.join(young, "work", "p", "train.py")))

    def test_unused_environments_and_datasets_are_removed_and_environments_above_a_number(self):
        old, data = self.shared("envs", "old", 15), self.shared("data", "old", 15)
        self.shared("data", "new", 1)
        envs = [
            self.shared("envs", "e%02d" % n, n / 10) for n in range(garbage.NEWEST_ENVIRONMENTS + 1)
        ]
        self.assertEqual(self.removed(), sorted([old, data, envs[-1]]))

    def test_an_environment_whose_set_up_was_killed_is_removed_after_a_day(self):
        self.put("envs/new", 0.5, {"lock": "", "made-1/a": ""})
        killed = self.put("envs/old", 2, {"lock": "", "made-1/a": ""})
        # A dataset is not marked as complete.
        self.put("data/x", 2, {"lock": "", "used": ""})
        self.assertEqual(self.removed(), [killed])

    def test_files_that_were_moved_aside_stay_a_month_even_on_a_full_disk(self):
        old = self.put("trees/t/kept/20260101T000000000Z", 31, {"a": ""})
        self.put("trees/t/kept/20260201T000000000Z", 29, {"a": ""})
        self.put("trees/t/files", 99, {"a": ""})
        self.assertEqual(self.removed(free=(0, 100)), [old])

    def test_a_tool_is_removed_30_days_after_its_last_use(self):
        old, new = self.put("tools/old", 31, {"uv": ""}), self.put("tools/new", 29, {"uv": ""})
        self.assertEqual((self.removed(), self.there(new)), ([old], True))

    def test_old_runtimes_are_removed_except_for_the_newest(self):
        runtimes = [
            self.put("runtime", 100, {"%064x" % n: ""}) + "/%064x" % n
            for n in range(garbage.NEWEST_RUNTIMES + 1)
        ]
        for n, path in enumerate(runtimes):
            os.utime(os.path.join(self.root, path), (n, n))
        self.assertEqual(self.removed(), runtimes[:1])

    def test_on_a_full_disk_what_was_used_longest_ago_is_removed_until_enough_is_free(self):
        self.run_of(1, 0.1)
        first, second = self.shared("data", "a", 5), self.shared("envs", "b", 4)
        self.shared("envs", "c", 3)

        def free(_):
            return (1000 if self.there(second) else 2500), 10000

        self.assertEqual(self.removed(free=free, needed=2000), [first, second])
        self.assertTrue(self.there("runs/20260101-000001-p-aaaaaa/work"))

    def test_a_disk_is_nearly_full_if_less_than_a_tenth_is_free(self):
        env = self.shared("envs", "a", 1)
        self.assertEqual(self.removed(free=(100, 1000)), [])
        self.assertEqual(self.removed(free=(99, 1000)), [env])

    def test_links_are_not_followed_and_unknown_files_are_not_removed(self):
        outside = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, outside, True)
        write(outside, {"mine": "", "20260101-000001-p-aaaaaa/report.json": '{"saved": true}'})
        os.symlink(outside, os.path.join(self.root, "runs"))
        old = self.shared("envs", "old", 99)
        os.symlink(outside, os.path.join(self.root, old, "link"))
        os.symlink(outside, os.path.join(self.root, "envs", "link"))
        self.put("other", 99, {"a": ""})
        self.put("data", 99, {"a file": ""})
        self.assertEqual(self.removed(free=(0, 100)), [old])
        self.assertTrue(
            self.there("other/a")
            and self.there("data/a file")
            and os.path.exists(os.path.join(outside, "mine"))
        )

    def test_a_second_collector_at_the_same_time_removes_nothing(self):
        self.shared("envs", "old", 99)
        write(self.root, {"garbage.lock": ""})
        descriptor = os.open(os.path.join(self.root, "garbage.lock"), os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.assertEqual(self.collect(), {"removed": [], "freed": 0, "free": PLENTY[0]})
        os.close(descriptor)
        self.assertEqual(self.removed(), ["envs/old"])

    def test_a_file_with_a_second_hard_link_does_not_count_as_freed(self):
        self.shared("envs", "old", 99)
        os.link(os.path.join(self.root, "envs/old/made-1/a"), os.path.join(self.root, "other"))
        with_link = self.collect()["freed"]
        self.shared("envs", "old", 99)
        self.assertGreaterEqual(self.collect()["freed"] - with_link, 4096)

    def test_a_run_that_opens_a_cache_while_it_is_removed_makes_it_again(self):
        made = []

        def make():
            made.append(1)
            return {}

        at = os.path.join(self.root, "envs", "a")
        _, descriptor = shared_cache.acquire(at, "one", make=make, say=self.fail, pause=self.fail)
        os.close(descriptor)
        entered = shared_cache._entered
        calls = []

        def late(*args, **more):
            # After the lock was opened and before it is taken.
            if not calls:
                calls.append(1)
                os.utime(os.path.join(at, "used"), (0, 0))
                self.assertEqual(self.removed(), ["envs/a"])
            return entered(*args, **more)

        with mock.patch.object(shared_cache, "_entered", late):
            _, descriptor = shared_cache.acquire(
                at, "two", make=make, say=self.fail, pause=lambda _: None
            )
        os.close(descriptor)
        self.assertEqual(len(made), 2)
        self.assertTrue(os.path.exists(os.path.join(at, "done.json")))

    def test_a_directory_of_any_depth_is_removed(self):
        path = self.shared("envs", "old", 99)
        at = os.open(os.path.join(self.root, path, "made-1"), os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("d", dir_fd=at)
            inner = os.open("d", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = inner
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at))
        os.close(at)
        os.utime(os.path.join(self.root, path, "used"), (NOW - 99 * DAY, NOW - 99 * DAY))
        self.collect()
        self.assertFalse(self.there(path))
        self.assertEqual(os.listdir(os.path.join(self.root, "trash")), [])

    def everything(self):
        """Makes one item of each kind that is removed. Returns the paths that must be complete or
        removed.
        """
        items = [
            self.run_of(1, 2) + "/work",
            self.run_of(2, 31, False),
            self.shared("envs", "old", 99),
            self.shared("data", "old", 99),
        ]
        items.append(self.put("trees/t/kept/20260101T000000000Z", 31, {"a/b": "", "c": ""}))
        self.shared("envs", "new", 1)
        return items

    def test_a_collector_killed_at_any_step_removes_nothing_by_half_and_the_next_one_the_rest(self):
        contents, n, killed = {}, 0, True
        while killed:
            n += 1
            shutil.rmtree(self.root)
            os.mkdir(self.root)
            items = self.everything()
            contents = {item: listing(os.path.join(self.root, item)) for item in items}
            killed = self.killed_at(n)
            for item in items:
                if self.there(item):
                    self.assertEqual(
                        listing(os.path.join(self.root, item)), contents[item], "step %d" % n
                    )
            self.collect()
            self.assertEqual(
                [self.there(item) for item in items], [False] * len(items), "step %d" % n
            )
            self.assertEqual(os.listdir(os.path.join(self.root, "trash")), [])
            self.assertTrue(self.there("envs/new/made-1/a"))
        self.assertGreater(n, 20)

    def killed_at(self, n):
        """Whether the n-th call that changes something was reached; the process ends before it."""
        count = [0]

        def counted(real):
            def call(*args, **more):
                count[0] += 1
                if count[0] == n:
                    raise Killed()
                return real(*args, **more)

            return call

        patches = [
            mock.patch.object(os, name, counted(getattr(os, name)))
            for name in ("rename", "unlink", "rmdir", "mkdir")
        ]
        for patch in patches:
            patch.start()
        try:
            self.collect()
            return False
        except Killed:
            return True
        finally:
            for patch in patches:
                patch.stop()


def listing(at):
    return sorted(
        os.path.join(directory, name) for directory, _, names in os.walk(at) for name in names
    )


if __name__ == "__main__":
    unittest.main()
