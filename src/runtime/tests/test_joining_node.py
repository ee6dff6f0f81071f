"""A node that is prepared while a run trains without it, and the attempt that has it."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nodes import Nodes

from nx_ec2_runtime import main

TRAIN = """
signal.signal(15, lambda *_: sys.exit(143))
print("node %d of %s, attempt %d" % (rank, os.environ["NX_EC2_NUM_NODES"], attempt), flush=True)
done("trains-%d-%d" % (attempt, rank))
while attempt == 1:
    time.sleep(0.01)
"""


class JoiningNodeTest(Nodes):
    def join(self, rank, count, attempt=1):
        following = {"attempt": attempt, "heartbeat": 0}
        return self.at(rank, count, TRAIN, node={"joins": True}, nextAttempt=following)

    def grow(self, attempt):
        self.on(0)
        plan = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": 20, "attempt": attempt}
        reply = main.run(plan, os.path.join(self.top, "node-0"))
        self.assertTrue(reply["ok"], reply)
        return reply["already"]

    def trains(self, attempt, rank):
        name = os.path.join(self.shared, "trains-%d-%d" % (attempt, rank))
        self.wait(lambda: os.path.exists(name))

    def test_it_ends_when_it_is_ready_and_the_next_attempt_has_it(self):
        self.start_all(2, TRAIN)
        self.trains(1, 0)
        self.join(2, 3)
        (joined,) = self.ends(3, [2])
        self.assertEqual(("interrupted", "growth"), (joined["outcome"], joined["stop"]["reason"]))
        self.assertIn("is ready for the next attempt", self.log(2))
        self.assertIsNone(self.state(0)["outcome"], self.told())
        self.assertTrue(self.grow(2))
        self.assertFalse(self.grow(1))
        states = self.ends(2)
        self.assertEqual(["interrupted"] * 2, self.outcomes(states), self.told())
        self.assertEqual(["growth"] * 2, [state["stop"]["reason"] for state in states])
        self.assertIsNone(states[0]["failedNode"])
        heartbeats = [self.stored(rank)["heartbeat"] for rank in range(3)]
        for rank in range(3):
            following = {"attempt": 2, "heartbeat": heartbeats[rank]}
            self.at(rank, 3, TRAIN, nextAttempt=following)
        self.assertEqual(["succeeded"] * 3, self.outcomes(self.ends(3)), self.told())
        self.assertIn("node 2 of 3, attempt 2", self.log(2))
        (first,) = self.stored(0)["attempts"][:1]
        self.assertEqual(
            ("the next attempt has more nodes", 2, True),
            (first["why"], first["nodes"], first["stopped"]),
        )

    def test_another_takes_its_place_for_the_same_attempt(self):
        self.at(0, 1, TRAIN)
        self.trains(1, 0)
        self.join(1, 2)
        self.ends(2, [1])
        before = self.stored(1)
        os.rename(os.path.join(self.top, "node-1"), os.path.join(self.top, "gone"))
        self.join(1, 2)
        self.wait(lambda: self.stored(1)["heartbeat"] > before["heartbeat"])
        self.ends(2, [1])
        self.assertEqual(1, self.stored(1)["attempt"])

    def test_it_ends_with_the_run(self):
        self.at(0, 1, TRAIN)
        self.trains(1, 0)
        script = "import time; time.sleep(600)"
        setup = [[sys.executable, "-c", script]]
        following = {"attempt": 1, "heartbeat": 0}
        self.at(1, 2, TRAIN, node={"joins": True}, nextAttempt=following, setup=setup)
        self.wait(lambda: self.state(1)["state"] == "setup")
        self.on(0)
        plan = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": 20}
        self.assertTrue(main.run(plan, os.path.join(self.top, "node-0"))["ok"])
        states = self.ends(2)
        self.assertEqual(["cancelled"] * 2, self.outcomes(states), self.told())


if __name__ == "__main__":
    unittest.main()
