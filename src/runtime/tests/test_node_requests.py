"""What a run on several nodes asks of the store, by the real reporter and the real reads of other
nodes' records, in virtual time; and what that costs.
"""

import collections
import fcntl
import os
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from directory_store import Store
from runs import Trainings, part, signed

from nx_ec2_runtime.report import node_records, reporter
from nx_ec2_runtime.report.node_records import NodeRecords
from nx_ec2_runtime.run_dir.node_path import node_path
from nx_ec2_runtime.system import atomic_files

# USD for 1,000 requests: S3 Standard in most regions.
PUT_USD, GET_USD = 0.005, 0.0004
HOUR_S = 3600
EARLY_S = 600
# Virtual seconds of the measurements.
MEASURED_S, READ_S = 300, 60


class Elapsed(Exception):
    """The virtual time is over."""


class Counted(Store):
    """Counts writes by what they write: record, log, metrics, times."""

    def __init__(self, directory):
        super().__init__(directory)
        self.counts = collections.Counter()

    def put(self, name, *args, **more):
        self.counts[name.partition("/")[0].partition(".")[0]] += 1
        return super().put(name, *args, **more)


class RequestsTest(Trainings):
    def setUp(self):
        super().setUp()
        self.now = 1000.0

    def sleep(self, until_s):
        def sleep(seconds):
            self.now += seconds
            if self.now >= until_s:
                raise Elapsed

        return sleep

    def puts(self):
        """How many objects one node writes in an hour whose training prints a line a second, by
        what they are, in the long run.
        """
        state, _ = self.train("print('begun')")
        home = state["directory"]
        path = os.path.join(home, "run.json")
        run = atomic_files.read_json(path)
        run.update(state="running", outcome=None, exitCode=None, endedAt=None)
        atomic_files.write_json(path, run)
        lock = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        store = Counted(tempfile.mkdtemp(dir=self.root))
        begin = self.now
        sleep = self.sleep(begin + EARLY_S + MEASURED_S)
        measured = collections.Counter()

        def tick(seconds):
            if int(self.now + seconds) > int(self.now):
                with open(os.path.join(home, "log"), "ab") as log:
                    log.write(b"step %d | loss 0.5\n" % self.now)
            if self.now < begin + EARLY_S + 1:
                measured.clear()
                measured.subtract(store.counts)
            sleep(seconds)

        with mock.patch("nx_ec2_runtime.aws.bucket.open_bucket", lambda _: store), mock.patch(
            "nx_ec2_runtime.report.spot_notice.watch", lambda *_: None
        ), mock.patch.object(reporter, "TICK_S", 0.5), mock.patch.object(
            reporter.time, "monotonic", lambda: self.now
        ), mock.patch.object(reporter.time, "sleep", tick):
            with self.assertRaises(Elapsed):
                reporter.Reporter(home).run()
        measured.update(store.counts)
        return {name: each * HOUR_S / MEASURED_S for name, each in measured.items() if each}

    def gets(self, rank, count):
        """How many records a node of so many reads in an hour while they train."""
        root = tempfile.mkdtemp(dir=self.root)
        home = os.path.join(root, "home")
        os.makedirs(home)
        atomic_files.write_json(os.path.join(home, "run.json"), {"node": {"phase": "running"}})
        store = {"access": "role", "prefix": "run/r/" + node_path(rank), "bucket": "b"}
        spec = part("r", node={"rank": rank, "count": count}, store=store)
        found = {}
        for each in range(count):
            node = {"rank": each, "count": count, "phase": "running"}
            record = {"v": 1, "id": "r", "runKey": "r", "attempt": 1, "heartbeat": 1, "node": node}
            record["instance"] = "i-%d" % each
            found[node_path(each) + "record.json"] = signed(
                record, "r/node/%d" % each if each else "r"
            )
        asked = []

        class Records:
            def read(self, name, limit, cut):
                asked.append(name)
                return mock.Mock(data=found[name])

        with mock.patch("nx_ec2_runtime.aws.bucket.role_bucket", lambda _: Records()):
            with mock.patch.object(node_records.time, "sleep", self.sleep(self.now + READ_S)):
                with self.assertRaises(Elapsed):
                    NodeRecords(home, spec, clock=lambda: self.now).run()
        return len(asked) * HOUR_S / READ_S

    def test_requests_grow_with_the_number_of_nodes_and_cost_little(self):
        puts = self.puts()
        # Heartbeats; metrics, every 10 s; the log, every 3 s in the long run.
        self.assertEqual({"record", "log", "metrics", "times"}, set(puts))
        of_node = sum(puts.values())
        self.assertLess(of_node, 3000, puts)
        lines = ["writes of a node in an hour: %s" % puts]
        for count in (16, 64, 1000):
            first, second, third = (self.gets(rank, count) for rank in range(3))
            reads = first + second + (count - 2) * third
            writes = count * of_node
            # The first reads all others; each other one the first, and the one before it.
            self.assertEqual(
                ((count - 1) + 1 + 2 * (count - 2)) * HOUR_S / node_records.RUNNING_POLL_S, reads
            )
            usd = (writes * PUT_USD + reads * GET_USD) / 1000
            lines.append(
                "%4d nodes: %.1f PUT/s, %.1f GET/s, $%.2f an hour, $%.4f a node"
                % (count, writes / HOUR_S, reads / HOUR_S, usd, usd / count)
            )
            self.assertLess(usd / count, 0.02, lines)
            # S3 takes 3,500 PUT and 5,500 GET a second for a prefix.
            self.assertLess(writes / HOUR_S, 3500)
            self.assertLess(reads / HOUR_S, 5500)
        if os.environ.get("NX_EC2_SHOW_REQUESTS"):
            print("\n".join(["", *lines]))


if __name__ == "__main__":
    unittest.main()
