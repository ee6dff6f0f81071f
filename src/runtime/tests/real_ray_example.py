"""examples/digits-ray with real Ray Tune: what a search keeps when it is stopped, loses a node or a
worker, or gets another node.
"""

import os
import re
import shutil
import signal
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from real_ray_nodes import GRACE_S, RayNodes

from nx_ec2_runtime import main
from nx_ec2_runtime.system import processes
from nx_ec2_runtime.system.leader import arguments

TRIALS = 12
SHOWN = re.compile(r"^trial (\S+) on node (\d)  accuracy 0\.\d+$", re.MULTILINE)
# Trials that take long enough for one to be interrupted, and those after it.
LONG, SHORT = ["--epochs", "40"], ["--epochs", "1"]


class ExampleNodes(RayNodes):
    def script(self):
        root = os.path.abspath(__file__)
        for _ in range(4):
            root = os.path.dirname(root)
        example = os.path.join(root, "examples", "digits-ray", "search.py")
        # Ray imports from the current directory first, which has a train.py of its own here.
        return (
            "example = %r\n"
            "os.chdir(os.path.dirname(example))\n"
            "os.execv(sys.executable, [sys.executable, example, *sys.argv[1:]])" % example
        )

    def search(self, count, args):
        self.start_all(count, self.script(), args=args, **self.given())

    def until(self, holds):
        """Waits until that holds of a run that has not ended."""
        self.wait(lambda: holds() or self.state(0)["outcome"])
        self.assertIsNone(self.state(0)["outcome"], self.told())

    def shown(self):
        """{rate: node} of the trials that have ended, by the log of node 0, which has those of all
        attempts, each once.
        """
        found = SHOWN.findall(self.log(0))
        self.assertEqual(len(found), len(dict(found)), self.told())
        return dict(found)

    def stop(self, **more):
        self.on(0)
        plan = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": GRACE_S, **more}
        self.assertTrue(main.run(plan, os.path.join(self.top, "node-0"))["ok"])

    def continues(self, count):
        """The second attempt, on other instances: it trains what the first has not, and all ends
        well.
        """
        before = self.shown()
        self.assertIn("search", [each["unit"] for each in self.stored(0)["checkpoints"]])
        self.top = os.path.join(self.root, "later")
        heartbeats = [(self.stored(rank) or {}).get("heartbeat", 0) for rank in range(count)]
        # The client waits until the lease of a node that is lost is over.
        with mock.patch("nx_ec2_runtime.run.take_over.LEASE_S", 1):
            for rank in range(count):
                following = {"attempt": 2, "heartbeat": heartbeats[rank]}
                given = dict(self.given(), args=SHORT, nextAttempt=following)
                self.at(rank, count, self.script(), **given)
        self.wait(
            lambda: all(
                (self.stored(rank) or {}).get("attempt") == 2
                and self.stored(rank)["state"] == "ended"
                for rank in range(count)
            )
        )
        states = [self.state(rank) for rank in range(count)]
        self.assertEqual(["succeeded"] * count, self.outcomes(states), self.told())
        after = self.shown()
        self.assertEqual(TRIALS, len(after), self.told())
        self.assertLess(0, len(before))
        self.assertEqual(before, {rate: after[rate] for rate in before})
        self.assert_finds_the_best()
        self.assert_nothing_left()

    def assert_finds_the_best(self):
        self.assertRegex(self.log(0), r"best: learning rate \S+  accuracy 0\.9")


class Example(ExampleNodes):
    def test_it_finds_the_best_rate(self):
        self.search(2, SHORT)
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        self.assertEqual(TRIALS, len(self.shown()), self.told())
        self.assert_finds_the_best()
        self.assert_nothing_left()

    def test_it_saves_what_is_done_when_it_is_stopped(self):
        self.search(2, LONG)
        self.until(self.shown)
        self.stop()
        states = self.ends(2)
        self.assertEqual(["cancelled"] * 2, self.outcomes(states), self.told())
        self.assertIn("stopped after %d of 12 trials" % len(self.shown()), self.log(0))
        self.assertEqual((0, False), (states[0]["exitCode"], states[0]["attempts"][0]["cut"]))
        self.assertEqual("search", self.stored(0)["checkpoints"][-1]["unit"])
        self.assert_nothing_left()

    def test_a_worker_that_is_killed_on_another_node_costs_its_trial_alone(self):
        self.search(2, ["--epochs", "4"])
        mark = "NX_EC2_LOCAL_INSTANCE=" + self.instance(1)

        def trials():
            return [pid for pid in self.of_run(mark) if "ray::ImplicitFunc" in arguments(pid)[0]]

        self.until(trials)
        for pid in trials():
            processes.send(pid, signal.SIGKILL)
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        self.assertIn("Trial task failed", self.log(0))
        self.assertEqual(TRIALS, len(self.shown()), self.told())
        self.assertEqual(1, states[0]["attempt"])
        self.assert_nothing_left()


class NextAttempt(ExampleNodes):
    def lose(self, rank):
        self.search(2, LONG)
        self.until(lambda: self.shown() and (self.stored(0) or {}).get("checkpoints"))
        self.kill_node(rank)
        (state,) = self.ends(2, [1 - rank])
        self.assertEqual("interrupted", state["outcome"], self.told())
        self.assertEqual((rank, "lost"), (state["failedNode"]["rank"], state["failedNode"]["why"]))
        self.assertEqual([], self.of_run())
        # Ray's directory of the node that is lost was on its disk.
        (left,) = os.listdir(self.temporary)
        shutil.rmtree(os.path.join(self.temporary, left))

    def test_after_another_node_is_lost_the_trials_that_have_ended_are_not_repeated(self):
        self.lose(1)
        self.continues(2)

    def test_a_search_on_one_node_continues_on_two(self):
        self.search(1, LONG)
        self.until(self.shown)
        joins = {"node": {"joins": True}, "nextAttempt": {"attempt": 1, "heartbeat": 0}}
        self.at(1, 2, self.script(), **dict(self.given(), args=LONG, **joins))
        (joined,) = self.ends(2, [1])
        self.assertEqual("growth", joined["stop"]["reason"])
        self.assertIsNone(self.state(0)["outcome"], self.told())
        self.stop(attempt=1)
        (state,) = self.ends(1)
        self.assertEqual(("interrupted", "growth"), (state["outcome"], state["stop"]["reason"]))
        self.assertEqual({"0"}, set(self.shown().values()))
        self.continues(2)
        self.assertIn("Ray has 2 nodes", self.log(0))


if __name__ == "__main__":
    unittest.main()
