"""The next attempt of a run on another instance has the same result as an uninterrupted run, and a
run is active on one instance only.
"""

import hashlib
import json
import os
import pwd
import shutil
import signal
import sys
import tempfile
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import s3_server
import store
from directory_store import Store
from runs import Trainings, part, signed, unsigned

from nx_ec2_runtime import main
from nx_ec2_runtime.aws.metadata import Absent
from nx_ec2_runtime.checkpoints import checkpoint_source
from nx_ec2_runtime.report import fencing, log_upload, spot_notice, uploads
from nx_ec2_runtime.report.signed_record import SigningKey
from nx_ec2_runtime.run import (
    child_process,
    resume_checkpoint,
    settled_checkpoints,
    supervised_run,
    take_over,
)
from nx_ec2_runtime.run_dir import stop_request
from nx_ec2_runtime.system import atomic_files
from nx_ec2_runtime.system.errors import Failure

RUN = "20260101-000000-p-aaaaaa"
STORE = {"access": "role", "prefix": "v2/projects/p/run/r/", "bucket": "b"}
# Counts to `STEPS` from where its newest checkpoint left off, each step a line of its log; stops
# itself after LEAVE steps.
SCRIPT = """
import os, signal, sys, time
at = os.environ["NX_EC2_CHECKPOINT_DIR"]
print("attempt", os.environ["NX_EC2_ATTEMPT"], sys.argv[1:])
done = max([int(name[5:]) for name in os.listdir(at) if name.startswith("step-") and name[5:].isdigit()] + [0])
state = open(os.path.join(at, "step-%d" % done)).read() if done else ""
for n in range(done + 1, 5):
    state += "%d " % n
    print("step", n, state, "x" * PAD)
    path = os.path.join(at, "step-%d" % n)
    open(path + ".tmp", "w").write(state)
    os.rename(path + ".tmp", path)
    open(path + ".complete", "w").close()
    if n == LEAVE:
        print("half of a li", end="", flush=True)
        time.sleep(60)
open("artifacts/result", "w").write(state)
"""


def script(leave, pad=10):
    return SCRIPT.replace("LEAVE", str(leave)).replace("PAD", str(pad))


class Resuming(Trainings):
    """Instances are roots of their own beside one store."""

    def setUp(self):
        super().setUp()
        self.store = Store(tempfile.mkdtemp(dir=self.root))
        for what, value in (
            ("nx_ec2_runtime.aws.bucket.open_bucket", lambda access: self.store),
            ("nx_ec2_runtime.report.spot_notice.watch", lambda *_: None),
        ):
            patch = mock.patch(what, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.first = None

    def at(self, name):
        """Another instance from here on."""
        if self.first is None:
            self.first = self.root
            self.addCleanup(lambda: setattr(self, "root", self.first))
        os.environ["AWS_SSM_INSTANCE_ID"] = name
        self.addCleanup(os.environ.pop, "AWS_SSM_INSTANCE_ID", None)
        self.root = os.path.join(self.first, name)
        os.makedirs(self.root)

    def begin(self, leave, attempt=None, pad=10, ok=True, text=None, **more):
        """Starts the one run, or its next attempt; the reply. `text`: another script."""
        plan = self.plan(
            text or script(leave, pad),
            store=STORE,
            resumeArgs=["--resume"],
            detached=True,
            **dict({"nextAttempt": attempt and {"attempt": attempt}}, **more),
        )
        plan["run"]["id"], plan["run"]["runKey"] = self.run_id, "key"
        reply = main.run(plan, self.root)
        if ok:
            self.assertTrue(reply["ok"], reply)
        return reply

    @property
    def run_id(self):
        from runs import OURS

        return "20260101-000000-p-%sz" % OURS

    def home(self):
        return os.path.join(self.root, "runs", self.run_id)

    def record(self):
        return unsigned(self.store.objects().get("record.json"))

    def put_record(self, record, store=None):
        (store or self.store).overwrite("record.json", signed(record, self.run_id))

    def until_told(self, holds):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            record = self.record()
            if record and holds(record):
                return record
            time.sleep(0.02)
        self.fail("it was not told: %r" % (record,))

    def interrupt(self):
        """As soon as the training has said its last word."""
        self.wait_for_last_word()
        stop_request.ask(self.home(), "interruption", 1)
        return self.ended()

    def wait_for_last_word(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with open(os.path.join(self.home(), "log"), "rb") as file:
                if file.read().endswith(b"half of a li"):
                    return
            time.sleep(0.02)
        self.fail("it did not come to that")

    def ended(self):
        return self.until_told(
            lambda record: (
                record["state"] == "ended"
                and record["attempt"]
                == atomic_files.read_json(os.path.join(self.home(), "run.json"))["attempt"]
            )
        )

    def log(self):
        objects, n, log = self.store.objects(), 0, b""
        while "log/%d" % n in objects:
            log += objects["log/%d" % n]
            n += 1
        return log


class ResumeTest(Resuming):
    def test_a_run_continues_on_other_instances_without_gaps(self):
        # Two segments of log and a piece.
        pad = log_upload.SEGMENT_BYTES // 2
        self.at("i-1")
        self.begin(leave=1, pad=pad)
        first = self.interrupt()
        self.assertEqual(
            (first["outcome"], first["stop"]["reason"]), ("interrupted", "interruption")
        )
        log = self.log()
        for n in (2, 3):
            self.at("i-%d" % n)
            self.begin(leave=n, attempt=n, pad=pad)
            record = self.interrupt()
            self.assertEqual((record["attempt"], record["instance"]), (n, "i-%d" % n))
            self.assertTrue(self.log().startswith(log), "what was told is told once")
            self.assertEqual(record["takenOver"], {"from": "i-%d" % (n - 1), "log": len(log)})
            log = self.log()
        self.at("i-4")
        self.begin(leave=0, attempt=4, pad=pad)
        last = self.ended()
        self.assertEqual((last["outcome"], last["createdAt"]), ("succeeded", first["createdAt"]))
        self.assertEqual(
            [(each["n"], each["instance"], each["why"]) for each in last["attempts"]],
            [
                (1, "i-1", "i-1 was interrupted"),
                (2, "i-2", "i-2 was interrupted"),
                (3, "i-3", "i-3 was interrupted"),
                (4, "i-4", None),
            ],
        )
        lines = [
            line.rstrip("x").strip()
            for line in self.log().decode().split("\n")
            if line.startswith(("step", "attempt"))
        ]
        self.assertEqual(
            lines,
            [
                "attempt 1 []",
                "step 1 1",
                "attempt 2 ['--resume']",
                "step 2 1 2",
                "attempt 3 ['--resume']",
                "step 3 1 2 3",
                "attempt 4 ['--resume']",
                "step 4 1 2 3 4",
            ],
        )
        self.assertEqual(last["log"]["size"], len(self.log()))
        # What was restored is no checkpoint again, and no part is sent twice.
        self.assertEqual(
            [(each["n"], each["unit"], each["attempt"]) for each in last["checkpoints"]],
            [(2, "step-2", 2), (3, "step-3", 3), (4, "step-4", 4)],
        )
        self.assertEqual(last["restoredFrom"], {"run": self.run_id, "n": 3, "unit": "step-3"})
        with open(os.path.join(self.store.directory, ".writes")) as file:
            parts = [line for line in file.read().split() if line.startswith("part/")]
        self.assertEqual(len(parts), len(set(parts)))
        times = json.loads(self.store.objects()["times.json"])["times"]
        self.assertEqual(times, sorted(times))
        self.assertEqual(times[-1][1], len(self.log()))

    def test_the_first_object_that_an_attempt_writes_is_its_record(self):
        writes, put = os.path.join(self.first or self.root, "writes"), Store.put

        def noted(store, name, data, **more):
            with open(writes, "a") as file:
                record = unsigned(data) if name == "record.json" else None
                told = record and [record["attempt"], record["log"]["size"]]
                file.write(json.dumps([name, told]) + "\n")
            return put(store, name, data, **more)

        patch = mock.patch.object(Store, "put", noted)
        patch.start()
        self.addCleanup(patch.stop)
        self.at("i-1")
        self.begin(leave=1)
        before = self.interrupt()["log"]["size"]
        self.at("i-2")
        self.begin(leave=2, attempt=2)
        self.interrupt()
        with open(writes) as file:
            found = [json.loads(line) for line in file]
        self.assertEqual(found[0], ["record.json", [1, 0]])
        second = [told for _, told in found].index([2, before])
        self.assertEqual({told[0] for _, told in found[:second] if told}, {1})
        self.assertEqual(found[second - 1][0], "record.json", "the last object of attempt 1")
        report = atomic_files.read_json(os.path.join(self.home(), "report.json"))
        self.assertEqual((report["claimed"], report["proven"]), (True, True))

    def test_a_checkpoint_of_another_run_is_restored_and_not_uploaded_again(self):
        self.at("i-1")
        self.begin(leave=2)
        other = self.interrupt()["checkpoints"][-1]
        others, self.store = self.store, Store(tempfile.mkdtemp(dir=self.first))
        restore = {
            "run": "other",
            "n": other["n"],
            "sha256": other["sha256"],
            "prefix": "v2/projects/p/run/other/",
            "urls": None,
            "nodes": [],
        }
        stores = mock.patch(
            "nx_ec2_runtime.aws.bucket.open_bucket",
            lambda access: others if access["prefix"] == restore["prefix"] else self.store,
        )
        stores.start()
        self.addCleanup(stores.stop)
        self.at("i-2")
        # An attempt that saves nothing of its own, and one on another instance that does.
        self.begin(
            leave=0,
            resumeFrom=restore,
            text="import time; print('half of a li', end='', flush=True); time.sleep(60)",
        )
        first = self.interrupt()
        self.assertEqual((first["restoredFrom"]["unit"], first["checkpoints"]), ("step-2", []))
        self.assertEqual(
            [name for name in self.store.objects() if name.startswith(("part/", "checkpoint/"))], []
        )
        self.at("i-3")
        self.begin(leave=0, attempt=2, resumeFrom=restore)
        last = self.ended()
        self.assertEqual(
            (last["outcome"], last["checkpoints"][-1]["unit"]), ("succeeded", "step-4")
        )
        self.assertIn(b"step 3 1 2 3", self.log())

    def test_a_run_whose_set_up_fails_saves_nothing_of_what_it_restored(self):
        it = uploads.Saver(self.root, part("r"), None)
        it.saved = mock.Mock(kept=[], unfit={})
        with mock.patch.object(it, "_checkpoints") as opened:
            it._save_checkpoints({"attempts": [], "attempt": 1, "since": None})
            opened.assert_not_called()
            it._save_checkpoints({"attempts": [], "attempt": 1, "since": 1})
            opened.assert_called_once_with(1)

    def test_a_takeover_killed_at_any_request_can_be_repeated(self):
        self.at("i-1")
        self.begin(leave=2)
        self.interrupt()
        before = self.store.objects()
        self.at("i-2")
        home, spec = (
            self.home(),
            dict(part(self.run_id), store=STORE, runKey="key", nextAttempt={"attempt": 2}),
        )
        kills = 0
        while True:
            child = os.fork()
            if child == 0:
                try:
                    store = Store(self.store.directory, kill=kills + 1, reads=True)
                    with mock.patch("nx_ec2_runtime.aws.bucket.open_bucket", lambda access: store):
                        take_over.begin(home, spec)
                    os._exit(0)
                finally:
                    os._exit(1)
            status = os.waitpid(child, 0)[1]
            self.assertFalse(os.path.exists(os.path.join(home, "run.json")))
            self.assertEqual(
                self.store.objects(), before, "the next attempt begins with nothing written"
            )
            if status == 0:
                break
            self.assertEqual(status, signal.SIGKILL)
            kills += 1
        self.assertGreaterEqual(kills, 3)
        self.begin(leave=0, attempt=2)
        self.assertEqual(self.ended()["outcome"], "succeeded")
        # Who asks for the same again finds it.
        self.assertEqual(self.begin(leave=0, attempt=2)["run"]["attempt"], 2)

    def test_a_takeover_killed_at_any_write_can_be_repeated(self):
        self.at("i-1")
        self.begin(leave=2)
        self.interrupt()
        self.at("i-2")
        home, spec = (
            self.home(),
            dict(part(self.run_id), store=STORE, runKey="key", nextAttempt={"attempt": 2}),
        )
        kills = 0
        while True:
            child = os.fork()
            if child == 0:
                try:
                    count = [0]

                    def dies(*args, **more):
                        count[0] += 1
                        if count[0] > kills:
                            os.kill(os.getpid(), 9)

                    write = atomic_files.write_atomically
                    with mock.patch(
                        "nx_ec2_runtime.system.atomic_files.write_atomically",
                        lambda *args, **more: (dies(), write(*args, **more)),
                    ):
                        take_over.begin(home, spec)
                    os._exit(0)
                finally:
                    os._exit(1)
            status = os.waitpid(child, 0)[1]
            if status == 0:
                break
            self.assertEqual(status, signal.SIGKILL)
            kills += 1
        self.assertGreaterEqual(kills, 3)
        self.begin(leave=0, attempt=2)
        self.assertEqual(self.ended()["outcome"], "succeeded")

    def test_a_run_whose_instance_is_terminated_is_resumed_within_the_lease(self):
        self.at("i-1")
        self.begin(leave=1)
        # As it was written last before the loss.
        record = dict(self.interrupt(), state="running", outcome=None, stop=None, endedAt=None)
        self.put_record(record)
        self.at("i-2")
        wanted = {"attempt": 2, "heartbeat": record["heartbeat"]}
        for terminated in (
            {"instance": "i-3", "attempt": 1},
            {"instance": "i-1", "attempt": 2},
            {"instance": "i-1", "attempt": 0},
            {"instance": None, "attempt": None},
            None,
        ):
            with self.subTest(terminated):
                again = dict(wanted, terminated=terminated)
                reply = self.begin(leave=0, nextAttempt=again, ok=False)
                self.assertEqual(reply["error"]["code"], "RUN_ACTIVE")
                self.assertFalse(os.path.exists(self.home()))
        again = dict(wanted, terminated={"instance": "i-1", "attempt": 1})
        self.begin(leave=0, nextAttempt=again)
        ended = self.ended()
        self.assertEqual((ended["outcome"], ended["attempt"]), ("succeeded", 2))
        # What it says of the first attempt says nothing of the second, on the same instance or not.
        for instance in ("i-1", "i-2"):
            active = dict(self.record(), state="running", outcome=None, instance=instance)
            self.put_record(active)
            self.at("i-3-" + instance)
            said = {"instance": instance, "attempt": 1}
            again = {"attempt": 3, "heartbeat": 0, "terminated": said}
            reply = self.begin(leave=0, nextAttempt=again, ok=False)
            self.assertEqual(reply["error"]["code"], "RUN_ACTIVE")

    def test_a_run_that_is_active_or_has_ended_by_itself_is_not_resumed(self):
        self.at("i-1")
        self.begin(leave=1)
        self.until_told(lambda record: record["state"] == "running")
        self.at("i-2")
        self.assertEqual(self.begin(leave=0, attempt=2, ok=False)["error"]["code"], "RUN_ACTIVE")
        self.root = os.path.join(self.first, "i-1")
        self.interrupt()
        self.root = os.path.join(self.first, "i-2")
        other = self.plan(script(0), store=STORE, nextAttempt={"attempt": 2})
        other["run"]["id"] = self.run_id
        self.assertEqual(main.run(other, self.root)["error"]["code"], "NOT_RESUMABLE")
        self.assertEqual(self.begin(leave=0, attempt=1, ok=False)["error"]["code"], "RUN_ACTIVE")
        self.begin(leave=0, attempt=2)
        self.ended()
        self.at("i-3")
        self.assertEqual(self.begin(leave=0, attempt=3, ok=False)["error"]["code"], "NOT_RESUMABLE")

    def test_a_role_without_read_permission_is_reported_with_the_missing_action(self):
        self.at("i-1")
        self.begin(leave=1)
        self.interrupt()
        self.at("i-2")
        for denied in ("get", "list"):
            self.store = Store(self.store.directory, denied=(denied,))
            error = self.begin(leave=0, attempt=2, ok=False)["error"]
            self.assertEqual(
                (error["code"], "s3:GetObject" in error["detail"]["fix"]), ("ACCESS_DENIED", True)
            )
            self.assertFalse(os.path.exists(self.home()))

    def test_an_attempt_that_was_lost_is_recorded_and_its_checkpoint_is_resumed_from(self):
        self.at("i-1")
        self.begin(leave=2)
        self.until_told(
            lambda record: record["state"] == "running" and len(record["checkpoints"]) == 2
        )
        # It vanishes: nothing of it writes any more.
        gone, self.store = self.store, Store(tempfile.mkdtemp(dir=self.first), ahead=61)
        state = atomic_files.read_json(os.path.join(self.home(), "run.json"))
        os.kill(state["supervisor"], 9)
        self.until_lost(gone)
        record = dict(
            unsigned(gone.objects()["record.json"]),
            state="running",
            outcome=None,
            endedAt=None,
            failure=None,
        )
        for name, data in dict(
            gone.objects(), **{"record.json": signed(record, self.run_id)}
        ).items():
            atomic_files.write_atomically(os.path.join(self.store.directory, name), data)
        self.at("i-2")
        self.begin(leave=0, attempt=2)
        last = self.ended()
        attempt = last["attempts"][0]
        self.assertEqual(
            (attempt["instance"], attempt["why"]), ("i-1", "i-1 sent no more heartbeats")
        )
        self.assertEqual(attempt["startedAt"], state["since"])
        self.assertGreaterEqual(attempt["endedAt"], attempt["startedAt"])
        self.assertIn(b"step 3 1 2 3", self.log())
        self.assertEqual(self.log().count(b"step 2"), 1)

    def until_lost(self, store):
        deadline = time.monotonic() + 20
        while unsigned(store.objects()["record.json"])["state"] != "ended":
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_without_a_checkpoint_the_training_starts_from_the_beginning_and_says_so(self):
        self.at("i-1")
        self.begin(leave=0, env={"PATH": os.environ["PATH"]}, setup=[["sleep", "60"]])
        self.until_told(lambda record: record["state"] == "setup")
        stop_request.ask(self.home(), "interruption", 1)
        self.assertEqual(self.ended()["outcome"], "interrupted")
        self.at("i-2")
        self.begin(leave=0, attempt=2)
        self.ended()
        self.assertIn(
            b"on i-2 after i-1: nothing was saved to resume from, so the training starts from the beginning",
            self.log(),
        )
        self.assertIn(b"attempt 2 []", self.log())

    def test_the_checkpoint_before_a_damaged_one_is_restored(self):
        self.at("i-1")
        self.begin(leave=3)
        record = self.interrupt()
        newest = json.loads(self.store.objects()["checkpoint/3.json"])
        atomic_files.write_atomically(
            os.path.join(self.store.directory, "part", newest["files"][0]["parts"][0]), b"damaged"
        )
        self.put_record(record)
        self.at("i-2")
        self.begin(leave=0, attempt=2)
        self.assertEqual(self.ended()["outcome"], "succeeded")
        self.assertIn(b"can't resume from the checkpoint 3", self.log())
        self.assertEqual(self.log().count(b"step 3 1 2 3"), 2)

    def test_a_record_that_s3_does_not_let_be_read_is_not_resumed_from(self):
        s3 = s3_server.S3()
        self.addCleanup(s3.close)
        spec = dict(part(self.run_id), store=STORE)
        for kind in s3_server.KINDS:
            s3.overwrite("record.json", b"x", kind)
            with self.subTest(kind), self.assertRaises(Failure) as raised:
                take_over.read(s3.bucket(), spec)
            self.assertEqual(raised.exception.code, "RECORD_UNVERIFIED")
            self.assertIn(s3_server.KINDS[kind][0][1], raised.exception.message)

    def test_a_forged_or_outdated_record_is_not_resumed_from(self):
        self.at("i-1")
        self.begin(leave=1)
        record = self.interrupt()
        genuine = self.store.objects()["record.json"]
        self.at("i-2")
        forged = dict(
            record, checkpoints=[dict(each, sha256="0" * 64) for each in record["checkpoints"]]
        )
        for data in (
            json.dumps(forged).encode(),
            genuine.replace(record["checkpoints"][0]["sha256"].encode(), b"0" * 64),
            signed(forged, self.run_id, "A" * 43 + "="),
            signed(record, self.run_id[:-1] + "y"),
        ):
            atomic_files.write_atomically(os.path.join(self.store.directory, "record.json"), data)
            self.assertEqual(
                self.begin(leave=0, attempt=2, ok=False)["error"]["code"], "RECORD_UNVERIFIED"
            )
        self.put_record(dict(record, heartbeat=record["heartbeat"] - 1))
        reply = self.begin(
            leave=0, nextAttempt={"attempt": 2, "heartbeat": record["heartbeat"]}, ok=False
        )
        self.assertEqual(reply["error"]["code"], "RECORD_UNVERIFIED")
        self.assertFalse(os.path.exists(self.home()))
        atomic_files.write_atomically(os.path.join(self.store.directory, "record.json"), genuine)
        self.begin(leave=0, nextAttempt={"attempt": 2, "heartbeat": record["heartbeat"]})
        self.assertEqual(self.ended()["outcome"], "succeeded")

    def last_segment(self):
        names = [name for name in self.store.objects() if name.startswith("log/")]
        return "log/%d" % max(int(name[4:]) for name in names)

    def assert_log_is_as_the_record_says(self, record):
        log = self.log()
        size = log_upload.SEGMENT_BYTES
        pieces = [log[start : start + size] for start in range(0, len(log), size)]
        self.assertEqual(record["log"]["size"], len(log))
        self.assertEqual(
            record["log"]["hashes"]["segments"],
            [hashlib.sha256(each).hexdigest() for each in pieces],
        )

    def test_what_was_logged_after_the_last_record_is_kept(self):
        self.at("i-1")
        self.begin(leave=1, pad=log_upload.SEGMENT_BYTES)
        self.interrupt()
        self.at("i-2")
        last = self.last_segment()
        self.store.overwrite(last, self.store.objects()[last] + b"ne\nmore\n")
        self.store.overwrite("log/999999999", b"x")
        self.begin(leave=0, attempt=2)
        record = self.ended()
        self.assertIn(b"half of a line\nmore\n", self.log())
        self.assert_log_is_as_the_record_says(record)

    def test_a_run_is_resumed_without_the_segment_of_its_log_that_another_program_damaged(self):
        self.at("i-1")
        self.begin(leave=1, pad=log_upload.SEGMENT_BYTES)
        first = self.interrupt()
        last, whole = self.last_segment(), self.store
        start = int(last[4:]) * log_upload.SEGMENT_BYTES
        for n, (damage, words) in enumerate((
            (lambda: self.store.overwrite(last, b"hello"), b"does not match the record"),
            (lambda: self.store.unlink(last), b"is not in the store"),
            (lambda: self.store.refuse(last), b"InvalidObjectState"),
            (lambda: self.store.overwrite(last, b"x" * (2 << 20)), b"is larger than"),
        )):
            with self.subTest(words):
                self.store = whole.copy(os.path.join(self.first, "store-%d" % n))
                damage()
                self.at("i-2-%d" % n)
                self.begin(leave=0, attempt=2)
                record = self.ended()
                self.assertEqual(
                    (record["outcome"], record["attempt"], record["restoredFrom"]["unit"]),
                    ("succeeded", 2, "step-1"),
                )
                self.assertEqual(record["takenOver"]["log"], start)
                self.assertLessEqual(record["log"]["training"], first["log"]["training"])
                said = b"nx-ec2: the log of the earlier attempts is lost from byte %d on" % start
                line = self.log()[start:].split(b"\n")[0]
                self.assertTrue(line.startswith(said), line)
                self.assertIn(words, line)
                self.assert_log_is_as_the_record_says(record)

    def test_a_run_is_resumed_whatever_another_program_writes_as_its_unsigned_objects(self):
        self.at("i-1")
        self.begin(leave=2)
        newest = self.interrupt()["checkpoints"][-1]
        whole = self.store
        manifest = json.loads(whole.objects()["checkpoint/%d.json" % newest["n"]])
        part_of_newest = "part/" + manifest["files"][0]["parts"][0]
        for n, (name, damage) in enumerate((
            (part_of_newest, lambda name: self.store.refuse(name)),
            (part_of_newest, lambda name: self.store.overwrite(name, b"x" * (17 << 20))),
            ("times.json", lambda name: self.store.overwrite(name, b"x" * (17 << 20))),
            ("times.json", lambda name: self.store.refuse(name)),
            ("times.json", lambda name: self.store.overwrite(name, b"{}")),
            ("checkpoint/%d.json" % newest["n"], lambda name: self.store.refuse(name)),
            ("checkpoint/%d.json" % newest["n"], lambda name: self.store.overwrite(name, b"x")),
        )):
            with self.subTest(name, n=n):
                self.store = whole.copy(os.path.join(self.first, "store-%d" % n))
                damage(name)
                self.at("i-2-%d" % n)
                self.begin(leave=0, attempt=2)
                record = self.ended()
                unit = "step-2" if name == "times.json" else "step-1"
                self.assertEqual(
                    (record["outcome"], record["restoredFrom"]["unit"]), ("succeeded", unit)
                )

    def test_a_url_of_an_object_that_s3_does_not_let_be_read_is_a_damaged_checkpoint(self):
        served = store.Store()
        self.addCleanup(served.close)
        urls = {"checkpoint/1.json": served.url("/c"), "part/x": served.url("/x")}
        source = {"run": "r", "n": 1, "sha256": "0" * 64, "prefix": "p/", "urls": urls, "nodes": []}
        for status, why in (
            (400, "UNREADABLE"),
            (404, "ABSENT"),
            (403, "UNREADABLE"),
            (503, "FETCH_FAILED"),
        ):
            served.objects["/c"] = status
            with self.subTest(status), self.assertRaises(Failure) as raised:
                checkpoint_source.restore_from(source, {}, self.root, account=None)
            self.assertEqual(raised.exception.detail["why"], why)
            self.assertEqual(why in resume_checkpoint.UNRESTORABLE, status < 500)

    def test_what_is_damaged_on_the_way_is_read_again_before_an_older_checkpoint_is_taken(self):
        part = b"weights"
        name = hashlib.sha256(part).hexdigest()
        entry = {"path": "step", "size": len(part), "sha256": name, "executable": False}
        manifest = json.dumps({
            "v": 1,
            "n": 1,
            "unit": "step",
            "names": [{"name": "step", "kind": "file"}],
            "at": 1,
            "attempt": 1,
            "files": [dict(entry, parts=[name])],
        }).encode()
        served = store.Store()
        self.addCleanup(served.close)
        for path, data in (("/c", manifest), ("/x", part)):
            answers = iter([data.replace(b"e", b"a")] * 2)
            served.objects[path] = lambda a=answers, d=data: next(a, d)
        source = {
            "run": "r",
            "n": 1,
            "sha256": hashlib.sha256(manifest).hexdigest(),
            "prefix": "p/",
            "nodes": [],
            "urls": {"checkpoint/1.json": served.url("/c"), "part/" + name: served.url("/x")},
        }
        run_dir = os.path.join(self.root, "run")
        os.makedirs(os.path.join(run_dir, "checkpoints"))
        checkpoint_source.restore_from(source, {}, run_dir, account=pwd.getpwuid(os.getuid()))
        with open(os.path.join(run_dir, "checkpoints", "step"), "rb") as file:
            self.assertEqual(file.read(), part)

    def test_objects_of_another_program_do_not_change_the_numbering(self):
        self.at("i-1")
        self.begin(leave=2)
        self.assertEqual([each["n"] for each in self.interrupt()["checkpoints"]], [1, 2])
        for forged in (
            "\u00b2",
            "\u0665",
            "-1",
            "+3",
            "1_0",
            "1e9",
            "5000",
            "9" * 9,
            "9" * 40,
            "9" * 200,
        ):
            for name in ("checkpoint/%s.json", "metrics/%s", "log/%s"):
                self.store.overwrite(name % forged, b"x")
        # One that the instance has written, and that no record tells of, keeps its number.
        self.store.overwrite("checkpoint/4.json", b"x")
        self.at("i-2")
        self.begin(leave=0, attempt=2)
        record = self.ended()
        self.assertEqual(
            (record["outcome"], [each["n"] for each in record["checkpoints"]]),
            ("succeeded", [2, 5, 6]),
        )
        self.assertLess(record["metrics"]["segments"], 10)

    def test_the_time_limit_is_of_all_attempts_and_interruptions_are_no_failures(self):
        self.at("i-1")
        self.begin(leave=1, timeout=600)
        record = self.interrupt()
        record["attempts"][0]["startedAt"] -= 600000
        self.put_record(record)
        self.at("i-2")
        self.begin(leave=2, attempt=2, timeout=601)
        self.assertEqual(self.ended()["outcome"], "timed-out")


class Fencing(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.store, self.now = Store(directory.name), 0.0

    def fenced(self, instance="i-1", attempt=1, etag=None, version=None, proven=False):
        return fencing.Fenced(
            self.store,
            SigningKey(part(RUN)),
            instance=instance,
            attempt=attempt,
            etag=etag,
            version=version,
            claimed=False,
            proven=proven,
            clock=lambda: self.now,
        )

    def tell(self, it, heartbeat=1):
        it.put_record({"instance": it.instance, "attempt": it.attempt, "heartbeat": heartbeat})

    def record(self):
        return unsigned(self.store.objects()["record.json"])

    def overwrite(self, data):
        atomic_files.write_atomically(os.path.join(self.store.directory, "record.json"), data)


class FenceTest(Fencing):
    def test_an_instance_whose_run_was_taken_over_writes_nothing_more(self):
        old = self.fenced()
        self.tell(old)
        new = self.fenced("i-2", 2, old.etag)
        self.tell(new)
        before = self.store.objects()
        with self.assertRaises(fencing.Superseded):
            self.tell(old)
        for name in ("log/0", "record.json"):
            with self.assertRaises(fencing.Superseded):
                old.put(name, b"x")
        self.assertEqual(self.store.objects(), before)
        self.tell(new)

    def test_nothing_of_an_attempt_is_written_before_its_first_record(self):
        first = self.fenced()
        for it, heartbeat in ((first, 1), (self.fenced("i-2", 2, None), 2)):
            it.etag = first.etag
            before = self.store.objects()
            for name in ("log/0", "times.json", "metrics/0", "checkpoint/1.json"):
                with self.assertRaises(Failure):
                    it.put(name, b"x")
            self.assertEqual(self.store.objects(), before)
            self.tell(it, heartbeat)
            it.put("log/0", b"%d" % heartbeat)

    def test_an_instance_with_another_record_in_its_way_writes_nothing(self):
        self.tell(self.fenced("i-2", 2), heartbeat=9)
        before = self.store.objects()
        late = self.fenced()
        with self.assertRaises(fencing.Superseded):
            self.tell(late)
        with self.assertRaises(fencing.Superseded):
            late.put("checkpoint/1.json", b"x")
        self.assertEqual(self.store.objects(), before)

    def test_a_reporter_that_was_silent_reads_the_record_before_it_writes(self):
        old = self.fenced()
        self.tell(old)
        self.tell(self.fenced("i-2", 2, old.etag))
        self.now = fencing.OWNERSHIP_CHECK_S + 1
        with self.assertRaises(fencing.Superseded):
            old.put("log/0", b"x")
        self.assertNotIn("log/0", self.store.objects())

    def test_the_second_of_two_instances_that_resume_a_run_gives_up(self):
        first = self.fenced()
        self.tell(first)
        a, b = (
            self.fenced("i-2", 2, first.etag),
            self.fenced("i-3", 2, first.etag),
        )
        self.tell(a)
        with self.assertRaises(fencing.Superseded):
            self.tell(b)

    def test_a_forged_record_is_overwritten(self):
        it = self.fenced()
        self.tell(it, heartbeat=4)
        genuine = self.store.objects()["record.json"]
        other = {"instance": "i-9", "attempt": 9, "heartbeat": 9}
        for n, forged in enumerate((
            b"",
            b"{}",
            json.dumps(other).encode(),
            signed(other, RUN, "A" * 43 + "="),
            signed(other, RUN[:-1] + "b"),
            genuine.replace(b'"attempt": 1', b'"attempt": 9'),
            genuine.replace(b"i-1", b"i-9"),
            b"x" * (2 << 20),
        )):
            self.overwrite(forged)
            self.now += fencing.OWNERSHIP_CHECK_S + 1
            with self.assertRaises(Failure):
                it.put("log/0", b"x")
            self.tell(it, heartbeat=5 + n)
            it.put("log/0", b"x")
            self.assertEqual(self.record(), {"instance": "i-1", "attempt": 1, "heartbeat": 5 + n})

    def test_an_old_record_that_is_put_back_is_overwritten(self):
        old = self.fenced()
        self.tell(old, heartbeat=3)
        before = self.store.objects()["record.json"]
        new = self.fenced("i-2", 2, old.etag, version=old.version)
        self.tell(new, heartbeat=4)
        self.overwrite(before)
        self.tell(new, heartbeat=5)
        self.assertEqual(self.record(), {"instance": "i-2", "attempt": 2, "heartbeat": 5})

    def test_a_run_that_is_still_active_is_not_taken_over(self):
        old = self.fenced()
        self.tell(old, heartbeat=3)
        new = self.fenced("i-2", 2, old.etag, version=old.version)
        self.tell(old, heartbeat=4)
        with self.assertRaises(fencing.Superseded):
            self.tell(new, heartbeat=4)

    def test_a_write_whose_answer_was_lost_is_recognized(self):
        it = self.fenced()
        self.tell(it)
        etag = it.etag
        self.tell(it, heartbeat=2)
        # As if the answer to that had not come.
        it.etag = etag
        self.tell(it, heartbeat=3)
        # Restarted before it had written down what it knew.
        again = self.fenced()
        self.tell(again, heartbeat=4)
        self.assertEqual(self.record()["heartbeat"], 4)
        again.put("log/0", b"x")

    def test_a_role_without_read_permission_still_writes_the_record(self):
        it = self.fenced()
        self.tell(it)
        put = self.store.put

        def refuses(name, data, content_type=None, condition=None):
            if condition and "If-Match" in condition:
                raise Failure("ACCESS_DENIED", "no", status=403)
            return put(name, data, content_type=content_type)

        self.store.put = refuses
        self.tell(it, heartbeat=2)
        self.tell(it, heartbeat=3)
        self.assertEqual(self.record()["heartbeat"], 3)


class FencedByS3Test(Fencing):
    """Another program writes objects that S3 does not let the role read, or deletes the record."""

    def setUp(self):
        super().setUp()
        self.s3 = s3_server.S3()
        self.addCleanup(self.s3.close)

    def own(self):
        """An instance that has written the run's record twice."""
        self.store = self.s3.bucket()
        it = self.fenced()
        self.tell(it)
        self.tell(it, heartbeat=2)
        return it

    def written(self):
        name, condition = self.s3.writes[-1]
        return name, list(condition), unsigned(self.s3.bytes(name))["heartbeat"]

    def test_a_record_that_s3_does_not_let_be_read_is_overwritten_on_condition(self):
        for kind in s3_server.KINDS:
            with self.subTest(kind):
                it = self.own()
                for heartbeat in (3, 4, 5):
                    self.s3.overwrite("record.json", b"x", kind)
                    self.tell(it, heartbeat=heartbeat)
                    self.assertEqual(self.written(), ("record.json", ["If-Match"], heartbeat))
                self.s3.objects.clear()

    def test_a_reporter_that_was_silent_overwrites_an_unreadable_record(self):
        for kind in s3_server.KINDS:
            with self.subTest(kind):
                it = self.own()
                self.s3.overwrite("record.json", b"x", kind)
                self.now += fencing.OWNERSHIP_CHECK_S + 1
                with self.assertRaises(Failure):
                    it.put("log/0", b"x")
                self.tell(it, heartbeat=3)
                self.assertEqual(self.written(), ("record.json", ["If-Match"], 3))
                self.s3.objects.clear()

    def test_a_record_that_was_deleted_is_written_on_condition_that_there_is_none(self):
        for denied in (set(), {"missing"}):
            self.s3.denied = denied
            it = self.own()
            for heartbeat in (3, 4):
                del self.s3.objects["record.json"]
                self.tell(it, heartbeat=heartbeat)
                self.assertEqual(self.written(), ("record.json", ["If-None-Match"], heartbeat))
            self.tell(it, heartbeat=5)
            self.assertEqual(self.written(), ("record.json", ["If-Match"], 5))
            self.s3.objects.clear()

    def test_an_instance_learns_that_it_was_superseded_after_its_record_was_made_unreadable(self):
        old = self.own()
        self.s3.overwrite("record.json", b"x", "foreign-key")
        self.tell(old, heartbeat=3)
        new = self.fenced("i-2", 2, old.etag, version=old.version)
        self.tell(new, heartbeat=4)
        with self.assertRaises(fencing.Superseded):
            self.tell(old, heartbeat=4)
        self.assertEqual(self.written(), ("record.json", ["If-Match"], 4))

    def test_a_role_that_may_not_list_replaces_no_record_that_it_can_not_read(self):
        it = self.own()
        self.s3.denied = {"list"}
        self.s3.overwrite("record.json", b"x", "foreign-key")
        for silent in (0, fencing.OWNERSHIP_CHECK_S + 1):
            self.now += silent
            with self.assertRaises(Failure):
                it.put("log/0", b"x") if silent else self.tell(it, heartbeat=3)
            with self.assertRaises(Failure):
                self.tell(it, heartbeat=3)
        self.assertEqual(self.s3.bytes("record.json"), b"x")
        del self.s3.objects["record.json"]
        self.tell(it, heartbeat=3)
        self.assertEqual(self.written(), ("record.json", ["If-None-Match"], 3))

    def test_a_reporter_that_is_restarted_keeps_the_condition(self):
        it = self.own()
        self.s3.denied = {"list"}
        again = self.fenced(etag=it.etag, version=it.version, proven=it.proven)
        self.s3.overwrite("record.json", b"x", "foreign-key")
        with self.assertRaises(Failure):
            self.tell(again, heartbeat=3)
        self.assertEqual((again.holds, self.s3.bytes("record.json")), (True, b"x"))

    def test_a_role_that_may_write_only_sets_no_condition(self):
        self.s3.denied = {"get", "list"}
        self.own()
        self.assertEqual(self.written(), ("record.json", [], 2))


# Saves a checkpoint of two names, waits until that is in the store, and is killed in the middle of
# the next one.
KILLED = """
import os, sys, time
at = os.environ["NX_EC2_CHECKPOINT_DIR"]
if os.environ["NX_EC2_ATTEMPT"] == "1":
    for step in (1, 2):
        os.mkdir(at + "/global_step%%d" %% step)
        open(at + "/global_step%%d/states" %% step, "w").write("%%d" %% step * 100)
        open(at + "/latest", "w").write("global_step%%d" %% step)
        while step == 1 and not os.path.exists(%r):
            time.sleep(0.05)
    os.kill(os.getpid(), 9)
print("found", sorted(os.listdir(at)), open(at + "/latest").read(), len(open(at + "/global_step1/states").read()), sys.argv[1:])
"""


# The same with a file for each step, or with one that is written again, and where it is not killed
# before anything is saved.
KILLED_IN_FILES = """
import os, sys, time
at = os.environ["NX_EC2_CHECKPOINT_DIR"]
if os.environ["NX_EC2_ATTEMPT"] == "1":
    for step in (1, 2):
        open(at + "/" + %r %% step, "w").write("%%d" %% step * 100)
        while step == 1 and not os.path.exists(%r):
            time.sleep(0.05)
    os.kill(os.getpid(), 9)
print("found", sorted(os.listdir(at)), sys.argv[1:])
"""


@unittest.skipUnless(os.path.isdir("/proc/self"), "launchers are known from /proc")
class CutOffTest(Resuming):
    def setUp(self):
        super().setUp()
        self.at("i-1")
        # The supervisor is a fork of this process.
        self.addCleanup(setattr, child_process, "LAUNCHER_POLL_S", child_process.LAUNCHER_POLL_S)
        child_process.LAUNCHER_POLL_S = 0
        self.saved = os.path.join(self.store.directory, "checkpoint", "1.json")

    def train_cut_off(self, script, **more):
        """The state and the log of a run whose launcher exits, when its worker is gone, with a code
        that asks for another attempt.
        """
        torchrun = os.path.join(self.root, "torchrun")
        os.symlink(shutil.which("bash"), torchrun)
        command = [
            torchrun,
            "-c",
            "%s train.py $1; code=$?; [ $code = 0 ] || exit 75" % sys.executable,
            "x",
        ]
        plan = self.plan(
            script,
            store=STORE,
            detached=True,
            script=None,
            command=command,
            retry={"exitCodes": [75], "attempts": 2},
            resumeArgs=["--resume"],
            **more,
        )
        plan["run"]["id"] = self.run_id
        self.assertTrue(main.run(plan, self.root)["ok"])
        return self.end(self.run_id)

    def by_form(self):
        """The run is saved by a form, and the role can't read."""

        def open_bucket(access):
            if "post" in access:
                raise Failure("NO_ROLE", "the instance has no role")
            return self.store

        patch = mock.patch("nx_ec2_runtime.aws.bucket.open_bucket", open_bucket)
        patch.start()
        self.addCleanup(patch.stop)
        return dict(STORE, access="presigned")

    def test_the_next_attempt_gets_the_last_complete_set_after_a_worker_was_killed(self):
        state, log = self.train_cut_off(KILLED % self.saved)
        self.assertEqual([each["cut"] for each in state["attempts"]], [True, False], log)
        self.assertIn(b"found ['global_step1', 'latest'] global_step1 100 ['--resume']\n", log)
        self.assertIn(b"the checkpoint latest may be incomplete", log)
        half = os.path.join(self.home(), "half", "1")
        self.assertEqual(sorted(os.listdir(half)), ["global_step2", "latest"])

    def test_with_an_upload_form_no_attempt_starts_from_an_incomplete_set(self):
        self.by_form()
        state, log = self.train_cut_off(KILLED % self.saved)
        self.assertEqual(
            (state["outcome"], (state["failure"] or {}).get("code")),
            ("setup-failed", "RESTORE_FAILED"),
            log,
        )
        self.assertEqual(len(state["attempts"]), 1)
        self.assertNotIn(b"found", log)

    def test_with_an_upload_form_an_attempt_resumes_from_a_set_that_is_still_complete(self):
        self.by_form()
        _, log = self.train_cut_off(KILLED_IN_FILES % ("step-%d.pt", self.saved))
        self.assertIn(b"the checkpoint 1 is complete in its place\n", log)
        self.assertIn(b"found ['step-1.pt'] ['--resume']\n", log)

    def test_without_a_complete_set_the_log_says_that_the_training_starts_from_the_beginning(self):
        self.by_form()
        _, log = self.train_cut_off(KILLED_IN_FILES % ("model-%d.pt", self.root))
        self.assertIn(
            b"no complete checkpoint was saved before: the training starts from the beginning\n",
            log,
        )
        self.assertIn(b"found [] ['--resume']\n", log)

    def test_the_checkpoint_of_another_run_is_restored_again_if_this_run_has_saved_none(self):
        self.by_form()
        run = object.__new__(supervised_run.SupervisedRun)
        run.run_dir, run.account, run.log = self.root, None, mock.Mock()
        run.spec = part("r", store=STORE, resumeFrom={"run": "other", "n": 4})
        checkpoint, fetched = resume_checkpoint.ResumeCheckpoint(run, None), []
        with mock.patch.object(checkpoint, "restore_one", fetched.append):
            settled_checkpoints.SettledCheckpoints(run, None, checkpoint).restore_last()
        self.assertEqual(fetched, [{"run": "other", "n": 4}])


class Notices(Resuming):
    def test_a_superseded_run_stops_its_training(self):
        self.at("i-1")
        self.begin(leave=1)
        self.wait_for_last_word()
        record = self.until_told(lambda record: record["state"] == "running")
        other = signed(dict(record, instance="i-2", attempt=2), self.run_id)
        self.store.overwrite("record.json", other)
        with open(os.path.join(self.home(), "log"), "a") as file:
            file.write("more\n")
        state, _ = self.end(self.run_id)
        self.assertEqual((state["outcome"], state["stop"]["reason"]), ("interrupted", "superseded"))
        self.assertEqual(self.store.objects()["record.json"], other)
        deadline = time.monotonic() + 30
        # The reporter asks for the stop first.
        while not atomic_files.read_json(os.path.join(self.home(), "report.json")).get(
            "superseded"
        ):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)


class Imds:
    """`answers`: {path: [answer, …]}, the last of them again and again; an exception is raised."""

    def __init__(self, **answers):
        self.life, self.action = answers["life"], answers["action"]

    def get(self, path):
        answers = self.life if path.endswith("life-cycle") else self.action
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class InterruptionTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        self.home = os.path.join(self.root, "runs", "r")
        os.makedirs(self.home)
        self.slept = []

    def look(self, grace=30, **answers):
        spot_notice.look_out(self.home, grace, Imds(**answers), sleep=self.slept.append)
        return atomic_files.read_json(os.path.join(self.home, "stop.json")), atomic_files.read_json(
            os.path.join(self.root, "interruption.json")
        )

    def notice(self, seconds):
        return json.dumps({
            "action": "terminate",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds)),
        })

    def test_a_spot_notice_stops_the_run_and_leaves_a_minute_to_save(self):
        stop, told = self.look(life=["spot"], action=[Absent(), Absent(), self.notice(120)])
        self.assertEqual((stop["reason"], stop["gracePeriod"]), ("interruption", 30))
        self.assertEqual(told["action"], "terminate")
        self.assertAlmostEqual(told["at"] / 1000.0, time.time() + 120, delta=2)
        self.assertEqual(self.slept, [2.0, 2.0])

    def test_the_grace_period_depends_on_the_time_that_the_notice_leaves(self):
        for left, grace in ((120, 60), (90, 30), (60, 20), (30, 10), (-5, 0)):
            self.assertEqual(spot_notice.allowed(600, left), grace)
        self.assertEqual(spot_notice.allowed(5, 120), 5)

    def test_an_earlier_cancel_is_not_replaced_by_a_notice(self):
        atomic_files.write_json(
            os.path.join(self.home, "stop.json"), {"reason": "cancelled", "gracePeriod": 1}
        )
        stop, told = self.look(life=["spot"], action=[self.notice(120)])
        self.assertEqual(stop["reason"], "cancelled")
        self.assertIsNotNone(told)

    def test_an_unreadable_notice_counts_as_a_notice(self):
        stop, _ = self.look(life=["spot"], action=["?"])
        self.assertEqual(stop["reason"], "interruption")

    def test_an_on_demand_instance_is_not_asked_again(self):
        self.assertEqual(self.look(life=["on-demand"], action=[]), (None, None))

    def test_a_metadata_service_that_does_not_answer_is_asked_less_and_less_often(self):
        off = Failure("NO_METADATA", "off", status=0)
        stop, _ = self.look(life=[off] * 6 + ["spot"], action=[off, self.notice(120)])
        self.assertEqual(stop["reason"], "interruption")
        self.assertEqual(self.slept, [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 2.0])


if __name__ == "__main__":
    unittest.main()
