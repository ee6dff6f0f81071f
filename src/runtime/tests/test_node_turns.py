"""The order in which the nodes of a run take the resources that it reserves."""

import fcntl
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nodes import Nodes

from nx_ec2_runtime import main
from nx_ec2_runtime.run.resource_queue import ResourceQueue

EXCLUSIVE = {"exclusive": True, "gpus": 0}


class NodeTurnsTest(Nodes):
    def hold(self, rank):
        """Has another run on a node that has all of it. Returns what ends that run."""
        root, run = os.path.join(self.top, "node-%d" % rank), "20260101-000000-p-other"
        os.makedirs(os.path.join(root, "runs", run))
        lock = open(os.path.join(root, "runs", run, "lock"), "w")
        self.addCleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ResourceQueue(root, 0) as queue:
            queue.join(run, EXCLUSIVE)
        with ResourceQueue(root, 0) as queue:
            queue.take(run)
        # Supervisors that are forked from here have the descriptor, too.
        return lambda: fcntl.flock(lock, fcntl.LOCK_UN)

    def waiting(self, rank):
        """The runs that are in the queue of a node."""
        with ResourceQueue(os.path.join(self.top, "node-%d" % rank), 0) as queue:
            return [ticket.run for ticket in queue.tickets]

    def states(self, count):
        return [(self.stored(rank) or {}).get("state") for rank in range(count)]

    def test_a_node_takes_its_turn_after_the_node_before_it(self):
        free = self.hold(1)
        self.start_all(4, "each('started', 4)", resources=EXCLUSIVE)
        self.wait(lambda: self.states(4) == ["setup", "queued", "queued", "queued"])
        self.wait(lambda: self.run_id in self.waiting(1))
        # The first node has its turn for long: whoever waits for it alone would be in a queue.
        self.wait(lambda: self.phase(0) == "ready")
        self.assertEqual([[], []], [self.waiting(2), self.waiting(3)])
        free()
        self.assertEqual(["succeeded"] * 4, self.outcomes(self.ends(4)), self.told())

    def test_a_cancel_ends_nodes_that_wait(self):
        self.hold(1)
        self.start_all(3, "", resources=EXCLUSIVE)
        self.wait(lambda: self.run_id in self.waiting(1))
        cancel = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": 5}
        main.run(cancel, os.path.join(self.top, "node-0"))
        states = self.ends(3)
        self.assertEqual(["cancelled"] * 3, self.outcomes(states), self.told())
        self.assertEqual([None] * 3, [state["startedAt"] for state in states])


if __name__ == "__main__":
    unittest.main()
