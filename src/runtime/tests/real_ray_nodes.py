"""Trainings on a Ray cluster with real Ray, on the CPU: `npm run test:ray`. The nodes are
supervisors with addresses of loopback. The Python that NX_EC2_RAY_PYTHON names has Ray.
"""

import glob
import os
import shutil
import signal
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nodes import SCRIPT, Nodes
from runs import OURS

from nx_ec2_runtime import main
from nx_ec2_runtime.system import processes
from nx_ec2_runtime.system.leader import arguments

PYTHON = os.environ["NX_EC2_RAY_PYTHON"]
STARTS_S, GRACE_S = 300, 30
RAY = {"name": "ray", "processes": 1, "option": None}
# A task on each node tells a power of ten: the sum tells that each node had one.
DRIVER = r"""
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@ray.remote(num_cpus=1, max_retries=3)
def power(number):
    return int(os.environ["NX_EC2_NODE_RANK"]), 10 ** number


def on_each():
    nodes = {}
    for node in ray.nodes():
        for name in node["Resources"]:
            if node["Alive"] and name.startswith("nx_ec2_node_"):
                nodes[int(name[len("nx_ec2_node_"):])] = node["NodeID"]
    return [
        power.options(scheduling_strategy=NodeAffinitySchedulingStrategy(nodes[number], soft=False))
        .remote(number)
        for number in sorted(nodes)
    ]


def say(*words):
    print(*words, flush=True)


ray.init(log_to_driver=True)
found = ray.get(on_each())
say("attempt", attempt, "ranks", *[each for each, _ in found], "sum", sum(each for _, each in found))
path = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "step")
"""
# Trains until it is told to stop; then it asks all nodes once more, and saves.
UNTIL_TOLD = r"""
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
done("trains")
while not told:
    time.sleep(0.05)
say("told, sum", sum(each for _, each in ray.get(on_each())))
open(path, "w").write("7")
say("saved")
"""


class RayNodes(Nodes):
    def setUp(self):
        super().setUp()
        # A short path: sockets are in it.
        self.temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.temporary, ignore_errors=True)
        patch = mock.patch("nx_ec2_runtime.run.ray_launch.TEMPORARY", self.temporary)
        patch.start()
        self.addCleanup(patch.stop)

    def launch(self, count, script, /, **more):
        """`run`: a letter that tells runs of a test apart."""
        self.run_id = "20260101-000000-p-%s%s" % (OURS, more.pop("run", "n"))
        self.addCleanup(self.kill_run, self.run_id)
        given = self.given(**more.pop("env", {}))
        self.start_all(count, DRIVER + script, **dict(given, **more))

    def given(self, **env):
        """Of a run on a Ray cluster. `env`: its variables, beside the way to Ray."""
        return {
            "launcher": RAY,
            "rerun": True,
            "gracePeriod": GRACE_S,
            "env": {"PATH": os.path.dirname(PYTHON) + ":/usr/bin:/bin", **env},
            "limits": {"memory": None, "cores": 1},
        }

    def wait(self, holds, seconds=STARTS_S):
        super().wait(holds, seconds)

    def of_run(self, *marks):
        return processes.marked("NX_EC2_RUN_ID=" + self.run_id, *marks)

    def kill_node(self, rank):
        """All processes of a node at once, and its disk: as an instance that is terminated without
        notice.
        """
        mark = "NX_EC2_LOCAL_INSTANCE=" + self.instance(rank)
        state = self.state(rank)
        for pid in [state["supervisor"], *self.reporters(self.run_dir(rank)), *self.of_run(mark)]:
            processes.send(pid, signal.SIGKILL)
        # Else the next look at its state would record there that the run is lost.
        os.rename(os.path.join(self.top, "node-%d" % rank), os.path.join(self.top, "gone"))

    def assert_nothing_left(self):
        self.assertEqual([], self.of_run(), self.told())
        self.assertEqual([], os.listdir(self.temporary), self.told())

    def until_trains(self):
        self.wait(lambda: os.path.exists(os.path.join(self.shared, "trains")))


class RealRay(RayNodes):
    def test_a_task_on_each_node_sums(self):
        for run, count in zip("ab", (2, 3)):
            with self.subTest(nodes=count):
                self.launch(count, "", run=run)
                states = self.ends(count)
                self.assertEqual(["succeeded"] * count, self.outcomes(states), self.told())
                ranks = " ".join(map(str, range(count)))
                self.assertIn("attempt 1 ranks %s sum %s" % (ranks, "1" * count), self.log(0))
                self.assert_nothing_left()

    def test_the_exit_code_of_the_driver_is_that_of_the_run_and_is_retried(self):
        self.launch(
            2, "sys.exit(75 if attempt == 1 else 3)", retry={"exitCodes": [75], "attempts": 3}
        )
        states = self.ends(2)
        self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
        self.assertEqual([75, 3], [each["exitCode"] for each in states[0]["attempts"]])
        self.assertEqual((3, 0), (states[0]["exitCode"], states[0]["failedNode"]["rank"]))
        for attempt in (1, 2):
            self.assertIn("attempt %d ranks 0 1 sum 11" % attempt, self.log(0))
        logs = os.path.join(self.run_dir(0), "work/p/ray-logs/node-0/session_*/gcs_server.out")
        self.assertEqual(2, len(glob.glob(logs)), self.told())
        self.assert_nothing_left()

    def test_a_cancel_lets_the_driver_save_with_all_nodes(self):
        self.launch(2, UNTIL_TOLD)
        self.until_trains()
        plan = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": GRACE_S}
        main.run(plan, os.path.join(self.top, "node-0"))
        states = self.ends(2)
        self.assertEqual(["cancelled"] * 2, self.outcomes(states), self.told())
        self.assertIn("told, sum 11\nsaved\n", self.log(0), self.told())
        self.assertEqual((0, False), (states[0]["exitCode"], states[0]["attempts"][0]["cut"]))
        self.assertEqual("step", self.stored(0)["checkpoints"][-1]["unit"])
        self.assert_nothing_left()

    def test_a_secret_that_workers_print_is_masked_in_the_log_and_in_rays_logs(self):
        self.launch(
            2,
            "@ray.remote(num_cpus=1)\n"
            "def tell():\n    print('the token', os.environ['TOKEN'], flush=True)\n"
            "nodes = [{'nx_ec2_node_%d' % number: 0.1} for number in range(2)]\n"
            "ray.get([tell.options(resources=each).remote() for each in nodes])\n"
            "when('told')\nsys.exit(4)",
            env={"TOKEN": "not-for-the-log", "RAY_DEDUP_LOGS": "0"},
            mask=["TOKEN"],
        )
        self.wait(lambda: self.log(0).count("the token ***") == 2)
        self.done("told")
        self.assertEqual(["failed"] * 2, self.outcomes(self.ends(2)), self.told())
        self.assertNotIn("not-for-the-log", self.log(0))
        logs = []
        for path in glob.glob(
            os.path.join(self.run_dir(0), "work/p/ray-logs/**/*.*"), recursive=True
        ):
            with open(path, "rb") as file:
                logs.append(file.read())
        self.assertTrue(any(b"the token ***" in each for each in logs))
        self.assertFalse(any(b"not-for-the-log" in each for each in logs))

    def test_a_token_in_the_home_directory_is_not_the_clusters_and_others_are_refused(self):
        home = os.path.join(self.shared, "home")
        os.makedirs(os.path.join(home, ".ray"))
        with open(os.path.join(home, ".ray", "auth_token"), "w") as file:
            file.write("0" * 64)
        self.launch(
            2,
            "import subprocess\n"
            "for name in ('RAY_AUTH_TOKEN', 'OTHER'):\n"
            "    variables = {key: os.environ[key] for key in os.environ if key != name}\n"
            "    connect = [sys.executable, '-c', 'import ray; ray.init(); print(len(ray.nodes()))']\n"
            "    found = subprocess.run(connect, env=variables, capture_output=True, text=True)\n"
            "    say('without', name, found.returncode, found.stdout.strip())\n",
            env={"HOME": home},
        )
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        self.assertIn("ranks 0 1 sum 11", self.log(0))
        self.assertIn("without RAY_AUTH_TOKEN 1 \n", self.log(0))
        self.assertIn("without OTHER 0 2\n", self.log(0))
        self.assert_nothing_left()

    def test_two_runs_at_once_are_apart(self):
        for run in "ab":
            self.launch(2, "done('at-' + os.environ['NX_EC2_RUN_ID'])\nwhen('both')", run=run)
        for run in "ab":
            self.run_id = self.run_id[:-1] + run
            at = os.path.join(self.shared, "at-" + self.run_id)
            self.wait(lambda: os.path.exists(at))
        open(os.path.join(self.shared, "both"), "w").close()
        for run in "ab":
            self.run_id = self.run_id[:-1] + run
            self.assertEqual(["succeeded"] * 2, self.outcomes(self.ends(2)), self.told())
            self.assertIn("ranks 0 1 sum 11", self.log(0))
        self.assert_nothing_left()

    def test_a_run_on_one_node(self):
        more = {"launcher": RAY, "gracePeriod": GRACE_S, "limits": {"memory": None, "cores": 2}}
        env = {"PATH": os.path.dirname(PYTHON) + ":/usr/bin:/bin", "SHARED": self.shared}
        run = self.start(SCRIPT + DRIVER + "sys.exit(4)", env=env, **more)
        state, log = self.until(run["id"], lambda state, _: state["outcome"], STARTS_S)
        self.assertEqual(("failed", 4), (state["outcome"], state["exitCode"]), log)
        self.assertIn(b"ranks 0 sum 1", log)
        self.run_id = run["id"]
        self.assertEqual([], self.of_run())

    def test_ray_of_a_node_that_is_killed_is_started_again(self):
        self.launch(
            2,
            "def alive():\n"
            "    return {node['NodeID'] for node in ray.nodes() if node['Alive']}\n"
            "before = alive()\n"
            "done('trains')\n"
            "when('killed')\n"
            "while len(alive()) != 2 or alive() == before:\n    time.sleep(0.1)\n"
            "say('again', sum(each for _, each in ray.get(on_each())))",
        )
        self.until_trains()
        raylets = self.raylets(1)
        self.assertEqual(1, len(raylets))
        os.kill(raylets[0], signal.SIGKILL)
        open(os.path.join(self.shared, "killed"), "w").close()
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        self.assertIn("again 11", self.log(0))
        self.assertIn("Ray has ended on this node, and is started again", self.log(1))
        self.assert_nothing_left()

    def raylets(self, rank):
        mark = "NX_EC2_LOCAL_INSTANCE=" + self.instance(rank)
        return [pid for pid in self.of_run(mark) if arguments(pid)[0].endswith("/raylet")]


class LostNodes(RayNodes):
    """With the time after which a node is lost that users have."""

    def lose(self, rank):
        self.launch(2, UNTIL_TOLD)
        self.until_trains()
        self.kill_node(rank)
        [state] = self.ends(2, [1 - rank])
        self.assertEqual("interrupted", state["outcome"], self.told())
        self.assertEqual((rank, "lost"), (state["failedNode"]["rank"], state["failedNode"]["why"]))
        self.assertEqual([], self.of_run())

    def test_another_node_that_is_lost_interrupts_the_run(self):
        self.lose(1)

    def test_the_first_node_that_is_lost_interrupts_the_run(self):
        self.lose(0)


if __name__ == "__main__":
    unittest.main()
