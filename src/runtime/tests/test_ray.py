"""Trainings on a Ray cluster, with a stand-in for Ray: when the driver starts, what ends it and what
it leaves.
"""

import os
import signal
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ray_stand_in
from nodes import SCRIPT, Nodes

from nx_ec2_runtime import main
from nx_ec2_runtime.run import ray_launch
from nx_ec2_runtime.run.node_variables import Nodes as NodeVariables
from nx_ec2_runtime.run_dir import stop_request
from nx_ec2_runtime.system import leader, processes

RAY = {"name": "ray", "processes": 1, "option": None}
GRACE_S = 20
# The driver, and each process of Ray, has it.
DRIVER = """
import ray
ray.init()
names = [name for node in ray.nodes() for name in node["Resources"] if name.startswith("nx_ec2")]
print("attempt", attempt, "has", *sorted(names), flush=True)
"""
UNTIL_TOLD = """
def save(*_):
    ray.nodes()
    print("saved with", len(ray.nodes()), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
done("trains")
time.sleep(600)
"""


class RayTest(Nodes):
    def setUp(self):
        super().setUp()
        self.ray = ray_stand_in.write(os.path.join(self.top, "ray"))
        self.temporary = os.path.join(self.root, "t")
        os.makedirs(self.temporary)
        os.chmod(self.temporary, 0o1777)
        patch = mock.patch("nx_ec2_runtime.run.ray_launch.TEMPORARY", self.temporary)
        patch.start()
        self.addCleanup(patch.stop)

    def wait(self, holds, seconds=300):
        super().wait(holds, seconds)

    def end(self, run_id):
        return self.until(run_id, lambda state, _: state["outcome"], 300)

    def launch(self, count, script, /, **more):
        env = dict({"PYTHONPATH": self.ray}, **more.pop("env", {}))
        given = {"launcher": RAY, "env": env, "gracePeriod": GRACE_S}
        self.start_all(count, DRIVER + script, **dict(given, **more))

    def assert_nothing_left(self):
        self.assertEqual([], processes.marked("NX_EC2_RUN_ID=" + self.run_id), self.told())
        self.assertEqual([], os.listdir(self.temporary), self.told())

    def until_trains(self):
        self.wait(lambda: os.path.exists(os.path.join(self.shared, "trains")))

    def pids(self, rank, of):
        """The processes of a node by a word of their command line."""
        mark = "NX_EC2_LOCAL_INSTANCE=" + self.instance(rank)
        found = processes.marked("NX_EC2_RUN_ID=" + self.run_id, mark)
        return [pid for pid in found if of in leader.arguments(pid)]

    def test_the_driver_starts_on_the_first_node_when_all_have_joined(self):
        self.launch(3, "print('argument', *sys.argv[1:])\ndone('driver-%d' % rank)", args=["--lr"])
        states = self.ends(3)
        self.assertEqual(["succeeded"] * 3, self.outcomes(states), self.told())
        self.assertIn("attempt 1 has nx_ec2_node_0 nx_ec2_node_1 nx_ec2_node_2", self.log(0))
        self.assertIn("argument --lr", self.log(0))
        self.assertEqual(["driver-0"], os.listdir(self.shared))
        self.assertEqual({"name": "ray", "processes": 1}, states[0]["launcher"])
        self.assert_nothing_left()

    def test_its_exit_code_is_that_of_the_run_and_can_be_retried(self):
        retry = {"exitCodes": [75], "attempts": 3}
        secret = {"env": {"TOKEN": "of-the-worker"}, "mask": ["TOKEN"]}
        self.launch(2, "sys.exit({1: 75, 2: 3}[attempt])", retry=retry, **secret)
        states = self.ends(2)
        self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
        self.assertEqual([75, 3], [each["exitCode"] for each in states[0]["attempts"]])
        self.assertEqual(3, states[0]["exitCode"])
        self.assertIn("attempt 2 has nx_ec2_node_0 nx_ec2_node_1", self.log(0))
        logs = os.path.join(self.run_dir(0), "work/p/ray-logs/node-0/session_2026/raylet.out")
        with open(logs) as file:
            self.assertEqual("the raylet of node 0\na worker printed ***\n", file.read())
        self.assert_nothing_left()

    def test_a_signal_that_ends_the_driver_is_that_of_the_run(self):
        self.launch(2, "os.kill(os.getpid(), 9)")
        state = self.ends(2)[0]
        self.assertEqual((None, "SIGKILL"), (state["exitCode"], state["signal"]), self.told())
        self.assert_nothing_left()

    def test_a_stop_signals_the_driver_and_leaves_ray_to_it(self):
        def cancel():
            plan = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": GRACE_S}
            main.run(plan, os.path.join(self.top, "node-0"))

        def spot_notice():
            stop_request.ask(self.run_dir(1), "interruption", GRACE_S)

        for outcome, stop in (("cancelled", cancel), ("interrupted", spot_notice)):
            with self.subTest(outcome):
                self.run_id = self.run_id[:-1] + outcome[0]
                self.launch(2, UNTIL_TOLD, rerun=True)
                self.until_trains()
                stop()
                states = self.ends(2)
                self.assertEqual([outcome] * 2, self.outcomes(states), self.told())
                self.assertIn("saved with 2", self.log(0))
                self.assertEqual(0, states[0]["exitCode"])
                self.assertFalse(states[0]["attempts"][0]["cut"])
                self.assert_nothing_left()
                os.remove(os.path.join(self.shared, "trains"))

    def test_what_the_driver_leaves_running_is_named_and_ray_is_not(self):
        self.launch(1, "import subprocess\nsubprocess.Popen(['sleep', '600'])")
        state = self.ends(1)[0]
        self.assertIn("left a process running (sleep 600)", state["failure"]["message"])
        self.assert_nothing_left()

    def test_ray_that_does_not_start_on_a_node_fails_the_run_with_its_lines(self):
        for rank in (0, 1):
            with self.subTest(rank):
                self.run_id = self.run_id[:-1] + "xy"[rank]
                self.launch(2, "done('driver')", env={"RAY_FAILS": str(rank)}, rerun=True)
                states = self.ends(2)
                self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
                failure = states[0]["failure"]
                how = "node %d of 2 (%s): Ray did not start on this node"
                self.assertEqual("RAY_NOT_STARTED", failure["code"])
                self.assertEqual(how % (rank, self.instance(rank)), failure["message"])
                self.assertIn("[ray] no space in /dev/shm", self.log(0))
                self.assertFalse(os.path.exists(os.path.join(self.shared, "driver")))
                self.assert_nothing_left()

    def test_ray_that_was_too_slow_to_start_is_started_again(self):
        for rank in (0, 1):
            with self.subTest(rank):
                self.run_id = self.run_id[:-1] + "xy"[rank]
                self.launch(2, "", env={"RAY_IS_SLOW": str(rank)}, rerun=True)
                states = self.ends(2)
                self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
                how = "Ray was not ready within its time on this node, and is started again"
                self.assertEqual([rank == 0, rank == 1], [how in self.log(n) for n in (0, 1)])
                self.assert_nothing_left()

    def test_nodes_that_do_not_join_in_time_are_named(self):
        with mock.patch("nx_ec2_runtime.run.ray_launch.JOIN_TIMEOUT_S", 5):
            self.launch(3, "", env={"RAY_STAYS_AWAY": "2"})
        state = self.ends(3)[0]
        self.assertEqual("failed", state["outcome"], self.told())
        self.assertEqual("RAY_NOT_STARTED", state["failure"]["code"])
        self.assertIn(
            "1 of 3 nodes have not joined Ray within 5 s: node 2 (127.0.0.3)",
            state["failure"]["message"],
        )
        self.assert_nothing_left()

    def test_ray_of_another_node_that_is_killed_is_started_again(self):
        self.launch(
            2,
            "done('trains')\nwhen('killed')\n"
            "while len(ray.nodes()) != 1:\n    time.sleep(0.01)\n"
            "done('alone')\n"
            "while len(ray.nodes()) != 2:\n    time.sleep(0.01)\n",
        )
        self.until_trains()
        [start] = self.pids(1, "start")
        os.kill(start, signal.SIGKILL)
        with open(os.path.join(self.shared, "killed"), "w"):
            pass
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        self.assertIn("Ray has ended on this node, and is started again", self.log(1))
        self.assert_nothing_left()

    def test_the_end_of_ray_on_the_first_node_is_told_and_the_driver_decides(self):
        self.launch(2, "done('trains')\nwhen('killed')\nsys.exit(6)")
        self.until_trains()
        [start] = self.pids(0, "start")
        os.kill(start, signal.SIGKILL)
        self.wait(lambda: "Ray has ended on this node" in self.log(0))
        with open(os.path.join(self.shared, "killed"), "w"):
            pass
        states = self.ends(2)
        self.assertEqual(6, states[0]["exitCode"], self.told())
        self.assert_nothing_left()

    def test_two_runs_at_once_are_apart(self):
        runs = [self.run_id[:-1] + letter for letter in "ab"]
        for self.run_id in runs:
            self.launch(2, "done('at-' + os.environ['NX_EC2_RUN_ID'])\nwhen('both')", rerun=True)
        for run in runs:
            self.wait(lambda: os.path.exists(os.path.join(self.shared, "at-" + run)))
        with open(os.path.join(self.shared, "both"), "w"):
            pass
        for self.run_id in runs:
            self.assertEqual(["succeeded"] * 2, self.outcomes(self.ends(2)), self.told())
            self.assertIn("has nx_ec2_node_0 nx_ec2_node_1\n", self.log(0))
        self.assert_nothing_left()

    def test_a_run_on_one_node(self):
        env = {"PYTHONPATH": self.ray, "SHARED": self.shared}
        run = self.start(
            SCRIPT + DRIVER + "sys.exit(4)", launcher=RAY, env=env, gracePeriod=GRACE_S
        )
        state, log = self.end(run["id"])
        self.assertEqual(("failed", 4), (state["outcome"], state["exitCode"]), log)
        self.assertIn(b"attempt 1 has nx_ec2_node_0\n", log)
        self.assertIn(b"Ray has 1 node at ", log)
        self.assertEqual([], os.listdir(self.temporary))

    def test_it_is_told_that_ray_is_missing_and_where_to_add_it(self):
        run = self.start("", launcher=RAY)
        state, _ = self.end(run["id"])
        self.assertEqual("setup-failed", state["outcome"])
        self.assertEqual("RAY_MISSING", state["failure"]["code"])
        self.assertIn(
            "needs the package ray; no environment was set up", state["failure"]["message"]
        )

    def test_the_nodes_of_an_attempt_and_no_others_have_one_token(self):
        spec = {"id": "r", "launcher": RAY, "signingKey": "a2V5", "env": {}, "secrets": {}}
        record = {"attempt": 1, "resources": {"gpus": 0}, "totalGpus": 0}

        def variables(rank, attempt=1, **more):
            nodes = NodeVariables(rank, ["10.0.0.1", "10.0.0.2"], {"port": 7, "masterPort": 8})
            launch = ray_launch.of(dict(spec, **more), dict(record, attempt=attempt), nodes)
            return launch.variables()

        first = variables(0)
        self.assertEqual("token", first["RAY_AUTH_MODE"])
        self.assertEqual(first, variables(1))
        tokens = {first["RAY_AUTH_TOKEN"], variables(0, 2)["RAY_AUTH_TOKEN"]}
        tokens.add(variables(0, id="q")["RAY_AUTH_TOKEN"])
        tokens.add(ray_launch.of(spec, record).variables()["RAY_AUTH_TOKEN"])
        self.assertEqual(4, len(tokens))
        self.assertEqual({}, variables(0, env={"RAY_AUTH_MODE": "disabled"}))
        self.assertEqual({}, variables(0, secrets={"RAY_AUTH_TOKEN": "of-the-user"}))

    def test_sockets_of_ray_have_paths_that_are_short_enough(self):
        path = os.path.join("/tmp", "nx-ec2-ray-12345678")
        self.assertLess(
            len(path + "/session_2026-11-30_14-03-25_818911_4194304/sockets/plasma_store.1"), 108
        )

    def test_the_addresses_of_ipv6_have_brackets(self):
        nodes = NodeVariables(1, ["fd00::1", "fd00::2"], {"port": 7, "masterPort": 8})
        spec = {"id": "r", "launcher": RAY, "gracePeriod": 1, "projectRoot": "p"}
        spec.update(secrets={}, mask=[])
        spec["limits"] = {"cores": 2}
        record = {"attempt": 1, "resources": {"gpus": 0}, "totalGpus": 4}
        settings = ray_launch.of(spec, record, nodes).settings("/runs/r")
        self.assertEqual("[fd00::1]:7", settings["address"])
        for option in (
            "--address=[fd00::1]:7",
            "--node-ip-address=fd00::2",
            "--num-gpus=4",
            "--num-cpus=2",
        ):
            self.assertIn(option, settings["options"])


if __name__ == "__main__":
    unittest.main()
