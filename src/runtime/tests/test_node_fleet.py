"""What the instances of fleets do that keep the nodes of one run."""

import os
import sys
import types
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_fleet import BOOT, RUN, FleetWorld, Stored, stop

from nx_ec2_runtime.fleet import decision, node_decision, node_fleet, open_fleet, own_fleet
from nx_ec2_runtime.fleet.node_decision import Node, other_node_step
from nx_ec2_runtime.report import node_start
from nx_ec2_runtime.report.signed_record import SigningKey
from nx_ec2_runtime.system.errors import Failure

NODES = dict(BOOT, run=dict(BOOT["run"], node={"rank": 0, "count": 3}))
NODES["run"]["node"]["timeouts"] = {"start": 0.05, "replacement": 0.05}


def record(attempt, outcome=None, *, reason=None, state="running", **more):
    return dict(
        {
            "state": "ended" if outcome else state,
            "outcome": outcome,
            "stop": reason and {"reason": reason, "at": 1},
            "attempt": attempt,
            "attempts": [],
            "checkpoints": [],
            "instance": "i-other",
            "heartbeat": 1,
            "failure": None,
            "failedNode": None,
        },
        **more,
    )


class DecisionTest(unittest.TestCase):
    def test_another_node_joins_the_attempts_of_the_first_one(self):
        runs = Node(record(2), 3.0)
        silent = Node(record(2), 70.0)
        interrupted = Node(record(1, "interrupted", reason="interruption"), 200.0)
        absent = Node(None, None)
        failed = Node(record(1, "setup-failed"), 5.0)
        lost = [{"n": n, "exitCode": None, "stopped": False} for n in (1, 2, 3, 4)]
        crashed = Node(record(4, "lost", attempts=lost), 200.0)
        for first, own, step in (
            (absent, absent, decision.START),
            (runs, absent, decision.START),
            (runs, interrupted, decision.RESUME),
            (runs, Node(record(1), 70.0), decision.RESUME),
            (runs, Node(record(1), 3.0), decision.WAIT),
            (runs, Node(record(2, "interrupted", reason="interruption"), 3.0), decision.WAIT),
            (silent, interrupted, node_decision.WAIT_FOR_FIRST),
            (interrupted, interrupted, node_decision.WAIT_FOR_FIRST),
            (interrupted, absent, node_decision.WAIT_FOR_FIRST),
            (absent, interrupted, node_decision.WAIT_FOR_FIRST),
            (absent, failed, node_decision.PASS_ON),
            (runs, failed, decision.RESUME),
            (Node(record(5), 3.0), crashed, decision.FAIL),
            (Node(record(5, checkpoints=[{"attempt": 4}]), 3.0), crashed, decision.RESUME),
            (Node(record(2, "succeeded"), 3.0), interrupted, decision.FINISH),
            (Node(record(2, "interrupted", reason="deadline"), 3.0), absent, decision.FINISH),
            # One that can't be verified is written over by who has the run.
            (Node(None, 3.0), absent, decision.WAIT),
            (Node(None, 70.0), absent, decision.START),
        ):
            with self.subTest(first=vars(first), own=vars(own)):
                self.assertEqual(
                    other_node_step(first, own, interrupted=False, stopped=False), step
                )

    def test_an_instance_that_is_taken_back_starts_nothing(self):
        for first in (Node(None, None), Node(record(2), 3.0), Node(record(2), 70.0)):
            for own in (Node(None, None), Node(record(1), 3.0), Node(record(1), 70.0)):
                step = other_node_step(first, own, interrupted=True, stopped=True)
                self.assertEqual(step, decision.HAND_OVER)

    def test_a_cancel_is_carried_out_where_the_first_node_is_not_there(self):
        for first, step in (
            (Node(record(2), 3.0), decision.START),
            (Node(record(2), 70.0), decision.CANCEL),
            (Node(None, None), decision.CANCEL),
        ):
            own = Node(None, None)
            self.assertEqual(other_node_step(first, own, interrupted=False, stopped=True), step)


class NodeWorld(FleetWorld):
    """Three nodes, each with a fleet, of which one instance is looked at."""

    def setUp(self):
        super().setUp()
        self.rank, self.deleted = 1, []
        world = self.world
        world.node_of = lambda fleet: str(self.rank)
        world.fleets_of = lambda run: {"fleet-%d" % n: str(n) for n in range(3)}
        world.own_fleet = lambda instance, run: "fleet-%d" % self.rank
        world.delete_fleet = lambda fleet, terminate: self.deleted.append((fleet, terminate))

        class Below:
            """The bucket below a prefix."""

            def __init__(self, access, kind):
                self.prefix = access["prefix"].partition("run/%s/" % RUN)[2]

            def read(self, name, limit=None, cut=False):
                return world.read(self.prefix + name)

            def get(self, name, limit=None):
                return world.get(self.prefix + name)

            def holds(self, prefix):
                return world.holds(self.prefix + prefix)

            def put(self, name, data, **more):
                world.put(self.prefix + name, data, **more)

        for module, name, value in (
            (node_fleet, "Bucket", Below),
            (node_fleet, "FIRST_POLL_S", 0.01),
            (open_fleet, "Ec2", lambda *_: world),
            (open_fleet, "Metadata", lambda: self),
        ):
            patch = mock.patch.object(module, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        patch = mock.patch("nx_ec2_runtime.fleet.fleet_run.Bucket", Below)
        patch.start()
        self.addCleanup(patch.stop)
        self.key = SigningKey({"signingKey": BOOT["run"]["signingKey"], "id": RUN})

    def store(self, rank, found, age=0.0):
        name = "node/%d/record.json" % rank if rank else "record.json"
        self.world.objects[name] = Stored(self.key.of_node(rank).sign(found), age)

    def opened(self):
        config = {"finish": {"success": 0, "failure": 0}}
        return open_fleet.open_fleet(NODES, config, self.root, log=self.said.append)

    def run_record(self):
        return self.key.verified(self.world.objects["record.json"].data)


class NodeFleetTest(NodeWorld):
    def test_is_the_node_that_its_fleet_says(self):
        self.rank = 2
        spec = self.opened().boot["run"]
        self.assertEqual((spec["node"]["rank"], spec["rerun"]), (2, True))
        self.assertTrue(spec["store"]["prefix"].endswith("run/%s/node/2/" % RUN))
        self.assertEqual(NODES["run"]["node"]["rank"], 0)
        for told in ("3", "-1", "01", "x", None):
            self.world.node_of = lambda fleet, told=told: told
            self.assertRaises(Failure, self.opened)

    def test_ends_the_run_where_no_instance_comes_for_the_first_node(self):
        run = record(1, "interrupted", reason="interruption", metadata={}, log={})
        self.store(0, run, age=300.0)
        self.store(1, dict(run), age=300.0)
        self.store(2, dict(run), age=10.0)
        self.opened().run_to_completion()
        ended = self.run_record()
        self.assertEqual(
            (ended["outcome"], ended["stop"]["reason"], ended["failure"]["code"]),
            ("interrupted", "not-replaced", "NODES_MISSING"),
        )
        self.assertEqual((ended["failedNode"]["rank"], ended["failedNode"]["why"]), (0, "missing"))
        self.assertFalse(self.world.template)
        # That of node 2 is its own to delete: an instance was heard of.
        self.assertEqual(self.deleted, [("fleet-0", True), ("fleet-1", True)])

    def test_waits_for_a_first_node_as_long_as_it_shows_that_it_gets_its_files(self):
        run = record(1, "interrupted", reason="interruption", metadata={}, log={})
        self.store(0, run, age=300.0)
        self.store(1, dict(run), age=300.0)
        fleet, read, asked = self.opened(), self.world.read, []

        def signing(name, *more, **named):
            if name == "starting.json":
                asked.append(name)
                sign = node_start.sign(fleet.run_record.key, min(len(asked), 30))
                self.world.objects[name] = Stored(sign)
            return read(name, *more, **named)

        self.world.read = signing
        fleet.run_to_completion()
        # The last sign is there still, and is none that it is being started.
        self.assertGreater(len(asked), 30)
        self.assertEqual(self.run_record()["failure"]["code"], "NODES_MISSING")

    def test_ends_a_run_that_never_began_as_it_has_ended_itself(self):
        missing = {"code": "NODES_MISSING", "message": "m", "exitCode": None}
        node = {"rank": 0, "instance": None, "exitCode": None, "signal": None, "why": "missing"}
        self.store(1, record(1, "setup-failed", failure=missing, failedNode=node))
        self.opened().run_to_completion()
        ended = self.run_record()
        self.assertEqual((ended["outcome"], ended["failure"]), ("setup-failed", missing))
        self.assertEqual(ended["node"]["rank"], 0)
        self.assertEqual(self.deleted, [("fleet-0", True), ("fleet-2", True), ("fleet-1", True)])

    def test_shuts_down_alone_while_the_first_node_is_active(self):
        self.store(0, record(1), age=5.0)
        self.opened().close()
        self.assertEqual(self.deleted, [("fleet-1", True)])
        self.assertTrue(self.world.template)

    def test_a_cancelled_run_is_ended_without_the_first_node(self):
        self.world.objects["stop"] = types.SimpleNamespace(data=stop(), refused=None)
        self.store(0, record(1), age=100.0)
        self.opened().run_to_completion()
        self.assertEqual(self.run_record()["outcome"], "cancelled")

    def test_a_run_that_is_cancelled_before_it_has_begun_leaves_no_fleet(self):
        self.world.objects["stop"] = types.SimpleNamespace(data=stop(), refused=None)
        self.opened().run_to_completion()
        self.assertEqual(self.run_record()["outcome"], "cancelled")
        self.assertFalse(self.world.template)
        self.assertEqual(self.deleted, [("fleet-2", True), ("fleet-1", True)])

    def test_the_fleets_of_nodes_are_deleted_by_what_ec2_says_of_their_tags(self):
        fleet = own_fleet.OwnFleet(NODES, self.world, "i-own", log=self.said.append)
        fleet.delete_of_nodes([0, 2], False)
        fleet.delete_of_nodes([], True)
        self.assertEqual(self.deleted, [("fleet-0", False), ("fleet-2", False)])


if __name__ == "__main__":
    unittest.main()
