"""Runs on several nodes, for tests: each node has a root of its own, and all have one store."""

import json
import os
import signal
import sys
import tempfile
import time
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from directory_store import Store
from runs import OURS, Trainings, unsigned

from nx_ec2_runtime import main
from nx_ec2_runtime.run import runs
from nx_ec2_runtime.system import process_group, processes

PREFIX = "v2/projects/p/run/%s/"
# What tells nodes apart in a script, and files by which it and a test wait for each other.
SCRIPT = """
import json, os, signal, sys, time
rank = int(os.environ["NX_EC2_NODE_RANK"])
attempt = int(os.environ["NX_EC2_ATTEMPT"])
shared = os.environ["SHARED"]
def when(name):
    while not os.path.exists(os.path.join(shared, name)):
        time.sleep(0.01)
def done(name):
    open(os.path.join(shared, name), "w").close()
def each(name, count):
    done("%s-%d" % (name, rank))
    for other in range(count):
        when("%s-%d" % (name, other))
"""


class Nodes(Trainings):
    """`at(rank)` starts that node; its state is `state(rank)`, its record in the store
    `stored(rank)`.
    """

    # The tests of what happens after a silence: as short as a busy machine allows.
    silence_s = 60.0
    missing_s = 120.0

    def setUp(self):
        super().setUp()
        self.top, self.store = self.root, tempfile.mkdtemp(dir=self.root)
        self.shared = os.path.join(self.store, "shared")
        os.makedirs(self.shared)
        os.chmod(self.shared, 0o777)
        self.run_id = "20260101-000000-p-%sn" % OURS
        self.rank = 0
        for what, value in (
            ("nx_ec2_runtime.aws.bucket.open_bucket", self.bucket),
            ("nx_ec2_runtime.aws.bucket.role_bucket", self.bucket),
            ("nx_ec2_runtime.report.spot_notice.watch", lambda *_: None),
            ("nx_ec2_runtime.report.node_records.WAITING_POLL_S", 0.1),
            ("nx_ec2_runtime.report.node_records.RUNNING_POLL_S", 0.1),
            ("nx_ec2_runtime.report.record_upload.HEARTBEAT_INTERVAL_S", 0.5),
            ("nx_ec2_runtime.run.node_group.own_address", lambda: "127.0.0.%d" % (self.rank + 1)),
            ("nx_ec2_runtime.run.node_group.MISSING_S", self.missing_s),
            ("nx_ec2_runtime.report.node_start.INTERVAL_S", 0.2),
            ("nx_ec2_runtime.report.node_records.HEARTBEAT_TIMEOUT_S", self.silence_s),
        ):
            patch = mock.patch(what, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.addCleanup(self.kill_all)

    def bucket(self, access):
        directory = os.path.join(self.store, access["prefix"])
        os.makedirs(directory, exist_ok=True)
        return Store(directory)

    def prefix(self, rank):
        return PREFIX % self.run_id + ("node/%d/" % rank if rank else "")

    def instance(self, rank):
        return "i-%017x" % (rank + 1)

    def at(self, rank, count, script, /, **more):
        """Starts a node; its reply."""
        self.addCleanup(os.environ.pop, "AWS_SSM_INSTANCE_ID", None)
        self.addCleanup(os.environ.pop, "NX_EC2_LOCAL_INSTANCE", None)
        self.on(rank)
        plan = self.plan(
            SCRIPT + script,
            store={"access": "auto", "prefix": self.prefix(rank), "bucket": "b"},
            detached=True,
            node={"rank": rank, "count": count, **more.pop("node", {})},
            **dict(more, env=dict({"SHARED": self.shared}, **more.get("env", {}))),
        )
        plan["run"]["id"], plan["run"]["runKey"] = self.run_id, "of " + self.run_id
        root = os.path.join(self.top, "node-%d" % rank)
        os.makedirs(root, exist_ok=True)
        reply = main.run(plan, root)
        self.assertTrue(reply["ok"], reply)
        return reply

    def start_all(self, count, script, /, **more):
        for rank in range(count):
            self.at(rank, count, script, **more)

    def on(self, rank):
        """Commands are on this node from here on. What a node leaves is told from another's as on
        local AWS, where all share a machine.
        """
        self.rank = rank
        for name in ("AWS_SSM_INSTANCE_ID", "NX_EC2_LOCAL_INSTANCE"):
            os.environ[name] = self.instance(rank)

    def run_dir(self, rank):
        return runs.directory(os.path.join(self.top, "node-%d" % rank), self.run_id)

    def state(self, rank):
        self.on(rank)
        return runs.state(os.path.join(self.top, "node-%d" % rank), self.run_id)

    def log(self, rank):
        with open(os.path.join(self.run_dir(rank), "log"), "rb") as file:
            return file.read().decode()

    def stored(self, rank):
        """The node's record in the store; None where there is none."""
        try:
            with open(os.path.join(self.store, self.prefix(rank), "record.json"), "rb") as file:
                return unsigned(file.read())
        except FileNotFoundError:
            return None

    def raw(self, rank):
        """The node's record in the store as it lies there."""
        with open(os.path.join(self.store, self.prefix(rank), "record.json"), "rb") as file:
            return file.read()

    def done(self, name):
        """What scripts wait for by `when`."""
        with open(os.path.join(self.shared, name), "w"):
            pass

    def wait(self, holds, seconds=60):
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                self.fail("it did not come to that:\n" + self.told())
            time.sleep(0.05)

    def told(self):
        """What all nodes say, for a test that fails."""
        found = []
        for rank in range(8):
            if os.path.exists(os.path.join(self.run_dir(rank), "run.json")):
                shown = ("state", "outcome", "exitCode", "stop", "failure", "attempt", "node")
                state = self.state(rank)
                found.append(json.dumps({name: state[name] for name in shown}))
                found.append(self.log(rank))
                crash = os.path.join(self.run_dir(rank), "crash.log")
                if os.path.exists(crash):
                    with open(crash) as file:
                        found.append(file.read())
        return "\n".join(found)

    def ends(self, count, ranks=None):
        """The states of all nodes, or of these, when they have ended and the store knows."""
        ranks = range(count) if ranks is None else ranks
        self.wait(lambda: all((self.stored(rank) or {}).get("state") == "ended" for rank in ranks))
        return [self.state(rank) for rank in ranks]

    def outcomes(self, states):
        return [state["outcome"] for state in states]

    def phase(self, rank):
        return ((self.stored(rank) or {}).get("node") or {}).get("phase")

    def kill(self, rank, reporter=False):
        """SIGKILL for a node's supervisor and training, and for its reporter: as the instance's
        end.
        """
        state = self.state(rank)
        run_dir = self.run_dir(rank)
        victims = [state["supervisor"]] + ([state["pid"]] if state["pid"] else [])
        if reporter:
            victims = self.reporters(run_dir) + victims
        for pid in victims:
            processes.send(pid, signal.SIGKILL)

    def reporters(self, run_dir):
        """The processes that hold the lock of the node's report."""
        inode = os.stat(os.path.join(run_dir, "report.lock")).st_ino
        found = []
        with open("/proc/locks") as file:
            lines = file.read().splitlines()
        for line in lines:
            words = line.split()
            if "->" not in words and words[5].endswith(":%d" % inode):
                found.append(int(words[4]))
        return found

    def kill_run(self, run_id):
        self.run_id = run_id
        self.kill_all()

    def kill_all(self):
        """Ends all that the test has started: supervisors and reporters, each of which may be about
        to start another, and then what they have started.
        """
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = self.users()
            if not found:
                break
            for pid in found:
                processes.send(pid, signal.SIGKILL)
            time.sleep(0.02)
        mark = "NX_EC2_RUN_ID=" + self.run_id
        process_group.Processes(lambda: processes.marked(mark)).end(1.0)

    def users(self):
        """Other processes that have a file of a node open. A fork has the files of its parent."""
        found = []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            directory = "/proc/%d/fd" % pid
            try:
                links = [
                    os.readlink(os.path.join(directory, name)) for name in os.listdir(directory)
                ]
            except OSError:
                # It has ended, or a file was closed: then the next look finds it.
                continue
            if pid != os.getpid() and any(each.startswith(self.top + "/node-") for each in links):
                found.append(pid)
        return found
