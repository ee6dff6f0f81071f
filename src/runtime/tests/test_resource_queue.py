"""The queue for an instance: runs get their turn in order, whichever of them are killed."""

import fcntl
import os
import random
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from runs import Trainings

from nx_ec2_runtime import main
from nx_ec2_runtime.run.resource_queue import ResourceQueue

EXCLUSIVE = {"exclusive": True, "gpus": 0}
HOLD = "import os, time\nopen(%r, 'a').write('+%%s\\n' %% os.environ['NX_EC2_RUN_ID'])\ntime.sleep(%s)\nopen(%r, 'a').write('-%%s\\n' %% os.environ['NX_EC2_RUN_ID'])\n"


class ResourceQueueTest(Trainings):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.root, "turns")
        # An instance with four GPUs, as far as nvidia-smi says.
        tools = os.path.join(self.root, "tools")
        os.makedirs(tools)
        with open(os.path.join(tools, "nvidia-smi"), "w") as file:
            file.write("#!/bin/sh\nprintf '0\\n1\\n2\\n3\\n'\n")
        os.chmod(os.path.join(tools, "nvidia-smi"), 0o755)
        self.before = os.environ["PATH"]
        os.environ["PATH"] = tools + os.pathsep + self.before

    def tearDown(self):
        os.environ["PATH"] = self.before
        super().tearDown()

    def hold(self, seconds, **more):
        return self.start(HOLD % (self.path, seconds, self.path), **more)

    def turns(self):
        with open(self.path) as file:
            return [(line[0], line[1:].strip()) for line in file]

    def test_ten_exclusive_runs_run_one_after_another_whichever_are_killed(self):
        gate = os.path.join(self.root, "gate")
        # The first one stays until all others wait.
        first = (HOLD % (self.path, 0, self.path)).replace(
            "time.sleep(0)", "while not os.path.exists(%r): time.sleep(0.02)" % gate
        )
        runs = [self.start(first, resources=EXCLUSIVE)] + [
            self.hold(0.2, resources=EXCLUSIVE) for _ in range(9)
        ]
        self.assertEqual([run["state"] for run in runs[1:]], ["queued"] * 9)
        self.assertEqual(
            runs[3]["queue"], {"before": 3, "holders": [run["id"] for run in runs[:3]]}
        )
        killed = random.sample(range(1, 10), 3)
        for number in killed:
            os.kill(runs[number]["supervisor"], signal.SIGKILL)
        open(gate, "w").close()
        for number, run in enumerate(runs):
            state, _ = self.end(run["id"])
            self.assertEqual(state["outcome"], "lost" if number in killed else "succeeded", number)
        right = [run["id"] for number, run in enumerate(runs) if number not in killed]
        self.assertEqual(self.turns(), [(sign, run) for run in right for sign in "+-"])

    def test_a_run_that_waited_on_another_instance_comes_before_those_started_later(self):
        names = ["20260101-00000%d-p-abcdef" % n for n in range(4)]
        locks = []
        for name in names:
            os.makedirs(os.path.join(self.root, "runs", name), exist_ok=True)
            path = os.path.join(self.root, "runs", name, "lock")
            locks.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            fcntl.flock(locks[-1], fcntl.LOCK_EX)
            self.addCleanup(os.close, locks[-1])
        holder, late, moved, urgent = names
        with ResourceQueue(self.root, 0) as queue:
            queue.join(holder, EXCLUSIVE, since=500)
        with ResourceQueue(self.root, 0) as queue:
            self.assertEqual(queue.take(holder), [])
            queue.join(late, EXCLUSIVE, since=600)
        with ResourceQueue(self.root, 0) as queue:
            # Started before the one that has its turn, which keeps it.
            queue.join(moved, EXCLUSIVE, since=400)
        with ResourceQueue(self.root, 0) as queue:
            queue.join(urgent, EXCLUSIVE, priority=1, since=700)
        with ResourceQueue(self.root, 0) as queue:
            before = {name: queue.place(name)["before"] for name in names[1:]}
            self.assertEqual(before, {urgent: 1, moved: 2, late: 3})
            self.assertEqual([queue.take(name) for name in names], [[], None, None, None])

    def test_waiting_runs_get_their_turn_by_priority_and_then_as_they_came(self):
        gate = os.path.join(self.root, "gate")
        first = (HOLD % (self.path, 0, self.path)).replace(
            "time.sleep(0)", "while not os.path.exists(%r): time.sleep(0.02)" % gate
        )
        # The lowest one has its turn before the others come, and keeps it.
        priorities = [-100, 0, 5, -3, 5, 0]
        runs = [
            self.start(first, resources=EXCLUSIVE, priority=each)
            if n == 0
            else self.hold(0, resources=EXCLUSIVE, priority=each)
            for n, each in enumerate(priorities)
        ]
        ids = [run["id"] for run in runs]
        highest = self.poll(ids[4])[0]["queue"]
        self.assertEqual(highest, {"before": 2, "holders": [ids[0], ids[2]]})
        asked = {"v": 1, "op": "activity", "watchdog": False, "queue": True}
        told = main.run(asked, self.root)["queue"]
        self.assertEqual(told["gpus"], 4)
        self.assertEqual(
            [(each["run"], each["priority"], each["granted"]) for each in told["tickets"]],
            [(run, priorities[n], n == 0) for n, run in enumerate(ids)],
        )
        open(gate, "w").close()
        for run in ids:
            self.assertEqual(self.end(run)[0]["outcome"], "succeeded")
        right = [ids[n] for n in (0, 2, 4, 1, 5, 3)]
        self.assertEqual(self.turns(), [(sign, run) for run in right for sign in "+-"])

    def test_a_big_claim_of_a_priority_is_not_overtaken_by_small_ones_of_the_same(self):
        gate = os.path.join(self.root, "gate")
        first = (HOLD % (self.path, 0, self.path)).replace(
            "time.sleep(0)", "while not os.path.exists(%r): time.sleep(0.02)" % gate
        )
        one, all_gpus = {"exclusive": False, "gpus": 1}, {"exclusive": False, "gpus": 4}
        running = self.start(first, resources=one)
        big = self.hold(0, resources=all_gpus)
        small = self.hold(0, resources=one)
        # GPUs are free, and it waits behind the big one.
        self.assertEqual(small["queue"], {"before": 2, "holders": [running["id"], big["id"]]})
        urgent = self.hold(0, resources=one, priority=1)
        self.assertEqual(self.end(urgent["id"])[0]["outcome"], "succeeded")
        open(gate, "w").close()
        self.end(small["id"])
        turns = [run for sign, run in self.turns() if sign == "+"]
        self.assertEqual(turns, [each["id"] for each in (running, urgent, big, small)])

    def test_gpus_are_granted_and_released(self):
        first = self.hold(4, resources={"exclusive": False, "gpus": 3})
        second = self.hold(0, resources={"exclusive": False, "gpus": 2})
        third = self.hold(0, resources={"exclusive": False, "gpus": 0})
        self.assertEqual((first["gpus"], second["state"]), ([0, 1, 2], "queued"))
        self.assertEqual(self.end(third["id"])[0]["outcome"], "succeeded")
        state, _ = self.end(second["id"])
        self.assertEqual((state["outcome"], state["gpus"]), ("succeeded", [0, 1]))
        self.assertGreater(state["startedAt"], self.end(first["id"])[0]["startedAt"] + 900)

    def test_a_training_sees_only_the_gpus_that_it_was_granted(self):
        _, log = self.train(
            "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['SM_NUM_GPUS'])",
            resources={"exclusive": False, "gpus": 2},
        )
        self.assertEqual(log, b"0,1 2\n")

    def test_a_request_for_more_gpus_than_the_instance_has_is_refused(self):
        state, _ = self.train("", resources={"exclusive": False, "gpus": 5})
        self.assertEqual(
            (state["outcome"], state["failure"]["code"]), ("setup-failed", "RESOURCES_MISSING")
        )

    def test_a_queued_run_can_be_cancelled(self):
        first, second = self.hold(4, resources=EXCLUSIVE), self.hold(0, resources=EXCLUSIVE)
        main.run({"v": 1, "op": "cancel", "run": second["id"], "gracePeriod": 1}, self.root)
        began = time.monotonic()
        state, _ = self.end(second["id"])
        self.assertEqual(state["outcome"], "cancelled")
        self.assertEqual(self.poll(first["id"])[0]["outcome"], None, time.monotonic() - began)
        self.end(first["id"])


if __name__ == "__main__":
    unittest.main()
