"""A run that waits on one instance moves to another one: it trains once, on one of both, whatever is
killed or late, and whoever cancels it.
"""

import os
import signal
import sys
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from directory_store import Store
from runs import OURS, unsigned
from test_resume import Resuming

from nx_ec2_runtime import main
from nx_ec2_runtime.run_dir import turn_hold
from nx_ec2_runtime.system import boot_clock

EXCLUSIVE = {"exclusive": True, "gpus": 0}
HOLDER = """
import os, time
while not os.path.exists(%r):
    time.sleep(0.02)
"""
# Notes where it trains.
TRAINING = """
import os
with open(%r, "a") as file:
    file.write("%%s %%s\\n" %% (os.environ["NX_EC2_ATTEMPT"], os.getcwd().split("/runs/")[0]))
"""


class MovingRun(Resuming):
    def setUp(self):
        super().setUp()
        self.gate, self.notes = (os.path.join(self.root, name) for name in ("gate", "notes"))

    def tearDown(self):
        # Before the directories are removed, which the processes of both instances write to.
        self.open_gate()
        for name in ("i-1", "i-2"):
            if self.first and os.path.isdir(os.path.join(self.first, name, "runs")):
                self.on(name)
                for run in os.listdir(os.path.join(self.root, "runs")):
                    # A command that was killed may have left less.
                    if os.path.exists(os.path.join(self.root, "runs", run, "run.json")):
                        self.end(run)
        super().tearDown()

    def hold_for(self, seconds):
        patch = mock.patch.object(turn_hold, "HOLD_S", seconds)
        patch.start()
        self.addCleanup(patch.stop)

    def wait_on_first(self):
        """Starts a run on i-1 that waits there for another one, until the gate is opened."""
        self.at("i-1")
        self.on("i-1")
        self.addCleanup(os.environ.pop, "NX_EC2_LOCAL_INSTANCE", None)
        holder = self.start(HOLDER % self.gate, resources=EXCLUSIVE)
        self.holder = holder["id"]
        self.addCleanup(self.open_gate)
        self.begin(leave=0, text=TRAINING % self.notes, resources=EXCLUSIVE)
        return self.until_told(lambda record: record["state"] == "queued")

    def open_gate(self):
        if os.path.isdir(os.path.dirname(self.gate)):
            open(self.gate, "w").close()

    def on(self, name):
        # Both are on this machine, and must not end each other's processes.
        os.environ.update(AWS_SSM_INSTANCE_ID=name, NX_EC2_LOCAL_INSTANCE=name)
        self.root = os.path.join(self.first, name)
        os.makedirs(self.root, exist_ok=True)

    def ask(self, op, **more):
        reply = main.run({"v": 1, "op": op, "run": self.run_id, **more}, self.root)
        self.assertTrue(reply["ok"], reply)
        return reply

    def hold(self, attempt=1):
        return self.ask("hold", attempt=attempt)["held"]

    def waiting(self, held):
        said = {"instance": "i-1", "attempt": 1, "heartbeat": held}
        return {"attempt": 2, "heartbeat": held, "waiting": said}

    def move(self, held, ok=True):
        """Starts it on i-2."""
        self.on("i-2")
        return self.begin(
            leave=0,
            text=TRAINING % self.notes,
            resources=EXCLUSIVE,
            nextAttempt=self.waiting(held),
            ok=ok,
        )

    def trained(self):
        """The attempts that trained, with their instances."""
        if not os.path.exists(self.notes):
            return []
        with open(self.notes) as file:
            words = [line.split() for line in file]
        return [(int(attempt), os.path.basename(root)) for attempt, root in words]

    def until_ended_on(self, name):
        self.on(name)
        return self.end(self.run_id)[0]

    def until_final(self):
        return self.until_told(
            lambda record: record["state"] == "ended" and record["outcome"] is not None
        )


class MovingRunTest(MovingRun):
    def test_a_run_that_waits_trains_on_the_instance_that_takes_it_over(self):
        before = self.wait_on_first()
        held = self.hold()
        self.assertIsNotNone(held)
        # What it waited for ends: it does not get its turn.
        self.open_gate()
        self.end(self.holder)
        self.move(held)
        record = self.until_final()
        self.assertEqual(
            (record["outcome"], record["attempt"], record["instance"], record["createdAt"]),
            ("succeeded", 2, "i-2", before["createdAt"]),
        )
        why = [each["why"] for each in record["attempts"]]
        self.assertEqual(why, ["the run waited on i-1, and moved", None])
        left = self.until_ended_on("i-1")
        self.assertEqual((left["outcome"], left["stop"]["reason"]), ("interrupted", "superseded"))
        self.assertEqual(self.trained(), [(2, "i-2")])

    def test_it_gets_its_turn_where_it_waits_if_nobody_takes_it_over(self):
        self.hold_for(1)
        self.wait_on_first()
        held = self.hold()
        self.open_gate()
        record = self.until_final()
        self.assertEqual((record["outcome"], record["attempt"]), ("succeeded", 1))
        reply = self.move(held, ok=False)
        self.assertEqual(reply["error"]["code"], "NOT_RESUMABLE")
        self.assertEqual(self.trained(), [(1, "i-1")])

    def test_it_is_not_taken_over_after_its_hold_has_ended(self):
        self.hold_for(0.5)
        self.wait_on_first()
        held = self.hold()
        self.until_told(lambda record: record["heartbeat"] > held)
        reply = self.move(held, ok=False)
        self.assertEqual(reply["error"]["code"], "RUN_ACTIVE", reply)
        # Nor by a client that knows the newest record, of a run that is not held.
        reply = self.move(self.record()["heartbeat"] + 1, ok=False)
        self.assertEqual(reply["error"]["code"], "RECORD_UNVERIFIED", reply)
        self.assertEqual(self.trained(), [])
        self.open_gate()
        self.assertEqual(self.until_final()["outcome"], "succeeded")
        self.assertEqual(self.trained(), [(1, "i-1")])

    def test_only_a_run_that_waits_is_held_and_by_one_client(self):
        self.wait_on_first()
        self.assertIsNone(self.hold(attempt=2))
        self.assertIsNotNone(self.hold())
        self.assertIsNone(self.hold())
        self.ask("cancel", gracePeriod=1)
        self.assertEqual(self.until_final()["outcome"], "cancelled")
        self.assertIsNone(self.hold())
        active = self.ask_of(self.holder)
        self.assertIsNone(active)

    def ask_of(self, run):
        reply = main.run({"v": 1, "op": "hold", "run": run, "attempt": 1}, self.root)
        self.assertTrue(reply["ok"], reply)
        return reply["held"]

    def test_a_run_that_is_cancelled_while_it_is_held_is_not_taken_over(self):
        self.wait_on_first()
        held = self.hold()
        started = time.monotonic()
        self.ask("cancel", gracePeriod=1)
        # The hold has ended, so that it is known what the run is.
        self.assertFalse(turn_hold.is_held(self.home()))
        self.assertLess(time.monotonic() - started, turn_hold.HOLD_S)
        reply = self.move(held, ok=False)
        # Its results may still be saved.
        self.assertIn(reply["error"]["code"], ("NOT_RESUMABLE", "RUN_ACTIVE"), reply)
        self.on("i-1")
        self.assertEqual(self.until_final()["outcome"], "cancelled")
        self.assertEqual(self.trained(), [])

    def test_the_store_says_that_it_has_moved_when_a_cancellation_where_it_waited_is_answered(self):
        self.wait_on_first()
        self.move(self.hold())
        self.until_told(lambda record: record["instance"] == "i-2")
        self.on("i-1")
        self.ask("cancel", gracePeriod=1)
        self.assertEqual((self.record()["instance"], self.record()["attempt"]), ("i-2", 2))
        self.assertEqual(self.until_final()["outcome"], "succeeded")

    def test_a_run_without_the_role_is_not_held(self):
        self.store.way = "presigned"
        self.wait_on_first()
        self.assertIsNone(self.hold())
        self.open_gate()
        self.assertEqual(self.until_final()["outcome"], "succeeded")
        self.assertEqual(self.trained(), [(1, "i-1")])

    def test_it_trains_once_if_it_is_taken_over_while_its_hold_ends(self):
        """One that is taken over from the last record of the hold, and writes its own later."""
        self.hold_for(1.5)
        self.wait_on_first()
        held = self.hold()
        self.open_gate()
        self.end(self.holder)
        put, until = Store.put, turn_hold.until(self.home())

        def late(store, name, data, **more):
            is_claim = name == "record.json" and unsigned(data)["instance"] == "i-2"
            while is_claim and boot_clock.clock() < until + 1:
                time.sleep(0.02)
            return put(store, name, data, **more)

        with mock.patch.object(Store, "put", late):
            self.move(held)
        record = self.until_final()
        self.assertEqual((record["outcome"], record["instance"]), ("succeeded", "i-1"))
        left = self.until_ended_on("i-2")
        self.assertEqual((left["outcome"], left["stop"]["reason"]), ("interrupted", "superseded"))
        self.assertEqual(self.trained(), [(1, "i-1")])


class KilledMoves(MovingRun):
    """It trains once, whichever process is killed at whichever request to the store."""

    life = 0

    @property
    def run_id(self):
        # What an earlier life has left on this machine is another run's.
        return "20260101-0000%02d-p-%sz" % (self.life, OURS)

    def killed_at(self, instance, number):
        """Has one process of an instance killed at that request of its own: by turns before the
        request and after it.
        """
        armed = os.path.join(self.root, "armed")
        counts = {}

        def mortal(method):
            def call(*args, **options):
                is_its = os.environ["AWS_SSM_INSTANCE_ID"] == instance and os.path.exists(armed)
                counts[os.getpid()] = counts.get(os.getpid(), 0) + is_its
                if not is_its or counts[os.getpid()] != number:
                    return method(*args, **options)
                if number % 2:
                    method(*args, **options)
                os.unlink(armed)
                os.kill(os.getpid(), signal.SIGKILL)

            return call

        for name in ("put", "read", "list"):
            patch = mock.patch.object(Store, name, mortal(getattr(Store, name)))
            patch.start()
            self.addCleanup(patch.stop)
        return armed

    def move_in_child(self, held):
        """As `move`, by a process that may be killed; whether it was not."""
        child = os.fork()
        if not child:
            try:
                self.move(held, ok=False)
            finally:
                os._exit(0)
        return os.waitpid(child, 0)[1] == 0

    def one_life(self, instance, number):
        """Returns whether a process was killed."""
        self.life += 1
        self.hold_for(1)
        armed = self.killed_at(instance, number)
        self.wait_on_first()
        open(armed, "w").close()
        held = self.hold()
        self.open_gate()
        if held is not None and not self.move_in_child(held):
            # The client tries again.
            self.move_in_child(held)
        record = self.until_told(self.is_final)
        self.assertEqual(record["outcome"], "succeeded", (record, self.log()))
        self.assertEqual(self.trained(), [(record["attempt"], record["instance"])])
        return not os.path.exists(armed)

    def is_final(self, record):
        if record["state"] == "ended":
            return True
        # A command has a reporter started again that was killed after the end of the run.
        for name in ("i-1", "i-2"):
            self.on(name)
            if os.path.exists(os.path.join(self.home(), "run.json")):
                self.ask("renew", store=None)
        return False

    def lives(self, instance, numbers):
        killed = 0
        for number in numbers:
            with self.subTest(number=number):
                killed += self.one_life(instance, number)
            self.doCleanups()
            self.tearDown()
            self.setUp()
        self.assertGreater(killed, 1)

    def test_on_the_instance_where_it_waits(self):
        self.lives("i-1", range(1, 6))

    def test_on_the_instance_that_takes_it_over(self):
        self.lives("i-2", range(1, 10))


if __name__ == "__main__":
    unittest.main()
