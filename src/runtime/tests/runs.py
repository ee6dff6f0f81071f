"""Trainings as the client starts them, for tests: on a root of their own, with no store."""

import base64
import json
import os
import random
import sys
import time
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync

from nx_ec2_runtime import main
from nx_ec2_runtime.report.signed_record import SigningKey

# A dead run's processes are found by its id, on all of the machine: another process's tests must
# have others.
OURS = "".join(random.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(5))
# What records are signed with.
KEY = base64.b64encode(bytes(range(32))).decode()
ARTIFACTS = {
    "outputs": [{"pattern": "artifacts", "base": "artifacts"}],
    "scratch": [],
    "numbered": [],
    "limits": {"files": 100, "bytes": 1 << 30},
    "extra": {"files": 100, "bytes": 1 << 30},
}
NONE = {"manager": "none", "root": "p", "file": "", "locked": False}


def signed(record, run_id, key=KEY):
    """A record as it lies in the store."""
    return SigningKey({"signingKey": key, "id": run_id}).sign(record)


def unsigned(data):
    """The record in what lies in the store, whoever has signed it; None where nothing is."""
    return data and json.loads(data)["record"]


def part(run_id, **more):
    """A run's part of a plan; `more` takes the place of what it says."""
    return dict(
        {
            "id": run_id,
            "runKey": run_id,
            "project": "p",
            "projectRoot": "p",
            "script": "train.py",
            "command": None,
            "args": [],
            "environment": NONE,
            "setup": None,
            "env": {},
            "outputDir": "artifacts",
            "timeout": None,
            "gracePeriod": 1,
            "rerun": False,
            "knownFailed": None,
            "caller": "arn:aws:iam::000000000000:user/local",
            "detached": False,
            "store": None,
            "artifacts": ARTIFACTS,
            "checkpoints": {"keep": 3, "every": None, "paths": []},
            "resumeFrom": None,
            "limits": {"memory": None, "cores": None},
            "resources": {"exclusive": False, "gpus": 0},
            "retry": {"exitCodes": [], "attempts": 3},
            "resumeArgs": [],
            "secrets": {},
            "mask": [],
            "datasets": [],
            "endpoints": {"s3": None, "ssm": None, "secretsmanager": None},
            "packageIndex": None,
            "metrics": {"file": None, "idle": None},
            "metadata": {"git": None, "command": "", "configuration": {}, "host": ""},
            "signingKey": KEY,
            "identity": "0" * 64,
        },
        **more,
    )


class Trainings(unittest.TestCase):
    def setUp(self):
        self.served = test_sync.SyncTest("run")
        self.served.setUp()
        self.root = self.served.root
        self.count = 0

    def tearDown(self):
        self.served.tearDown()

    def exec_plan(self, argv, *, grace):
        """The plan of a command beside the trainings, in the project's directory of the tree."""
        return {
            "v": 1,
            "op": "exec",
            "tree": self.plan("")["tree"],
            "run": None,
            "user": None,
            "exec": {
                "id": self.plan("")["run"]["id"],
                "projectRoot": "p",
                "argv": argv,
                "timeout": None,
                "gracePeriod": grace,
            },
        }

    def plan(self, script, /, **more):
        self.count += 1
        plan = self.served.plan({b"p/train.py": script.encode()})
        return dict(
            plan,
            op="train",
            run=part("20260101-000000-p-%s%s" % (OURS, "abcdefghijklmnop"[self.count]), **more),
        )

    def start(self, script, /, **more):
        reply = main.run(self.plan(script, **more), self.root)
        self.assertTrue(reply["ok"], reply)
        return reply["run"]

    def poll(self, run_id, offset=0):
        reply = main.run({"v": 1, "op": "poll", "run": run_id, "offset": offset}, self.root)
        self.assertTrue(reply["ok"], reply)
        piece = reply["log"]
        self.assertEqual(piece["offset"], offset)
        data = zlib.decompress(base64.b64decode(piece["data"])) if piece["length"] else b""
        self.assertEqual(len(data), piece["length"])
        return reply["run"], data

    def until(self, run_id, holds, seconds=30):
        """The run's state, and its log so far, as soon as `holds(state, log)`."""
        log, deadline = b"", time.monotonic() + seconds
        while time.monotonic() < deadline:
            state, data = self.poll(run_id, len(log))
            log += data
            if not data and holds(state, log):
                return state, log
            time.sleep(0 if data else 0.03)
        self.fail("it did not come to that: %r %r" % (state, log[-2000:]))

    def end(self, run_id):
        """The run's state when it has ended, and its log."""
        return self.until(run_id, lambda state, log: state["outcome"] is not None)

    def train(self, script, /, **more):
        return self.end(self.start(script, **more)["id"])
