"""Trainings of several processes with real torch, on the CPU: `npm run test:torch`. The Python that
NX_EC2_TORCH_PYTHON names has torch.
"""

import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from runs import Trainings

from nx_ec2_runtime import main

PYTHON = os.environ["NX_EC2_TORCH_PYTHON"]
STARTS_S = 300
# Trains a tiny model by DistributedDataParallel. Rank 0 saves it after each step, and at SIGTERM.
TRAIN = r"""
import argparse, json, os, signal, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

options = argparse.ArgumentParser()
options.add_argument("--steps", type=int, default=6)
options.add_argument("--fail-at", type=int)
options.add_argument("--wait-at", type=int)
options.add_argument("--resume", action="store_true")
given = options.parse_args()
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
path = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "last.pt")
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
done = 0
if given.resume:
    state = torch.load(path)
    model.module.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    done = state["step"]
    print("resumed after step", done, flush=True)


def save():
    if rank == 0:
        state = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
        torch.save(state, path + ".new")
        os.replace(path + ".new", path)


def stop(*_):
    save()
    print("stopped", flush=True)
    os._exit(0)


signal.signal(signal.SIGTERM, stop)
while done < given.steps:
    torch.manual_seed(1000 * done + rank)
    loss = model(torch.randn(8, 4)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    done += 1
    print("step %d loss: %.6f\n" % (done, loss.item()), end="", flush=True)
    save()
    dist.barrier()
    if done == given.wait_at:
        print("waits", flush=True)
        while True:
            time.sleep(0.05)
    if done == given.fail_at and rank == 1 and not given.resume:
        sys.exit(75)
weights = [p.tolist() for p in model.module.parameters()]
print("weights %s of %d\n" % (json.dumps(weights), size), end="", flush=True)
dist.destroy_process_group()
"""


class RealTorch(Trainings):
    def launch(self, *args, **more):
        path = os.path.dirname(PYTHON) + ":/usr/bin:/bin"
        two = {"name": "torchrun", "processes": 2, "option": None}
        env = {"PATH": path, "GLOO_SOCKET_IFNAME": "lo"}
        return self.start(TRAIN, args=list(args), **dict({"launcher": two, "env": env}, **more))

    def train(self, *args, **more):
        run = self.launch(*args, **more)
        run, log = self.until(run["id"], lambda run, log: run["outcome"] is not None, STARTS_S)
        return run, log.decode()

    def weights(self, log):
        found = re.findall(r"^weights (.*) of 2$", log, re.MULTILINE)
        self.assertEqual(1, len(found), log)
        self.assertIn("[rank 1] weights %s of 2\n" % found[0], log)
        return json.loads(found[0])

    def test_a_failing_rank_is_retried_and_resumes_to_the_same_weights(self):
        run, log = self.train(runKey="whole")
        self.assertEqual("succeeded", run["outcome"], log)
        whole = self.weights(log)
        run, log = self.train(
            "--fail-at=3",
            runKey="failing",
            retry={"exitCodes": [75], "attempts": 2},
            resumeArgs=["--resume"],
        )
        self.assertEqual(("succeeded", 2), (run["outcome"], run["attempt"]), log)
        self.assertEqual(75, run["attempts"][0]["exitCode"])
        self.assertIn("nx-ec2: rank 1 of 2 failed first: it exited with 75.", log)
        self.assertIn("resumed after step 3\n", log)
        self.assertEqual(whole, self.weights(log))

    def test_a_failure_has_the_code_of_the_rank(self):
        run, log = self.train("--fail-at=1")
        self.assertEqual(("failed", 75), (run["outcome"], run["exitCode"]), log)
        self.assertEqual("rank 1 of 2 failed first", run["failure"]["message"])

    def test_a_cancel_lets_each_rank_save(self):
        run = self.launch("--wait-at=2", gracePeriod=60)
        self.until(run["id"], lambda run, log: log.count(b"waits") == 2, STARTS_S)
        plan = {"v": 1, "op": "cancel", "run": run["id"], "gracePeriod": 60}
        self.assertTrue(main.run(plan, self.root)["ok"])
        run, log = self.until(run["id"], lambda run, log: run["outcome"] is not None, STARTS_S)
        self.assertEqual(("cancelled", 0), (run["outcome"], run["exitCode"]), log)
        self.assertEqual(2, log.count(b"stopped"))
        self.assertFalse(run["attempts"][0]["cut"])
        self.assertTrue(os.path.exists(os.path.join(run["directory"], "checkpoints", "last.pt")))

    def test_two_runs_train_at_once(self):
        runs = [self.launch("--wait-at=1", runKey=key, gracePeriod=60) for key in "ab"]
        for run in runs:
            self.until(run["id"], lambda run, log: log.count(b"waits") == 2, STARTS_S)
        for run in runs:
            plan = {"v": 1, "op": "cancel", "run": run["id"], "gracePeriod": 60}
            self.assertTrue(main.run(plan, self.root)["ok"])


if __name__ == "__main__":
    unittest.main()
