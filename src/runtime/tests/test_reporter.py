"""The reporter: if it is killed at any step, the next one uploads the rest."""

import fcntl
import hashlib
import json
import os
import sys
import tempfile
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from directory_store import Store
from runs import Trainings, unsigned

from nx_ec2_runtime.report import log_upload, reporter, retries, uploads
from nx_ec2_runtime.run import runs
from nx_ec2_runtime.run_dir import log_trim
from nx_ec2_runtime.run_dir.log_reader import read as read_log
from nx_ec2_runtime.system import atomic_files
from nx_ec2_runtime.system.errors import Failure
from nx_ec2_runtime.system.wall_clock import now_ms

STORE = {"access": "role"}
# Three segments of log, a metric, two checkpoints, artifacts in two parts.
SCRIPT = """
import json, os
for n in range(9000):
    print("line %d %s" % (n, "x" * 60))
print(json.dumps({"loss": 0.25}))
for n in (1, 2):
    path = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "step-%d" % n)
    open(path, "w").write(str(n))
    open(path + ".complete", "w").close()
open("artifacts/large", "wb").write(os.urandom(9 << 20))
open("artifacts/small", "w").write("small")
"""


class Refusing(Store):
    """Refuses what has one of these names, a little later than a thread is waited for, until it has
    done so `times` times.
    """

    def __init__(self, directory, names, times):
        super().__init__(directory)
        self.names, self.times = names, times

    def put(self, name, data, content_type=None, condition=None):
        if name.startswith(self.names) and self.times > 0:
            self.times -= 1
            time.sleep(0.06)
            raise Failure(
                "ACCESS_DENIED", "S3 refused it", aws="AccessDenied: kms, try %d" % self.times
            )
        return super().put(name, data, content_type, condition)


class ReporterTest(Trainings):
    def setUp(self):
        super().setUp()
        self.store = tempfile.mkdtemp(dir=self.root)

    def ended(self, script=SCRIPT):
        """The directory of a run that has ended, and that the store was not told of."""
        state, log = self.train(script)
        self.assertEqual(state["outcome"], "succeeded", log)
        path = os.path.join(state["directory"], "plan.json")
        part = atomic_files.read_json(path)
        part["store"] = STORE
        atomic_files.write_json(path, part)
        return state["directory"], log

    def report_to(self, home, store, give_up):
        """Reports to a store with short pauses. The `trouble` of the records that it wrote."""
        said, put = [], store.put

        def record(name, data, *rest, **more):
            found = put(name, data, *rest, **more)
            if name == "record.json":
                said.append(unsigned(data)["trouble"])
            return found

        store.put = record
        with mock.patch(
            "nx_ec2_runtime.aws.bucket.open_bucket", lambda access: store
        ), mock.patch.object(reporter, "TICK_S", 0.001), mock.patch.object(
            retries, "FIRST_RETRY_S", 0.01
        ), mock.patch.object(retries, "MAX_RETRY_S", 0.1), mock.patch.object(
            uploads, "NEW_FORM_TIMEOUT_S", give_up
        ), mock.patch.object(reporter, "lock_report", lambda run_dir: True):
            it = reporter.Reporter(home)
            it.run()
        return said, it

    def test_files_that_the_store_refuses_are_named_and_tried_again(self):
        for names in ("part/", "artifacts.json", "checkpoint/"):
            with self.subTest(names=names):
                home, log = self.ended()
                self.store = tempfile.mkdtemp(dir=self.root)
                said, it = self.report_to(home, Refusing(self.store, names, 5), 600)
                self.assert_told(home, log)
                self.assertTrue(any(each and "AccessDenied: kms" in each for each in said), said)
                self.assertIsNone(said[-1])
                self.assertFalse(it.saver.unsaved)

    def test_files_that_the_store_refuses_for_too_long_are_given_up(self):
        for names in ("part/", "artifacts.json", "checkpoint/"):
            with self.subTest(names=names):
                home, _ = self.ended()
                self.store = tempfile.mkdtemp(dir=self.root)
                store = Refusing(self.store, names, 1000)
                said, _ = self.report_to(home, store, 2)
                self.assertTrue(any(each and "AccessDenied: kms" in each for each in said), said)
                # The pauses grow.
                self.assertGreater(store.times, 900)
                record = unsigned(self.objects()["record.json"])
                self.assertEqual((record["state"], record["outcome"]), ("ended", "succeeded"))
                self.assertEqual("failed", record["artifacts"]["state"])
                error = record["artifacts"]["error"]
                self.assertEqual("ACCESS_DENIED", error["code"])
                self.assertIn("AccessDenied: kms", error["message"])
                report = atomic_files.read_json(os.path.join(home, "report.json"))
                self.assertTrue(report["saved"] and report["unsaved"])

    def test_a_reporter_that_has_given_up_is_not_started_again_at_once(self):
        home, log = self.ended()
        self.store = tempfile.mkdtemp(dir=self.root)
        with mock.patch.object(reporter, "NEW_FORM_TIMEOUT_S", 0.5):
            self.report_to(home, Refusing(self.store, "log/", 1000), 600)
        report = atomic_files.read_json(os.path.join(home, "report.json"))
        self.assertFalse(report["saved"])
        self.assertIn("AccessDenied: kms", report["trouble"])
        with mock.patch.object(reporter, "start") as start:
            runs.ensure_reported(home)
            start.assert_not_called()
            # Nor does a clock that was set back keep it from starting.
            for ago in (runs.GAVE_UP_PAUSE_MS + 1, -1000_000):
                path = os.path.join(home, "report.json")
                atomic_files.write_json(path, dict(report, gaveUp=now_ms() - ago))
                runs.ensure_reported(home)
            self.assertEqual(2, start.call_count)
        self.assertTrue(self.report(home))
        self.assert_told(home, log)
        self.assertIsNone(atomic_files.read_json(path)["gaveUp"])

    def report(self, home, kill=None):
        """A reporter as a process of its own; whether it came to its end, killed as it may be at
        its n-th write.
        """
        child = os.fork()
        if child == 0:
            store = Store(self.store, kill)
            try:
                with mock.patch(
                    "nx_ec2_runtime.aws.bucket.open_bucket", lambda access: store
                ), mock.patch.object(reporter, "TICK_S", 0.001):
                    reporter.Reporter(home).run()
            finally:
                os._exit(0)
        return os.waitpid(child, 0)[1] == 0

    def objects(self):
        found = {}
        for directory, _, names in os.walk(self.store):
            for name in names:
                with open(os.path.join(directory, name), "rb") as file:
                    found[os.path.relpath(os.path.join(directory, name), self.store)] = file.read()
        return found

    def assert_told(self, home, log):
        objects = self.objects()
        record = unsigned(objects["record.json"])
        self.assertEqual(
            (record["state"], record["outcome"], record["exitCode"]), ("ended", "succeeded", 0)
        )
        told = b"".join(
            objects["log/%d" % n] for n in range(-(-len(log) // log_upload.SEGMENT_BYTES))
        )
        self.assertEqual(told, log)
        self.assertEqual(record["log"]["size"], len(log))
        pieces = [
            log[start : start + log_upload.SEGMENT_BYTES]
            for start in range(0, len(log), log_upload.SEGMENT_BYTES)
        ]
        self.assertEqual(
            record["log"]["hashes"],
            {
                "folded": 0,
                "chain": "0" * 64,
                "segments": [hashlib.sha256(each).hexdigest() for each in pieces],
            },
        )
        self.assertEqual(record["metrics"]["training"], {"loss": 0.25})
        self.assertEqual([each["unit"] for each in record["checkpoints"]], ["step-1", "step-2"])
        for each in record["checkpoints"]:
            self.assertIn("checkpoint/%d.json" % each["n"], objects)
        self.assertEqual((record["artifacts"]["state"], record["artifacts"]["files"]), ("saved", 2))
        for entry in json.loads(objects["artifacts.json"])["files"]:
            for part in entry["parts"]:
                self.assertIn("part/" + part, objects)
        self.assertTrue(atomic_files.read_json(os.path.join(home, "report.json"))["saved"])

    def test_everything_is_uploaded(self):
        home, log = self.ended()
        self.assertTrue(self.report(home))
        self.assert_told(home, log)

    def test_a_reporter_killed_at_any_write_is_continued_by_the_next(self):
        home, log = self.ended()
        kills = 0
        # Each of these tells a little more before it is killed.
        while not self.report(home, kill=kills % 4 + 1) and kills < 100:
            kills += 1
        self.assertGreater(kills, 5)
        self.assertTrue(self.report(home) or kills < 100)
        self.assert_told(home, log)
        with open(os.path.join(self.store, ".writes")) as file:
            parts = [line for line in file.read().split("\n") if line.startswith("part/")]
        self.assertLessEqual(
            len(parts) - len(set(parts)), kills, "parts that were there were sent again"
        )

    def test_the_disk_space_of_an_uploaded_log_is_freed(self):
        home, log = self.ended()
        with mock.patch.object(log_trim, "KEEP_BYTES", 300000), mock.patch.object(
            log_trim, "STEP_BYTES", 65536
        ):
            self.assertTrue(self.report(home))
        self.assert_told(home, log)
        begin = log_trim.begin_of(home)
        self.assertGreater(begin, 65536)
        path = os.path.join(home, "log")
        self.assertEqual(os.path.getsize(path), len(log))
        with open(path, "rb") as file:
            data = file.read()
        self.assertEqual(data[begin:], log[begin:])
        if os.stat(path).st_blocks * 512 < len(log) - 65536:
            self.assertEqual(data[:begin], b"\0" * begin)
        piece = read_log(home, 0)
        self.assertEqual((piece["offset"], piece["size"]), (begin, len(log)))

    def test_a_second_reporter_ends_while_the_first_is_active(self):
        home, _ = self.ended("")
        descriptor = os.open(os.path.join(home, "report.lock"), os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.report(home)
        os.close(descriptor)
        self.assertEqual(self.objects(), {})


if __name__ == "__main__":
    unittest.main()
