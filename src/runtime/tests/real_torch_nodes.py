"""Trainings on several nodes with real torch and Gloo, on the CPU: `npm run test:torch`. The nodes
are supervisors with addresses of loopback. The Python that NX_EC2_TORCH_PYTHON names has torch.
"""

import os
import re
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nodes import Nodes
from runs import OURS

from nx_ec2_runtime import main
from nx_ec2_runtime.run_dir import stop_request
from nx_ec2_runtime.system import atomic_files, processes

PYTHON = os.environ["NX_EC2_TORCH_PYTHON"]
STARTS_S, GRACE_S = 300, 20
# Each rank adds 1, and a power of ten for its node: the sum tells how many ranks each node has. With
# --train they sum until rank 0 is told to stop, which the others learn by the sum.
TRAIN = r"""
import argparse, datetime
import torch
import torch.distributed as dist

options = argparse.ArgumentParser()
options.add_argument("--train", action="store_true")
options.add_argument("--fail", type=int)
options.add_argument("--resume", action="store_true")
options.add_argument("--rank-0-alone", action="store_true")
given = options.parse_args()
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=120))
node, rank, size = rank, dist.get_rank(), dist.get_world_size()
path = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "last.pt")


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def total(*values):
    found = torch.tensor([float(value) for value in values])
    dist.all_reduce(found)
    return [int(value) for value in found]


told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
say("rank", rank, "of", size, "on node", node, "attempt", attempt, "sum", *total(1, 10 ** node))
if given.resume:
    say("rank", rank, "resumes from", torch.load(path)["step"])
step = 0
while given.train or (given.fail and not given.resume):
    step += 1
    [stops] = total(len(told) if rank == 0 else 0)
    if rank == 0 and (stops or step == 5):
        torch.save({"step": step, "stopped": bool(stops)}, path + ".new")
        os.replace(path + ".new", path)
    if stops:
        say("rank", rank, "stopped")
        break
    if step == 10:
        say("rank", rank, "trains")
    if step == 20 and given.fail and rank == size - 1:
        say("rank", rank, "gives up")
        sys.exit(given.fail)
    time.sleep(0.02)
dist.destroy_process_group()
while given.rank_0_alone and rank == 0:
    done("alone")
    if told:
        torch.save({"step": step, "stopped": True}, path)
        say("rank", rank, "stopped")
        break
    time.sleep(0.02)
"""


# A tensor that is split over all ranks: each saves its part on its own node, and finds all parts.
SHARDS = r"""
import glob
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

dist.init_process_group("gloo")
node, rank, size = rank, dist.get_rank(), dist.get_world_size()
weights = distribute_tensor(torch.zeros(12), init_device_mesh("cpu", (size,)), [Shard(0)])
base = os.environ["NX_EC2_CHECKPOINT_DIR"]
saved = sorted(glob.glob(os.path.join(base, "step-?")))
if saved:
    dcp.load({"weights": weights}, checkpoint_id=saved[-1])
total = weights.full_tensor().sum().item()
sys.stdout.write("rank %d of %d begins with %d of %s\n" % (rank, size, total, [os.path.basename(each) for each in saved[-1:]]))
sys.stdout.flush()
weights.to_local().add_(1)
unit = os.path.join(base, "step-%d" % attempt)
dcp.save({"weights": weights}, checkpoint_id=unit + ".new")
os.rename(unit + ".new", unit)
open(unit + ".complete", "w").close()
dist.destroy_process_group()
time.sleep(600)
"""


class TorchNodes(Nodes):
    def launch(self, count, *args, **more):
        """`processes`: how many each node has; `run`: a letter that tells runs of a test apart;
        `text`: of the script.
        """
        self.run_id = "20260101-000000-p-%s%s" % (OURS, more.pop("run", "n"))
        self.addCleanup(self.kill_run, self.run_id)
        launcher = {"name": "torchrun", "processes": more.pop("processes", 1), "option": None}
        path = os.path.dirname(PYTHON) + ":/usr/bin:/bin"
        env = {"PATH": path, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        more = dict({"launcher": launcher, "gracePeriod": GRACE_S, "env": env}, **more)
        text = more.pop("text", TRAIN)
        self.options = dict(more, args=list(args))
        self.start_all(count, text, **self.options)

    def until_all_train(self, count, total=None):
        total = total or count
        shown = re.compile(r"rank \d+ trains")
        self.wait(lambda: sum(len(shown.findall(self.log(n))) for n in range(count)) == total)

    def wait(self, holds, seconds=STARTS_S):
        super().wait(holds, seconds)

    def sums(self, count, attempt=1):
        """(rank, size, node, sums) that the ranks have printed, by rank."""
        mark = r"(?m)^(?:\[rank \d+\] )?"
        shown = r"rank (\d+) of (\d+) on node (\d+) attempt %d sum (\d+) (\d+)$" % attempt
        found = [each for n in range(count) for each in re.findall(mark + shown, self.log(n))]
        return sorted(tuple(map(int, each)) for each in found)

    def everything_of(self, rank):
        """The processes of a node."""
        mark = "NX_EC2_LOCAL_INSTANCE=" + self.instance(rank)
        run = "NX_EC2_RUN_ID=" + self.run_id
        state = self.state(rank)
        found = [state["supervisor"], *self.reporters(self.run_dir(rank))]
        return found + processes.marked(mark, run)

    def assert_sums(self, count, of_each, attempt=1):
        size = count * of_each
        powers = sum(of_each * 10**n for n in range(count))
        expected = [(rank, size, rank // of_each, size, powers) for rank in range(size)]
        self.assertEqual(expected, self.sums(count, attempt), self.told())


class RealTorchNodes(TorchNodes):
    def test_an_all_reduce_sums_over_all_nodes(self):
        for run, (count, of_each) in zip("abc", ((2, 1), (2, 2), (3, 2))):
            with self.subTest(nodes=count, processes=of_each):
                self.launch(count, run=run, processes=of_each)
                states = self.ends(count)
                self.assertEqual(["succeeded"] * count, self.outcomes(states), self.told())
                self.assert_sums(count, of_each)

    def test_a_command_that_is_torchrun_meets_the_other_nodes(self):
        option = {"position": 1, "name": "--nproc_per_node"}
        self.launch(
            2,
            script=None,
            command=["torchrun", "train.py"],
            launcher={"name": "torchrun", "processes": 2, "option": option},
        )
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        self.assert_sums(2, 2)

    def test_a_command_that_is_torchrun_with_its_own_number_of_processes(self):
        command = ["torchrun", "--nproc-per-node=2", "train.py"]
        self.launch(2, script=None, command=command, launcher=None)
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        self.assert_sums(2, 2)

    def test_a_rank_that_fails_has_its_code_and_its_node_in_the_record(self):
        for run, of_each in zip("ab", (1, 2)):
            with self.subTest(processes=of_each):
                self.launch(2, "--fail=75", run=run, processes=of_each)
                states = self.ends(2)
                self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
                self.assertEqual(75, states[0]["exitCode"], self.told())
                failed = states[0]["failedNode"]
                self.assertEqual((1, 75), (failed["rank"], failed["exitCode"]))
                if of_each == 2:
                    how = "node 1 of 2 (%s): rank 3 of 4 failed first" % self.instance(1)
                    self.assertEqual(how, states[0]["failure"]["message"])

    def test_a_retryable_code_trains_again_on_all_from_the_checkpoint_of_rank_0(self):
        retry = {"exitCodes": [75], "attempts": 2}
        self.launch(2, "--fail=75", processes=2, retry=retry, resumeArgs=["--resume"])
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        self.assertEqual([2, 2], [state["attempt"] for state in states])
        self.assertEqual([75, 0], [each["exitCode"] for each in states[0]["attempts"]])
        self.assert_sums(2, 2)
        self.assert_sums(2, 2, attempt=2)
        logs = self.log(0) + self.log(1)
        resumed = sorted(re.findall(r"rank (\d) resumes from (\d+)", logs))
        self.assertEqual([(str(rank), "5") for rank in range(4)], resumed)

    def test_a_cancel_lets_rank_0_save_and_all_ranks_end_together(self):
        self.launch(2, "--train", processes=2)
        self.until_all_train(2, 4)
        plan = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": GRACE_S}
        main.run(plan, os.path.join(self.top, "node-0"))
        states = self.ends(2)
        self.assertEqual(["cancelled"] * 2, self.outcomes(states), self.told())
        self.assertEqual(0, states[0]["exitCode"], self.told())
        stopped = re.findall(r"rank (\d) stopped", self.log(0) + self.log(1))
        self.assertEqual(["0", "1", "2", "3"], sorted(stopped), self.told())
        self.assertFalse(states[0]["attempts"][0]["cut"])

    def test_a_cancel_lets_rank_0_save_when_the_ranks_of_another_node_have_ended(self):
        self.launch(2, "--rank-0-alone")
        self.wait(lambda: os.path.exists(os.path.join(self.shared, "alone")))
        worker = os.path.join(self.run_dir(1), "ranks", self.run_id + "-1", "1.json")
        self.wait(lambda: "code" in (atomic_files.read_json(worker) or {}))
        self.assertEqual("running", self.phase(1))
        plan = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": GRACE_S}
        main.run(plan, os.path.join(self.top, "node-0"))
        states = self.ends(2)
        self.assertEqual(["cancelled"] * 2, self.outcomes(states), self.told())
        self.assertEqual([0, 0], [state["exitCode"] for state in states], self.told())
        self.assertIn("rank 0 stopped", self.log(0))

    def test_a_command_that_is_torchrun_names_the_node_that_failed(self):
        command = ["torchrun", "--nproc-per-node=2", "train.py"]
        self.launch(2, "--fail=75", script=None, command=command, launcher=None)
        states = self.ends(2)
        self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
        failed = states[0]["failedNode"]
        self.assertEqual((1, 1), (failed["rank"], failed["exitCode"]), self.told())

    def test_two_runs_on_the_same_addresses_are_apart(self):
        for run in "ab":
            self.launch(2, "--train", run=run, processes=1)
        for run in "ab":
            self.run_id = self.run_id[:-1] + run
            self.until_all_train(2)
            self.assert_sums(2, 1)


class ElasticNodes(TorchNodes):
    def test_a_split_checkpoint_is_loaded_by_fewer_nodes_and_by_more(self):
        self.launch(3, text=SHARDS)
        for attempt, count in ((1, 3), (2, 2), (3, 3)):
            if attempt > 1:
                self.top = os.path.join(self.root, "attempt-%d" % attempt)
                heartbeats = [self.stored(rank)["heartbeat"] for rank in range(count)]
                for rank, heartbeat in enumerate(heartbeats):
                    following = {"attempt": attempt, "heartbeat": heartbeat}
                    self.at(rank, count, SHARDS, nextAttempt=following, **self.options)
            self.wait(lambda: all(self.has_saved(rank, attempt) for rank in range(count)))
            stop_request.ask(self.run_dir(1), "interruption", GRACE_S)
            self.assertEqual(["interrupted"] * count, self.outcomes(self.ends(count)))
            unit = ["step-%d" % (attempt - 1)] if attempt > 1 else []
            for rank in range(count):
                begins = "rank %d of %d begins with %d of %s" % (
                    *(rank, count, 12 * (attempt - 1)),
                    unit,
                )
                self.assertIn(begins, self.log(rank), self.told())

    def has_saved(self, rank, attempt):
        saved = (self.stored(rank) or {}).get("checkpoints") or [{"attempt": 0}]
        return saved[-1]["attempt"] == attempt


class ExampleNodes(TorchNodes):
    """examples/digits-ddp, with two processes on each of two nodes."""

    def launch_example(self, *args):
        root = os.path.abspath(__file__)
        for _ in range(4):
            root = os.path.dirname(root)
        example = os.path.join(root, "examples", "digits-ddp", "train_ddp.py")
        run = "import runpy; runpy.run_path(%r, run_name='__main__')" % example
        self.launch(2, *args, processes=2, text=run)

    def test_it_trains(self):
        self.launch_example()
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        found = re.findall(r"epoch (\d)/8  loss \S+  accuracy (\S+)", self.log(0))
        self.assertEqual(list("12345678"), [epoch for epoch, _ in found], self.told())
        self.assertGreater(float(found[-1][1]), 0.9)

    def test_all_its_processes_stop_after_the_same_epoch(self):
        self.launch_example("--epochs=100000")
        self.wait(lambda: re.search(r"epoch 3/", self.log(0)))
        plan = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": GRACE_S}
        main.run(plan, os.path.join(self.top, "node-0"))
        states = self.ends(2)
        self.assertEqual(["cancelled"] * 2, self.outcomes(states), self.told())
        self.assertEqual([False, False], [each["attempts"][0]["cut"] for each in states])
        self.assertEqual("last.pt", self.stored(0)["checkpoints"][-1]["unit"])


class LostNodes(TorchNodes):
    """With the time after which a node is lost that users have."""

    def lose(self, rank, number, count=2, of_each=1):
        """Returns how long the others took to end."""
        self.launch(count, "--train", processes=of_each)
        self.until_all_train(count, count * of_each)
        start = time.monotonic()
        for pid in self.everything_of(rank):
            processes.send(pid, number)
        others = [each for each in range(count) if each != rank]
        states = self.ends(count, others)
        took_s = time.monotonic() - start
        print("lost node %d by signal %d: %.1f s" % (rank, number, took_s), file=sys.stderr)
        self.assertEqual(["interrupted"] * len(others), self.outcomes(states), self.told())
        for state in states:
            failed = state["failedNode"]
            self.assertEqual((rank, "lost"), (failed["rank"], failed["why"]), self.told())
        mark = "NX_EC2_LOCAL_INSTANCE=" + self.instance(others[0])
        left = processes.marked(mark, "NX_EC2_RUN_ID=" + self.run_id)
        self.assertEqual([], left)
        return took_s

    def test_a_node_that_is_killed_interrupts_the_others(self):
        self.assertLess(self.lose(1, signal.SIGKILL, of_each=2), self.silence_s + 30)

    def test_a_node_that_no_longer_answers_interrupts_the_others(self):
        # Rank 0 waits for the sum, in which Python runs no handler: the grace period passes.
        self.assertLess(self.lose(1, signal.SIGSTOP), self.silence_s + GRACE_S + 30)
        self.assertNotIn("rank 0 stopped", self.log(0))
        self.assertEqual("last.pt", self.stored(0)["checkpoints"][-1]["unit"])

    def test_the_first_node_that_is_killed_interrupts_the_others(self):
        self.assertLess(self.lose(0, signal.SIGKILL), self.silence_s + 30)


if __name__ == "__main__":
    unittest.main()
