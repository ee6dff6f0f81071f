"""Runs on several nodes: they start together, and have one end."""

import base64
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torchrun
from directory_store import Store
from nodes import Nodes
from runs import KEY, part, signed

from nx_ec2_runtime import main
from nx_ec2_runtime.report import node_records, node_start, record_upload
from nx_ec2_runtime.report.node_records import NodeRecords
from nx_ec2_runtime.report.signed_record import SigningKey
from nx_ec2_runtime.run import node_group
from nx_ec2_runtime.run.first_node import FirstNode
from nx_ec2_runtime.run.supervised_run import Failed
from nx_ec2_runtime.run_dir import stop_request
from nx_ec2_runtime.sync import synchronizer
from nx_ec2_runtime.system.errors import Failure
from nx_ec2_runtime.system.wall_clock import now_ms


class NodesTest(Nodes):
    def test_all_start_when_all_are_ready_and_succeed_together(self):
        script = "each('started', 3)\nprint('rank', rank, flush=True)"
        self.at(0, 3, script)
        self.at(1, 3, script)
        self.wait(lambda: self.phase(0) == "ready" and self.phase(1) == "ready")
        self.assertEqual(
            [],
            [
                {key: node[key] for key in ("rank", "instance", "address")}
                for node in self.stored(0)["nodes"]
            ],
        )
        self.at(2, 3, script)
        states = self.ends(3)
        self.assertEqual(["succeeded"] * 3, self.outcomes(states), self.told())
        self.assertEqual([0] * 3, [state["exitCode"] for state in states])
        self.assertEqual(
            [
                {"rank": n, "instance": self.instance(n), "address": "127.0.0.%d" % (n + 1)}
                for n in range(3)
            ],
            [
                {key: node[key] for key in ("rank", "instance", "address")}
                for node in self.stored(0)["nodes"]
            ],
        )
        self.assertEqual([[], []], [self.stored(rank)["nodes"] for rank in (1, 2)])
        for rank in range(3):
            self.assertIn("rank %d" % rank, self.log(rank))

    def test_each_finds_the_nodes_in_its_environment(self):
        names = [
            *("NX_EC2_NODE_RANK", "NX_EC2_NUM_NODES", "NX_EC2_NODE_IPS"),
            *("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "SM_HOSTS", "SM_CURRENT_HOST"),
            *("PET_NNODES", "PET_NODE_RANK", "PET_RDZV_ENDPOINT", "PET_LOCAL_ADDR"),
        ]
        self.start_all(2, "print('found', json.dumps([os.environ.get(n) for n in %r]))" % names)
        self.assertEqual(["succeeded"] * 2, self.outcomes(self.ends(2)), self.told())
        ports = self.stored(0)["rendezvous"]
        for rank in range(2):
            line = next(line for line in self.log(rank).splitlines() if line.startswith("found "))
            self.assertEqual(
                [
                    *(str(rank), "2", "127.0.0.1\n127.0.0.2"),
                    *("127.0.0.1", str(ports["masterPort"]), str(rank)),
                    *('["127.0.0.1", "127.0.0.2"]', "127.0.0.%d" % (rank + 1)),
                    *("2", str(rank), "127.0.0.1:%d" % ports["port"]),
                    "127.0.0.%d" % (rank + 1),
                ],
                json.loads(line[len("found ") :]),
            )

    def test_the_first_failure_of_a_node_is_that_of_the_run(self):
        self.start_all(
            3,
            "each('started', 3)\n"
            "if rank == 2:\n"
            "    print('no such batch')\n"
            "    sys.exit(7)\n"
            "signal.signal(15, lambda *_: sys.exit(9))\n"
            "time.sleep(600)",
        )
        states = self.ends(3)
        self.assertEqual(["failed"] * 3, self.outcomes(states), self.told())
        how = "node 2 of 3 (%s) failed first: it exited with 7" % self.instance(2)
        self.assertEqual(
            [{"code": "NODE_FAILED", "message": how, "exitCode": 7}] * 3,
            [state["failure"] for state in states],
        )
        self.assertEqual([7, 9, 7], [state["exitCode"] for state in states])
        self.assertEqual(
            {
                "rank": 2,
                "instance": self.instance(2),
                "exitCode": 7,
                "signal": None,
                "why": "exited",
            },
            self.stored(0)["failedNode"],
        )
        self.assertIn("nx-ec2: [node 2] no such batch", self.log(0))

    def test_a_failure_that_another_has_caused_is_not_shown(self):
        # Node 0 fails because of node 1, and says so before: it learns of node 1 later.
        self.start_all(
            2,
            "each('started', 2)\n"
            "if rank == 1:\n"
            "    done('failing')\n"
            "    os.kill(os.getpid(), 9)\n"
            "when('failing')\n"
            "time.sleep(0.5)\n"
            "sys.exit(1)",
        )
        states = self.ends(2)
        self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
        self.assertIn("node 1 of 2", states[0]["failure"]["message"])
        self.assertEqual((None, "SIGKILL"), (states[0]["exitCode"], states[0]["signal"]))

    def test_a_retryable_exit_of_any_node_starts_all_again(self):
        self.start_all(
            2,
            "each('started-%d' % attempt, 2)\n"
            "if rank == 1 and attempt == 1:\n"
            "    sys.exit(75)\n"
            "if attempt == 1:\n"
            "    time.sleep(600)\n"
            "print('attempt', attempt, sys.argv[1:])",
            retry={"exitCodes": [75], "attempts": 3},
            resumeArgs=["--resume"],
        )
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())
        for rank in range(2):
            self.assertIn("attempt 2 ['--resume']", self.log(rank))
            self.assertIsNone(states[rank]["failedNode"])
        attempts = self.stored(0)["attempts"]
        self.assertEqual([75, 0], [each["exitCode"] for each in attempts])
        self.assertEqual(
            ["node 1 of 2 (%s) exited with 75" % self.instance(1), None],
            [each["why"] for each in attempts],
        )

    def test_attempts_end_with_their_number(self):
        self.start_all(
            2,
            "each('started-%d' % attempt, 2)\nsys.exit(75 if rank == 1 else 0)",
            retry={"exitCodes": [75], "attempts": 2},
        )
        states = self.ends(2)
        self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
        self.assertEqual([2, 2], [state["attempt"] for state in states])
        self.assertEqual(75, states[0]["exitCode"])

    def test_the_run_has_not_succeeded_before_all_nodes_have(self):
        self.start_all(2, "if rank == 1:\n    when('may-end')\n    sys.exit(3)")
        self.wait(lambda: self.phase(0) == "exited")
        self.assertEqual(("running", None), (self.stored(0)["state"], self.stored(0)["outcome"]))
        self.done("may-end")
        states = self.ends(2)
        self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
        self.assertEqual(3, states[0]["exitCode"])

    def test_a_setup_that_fails_on_one_node_fails_on_all(self):
        for failing in (1, 0):
            with self.subTest(failing=failing):
                self.run_id = self.run_id[:-1] + "xy"[failing]
                for rank in range(2):
                    step = "exit 4" if rank == failing else "sleep 0.1"
                    self.at(rank, 2, "", setup=[["sh", "-c", step]])
                states = self.ends(2)
                self.assertEqual(["setup-failed"] * 2, self.outcomes(states), self.told())
                self.assertEqual(
                    ["SETUP_FAILED"] * 2, [state["failure"]["code"] for state in states]
                )
                other = states[1 - failing]["failure"]["message"]
                self.assertIn("node %d of 2 (%s): " % (failing, self.instance(failing)), other)
                self.assertEqual([None] * 2, [state["startedAt"] for state in states])

    def test_a_cancel_of_the_first_node_ends_all(self):
        self.start_all(3, "each('started', 3)\ntime.sleep(600)")
        self.wait(lambda: all(self.phase(rank) == "running" for rank in range(3)))
        cancel = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": 5}
        main.run(cancel, os.path.join(self.top, "node-0"))
        states = self.ends(3)
        self.assertEqual(["cancelled"] * 3, self.outcomes(states), self.told())

    def test_torchrun_has_the_ranks_of_the_nodes(self):
        torch = torchrun.write(os.path.join(self.top, "torch"))
        launcher = {"name": "torchrun", "processes": 2, "option": None}
        self.start_all(
            2,
            "names = ('NX_EC2_NODE_RANK', 'RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'TORCHELASTIC_RUN_ID')\n"
            "print(json.dumps([os.environ[name] for name in names]))",
            launcher=launcher,
            env={"PYTHONPATH": torch},
        )
        self.assertEqual(["succeeded"] * 2, self.outcomes(self.ends(2)), self.told())
        for node in range(2):
            for rank in (node * 2, node * 2 + 1):
                line = [str(node), str(rank), "4", "127.0.0.1", self.run_id + "-1"]
                self.assertIn(json.dumps(line), self.log(node))

    def test_the_process_that_failed_first_on_any_node_is_shown_with_its_code(self):
        torch = torchrun.write(os.path.join(self.top, "torch"))
        self.start_all(
            2,
            "each('started', 2) if os.environ['LOCAL_RANK'] == '0' else None\n"
            "if os.environ['RANK'] == '3':\n"
            "    when('started-0'), when('started-1')\n"
            "    print('too large')\n"
            "    sys.exit(9)\n"
            "time.sleep(600)",
            launcher={"name": "torchrun", "processes": 2, "option": None},
            env={"PYTHONPATH": torch},
        )
        states = self.ends(2)
        self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
        how = "node 1 of 2 (%s): rank 3 of 4 failed first" % self.instance(1)
        for state in states:
            self.assertEqual(
                ("RANK_FAILED", how), (state["failure"]["code"], state["failure"]["message"])
            )
        self.assertEqual(9, states[0]["exitCode"])
        self.assertIn("[node 1] too large", self.log(0))
        self.assertIn("rank 3 of 4 failed first on this node: it exited with 9.", self.log(1))

    def test_each_node_that_is_stopped_has_the_code_of_its_own_processes(self):
        torch = torchrun.write(os.path.join(self.top, "torch"))
        self.start_all(
            2,
            "signal.signal(15, lambda *_: sys.exit(0))\n"
            "done('rank-' + os.environ['RANK'])\n"
            "time.sleep(600)",
            launcher={"name": "torchrun", "processes": 2, "option": None},
            env={"PYTHONPATH": torch},
            gracePeriod=20,
        )
        started = [os.path.join(self.shared, "rank-%d" % rank) for rank in range(4)]
        self.wait(lambda: all(map(os.path.exists, started)))
        cancel = {"v": 1, "op": "cancel", "run": self.run_id, "gracePeriod": 20}
        main.run(cancel, os.path.join(self.top, "node-0"))
        states = self.ends(2)
        self.assertEqual(["cancelled"] * 2, self.outcomes(states), self.told())
        self.assertEqual([0, 0], [state["exitCode"] for state in states], self.told())

    def test_a_spot_notice_of_one_node_interrupts_all(self):
        self.start_all(3, "each('started', 3)\ntime.sleep(600)")
        self.wait(lambda: all(self.phase(rank) == "running" for rank in range(3)))
        stop_request.ask(self.run_dir(1), "interruption", 1)
        states = self.ends(3)
        self.assertEqual(["interrupted"] * 3, self.outcomes(states), self.told())
        self.assertEqual(["interruption"] * 3, [state["stop"]["reason"] for state in states])
        failed = self.stored(0)["failedNode"]
        self.assertEqual((1, "stopped"), (failed["rank"], failed["why"]))

    def test_a_node_that_ends_for_its_lifetime_ends_the_run_for_that(self):
        self.start_all(2, "each('started', 2)\ntime.sleep(600)")
        self.wait(lambda: all(self.phase(rank) == "running" for rank in range(2)))
        stop_request.ask(self.run_dir(1), "lifetime", 1)
        states = self.ends(2)
        self.assertEqual(["lifetime"] * 2, [state["stop"]["reason"] for state in states])

    def test_a_command_that_can_not_be_started_on_one_node_fails_all(self):
        for rank in range(2):
            command = ["/absent" if rank else "/bin/sleep", "600"]
            self.at(rank, 2, "", script=None, command=command)
        states = self.ends(2)
        self.assertEqual(["failed"] * 2, self.outcomes(states), self.told())
        self.assertEqual(["START_FAILED"] * 2, [state["failure"]["code"] for state in states])

    def test_a_run_needs_the_prefix_of_its_node_and_a_store(self):
        for code in ("NO_ROLE", "BAD_PLAN"):
            with self.subTest(code):
                self.on(1)
                plan = self.plan("", node={"rank": 1, "count": 2})
                store = {"access": "auto", "prefix": "v2/run/r/", "bucket": "b"}
                plan["run"]["store"] = store if code == "BAD_PLAN" else None
                reply = main.run(plan, os.path.join(self.top, code))
                self.assertEqual(code, reply["error"]["code"])


# Saves on the first node alone, and reads on all.
SAVE = """
path = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "last")
print("attempt", attempt, "reads", open(path).read() if os.path.exists(path) else None, sys.argv[1:])
each("started-%d" % attempt, 2)
if rank == 0:
    open(path + ".new", "w").write("of attempt %d" % attempt)
    os.rename(path + ".new", path)
    open(path + ".complete", "w").close()
"""


# Each node saves a file of its own name, and says which ones it finds.
SHARDS = """
count = int(os.environ["NX_EC2_NUM_NODES"])
base = os.environ["NX_EC2_CHECKPOINT_DIR"]
units = sorted(name for name in os.listdir(base) if os.path.isdir(os.path.join(base, name)))
last = os.listdir(os.path.join(base, units[-1])) if units else []
print("attempt %d of %d finds %s" % (attempt, count, " ".join(units[-1:] + sorted(last))))
each("started-%d" % attempt, count)
unit = os.path.join(base, "step-%d" % attempt)
os.makedirs(unit)
open(os.path.join(unit, "shard-%d" % rank), "w").close()
open(unit + ".complete", "w").close()
"""


RETRY = {"exitCodes": [75], "attempts": 2}
# Each node saves two checkpoints, of the same names and with a content of its own.
TWICE = """
base = os.environ["NX_EC2_CHECKPOINT_DIR"]
def save(name):
    with open(os.path.join(base, name), "w") as file:
        file.write("%s of node %d" % (name, rank))
    open(os.path.join(base, name + ".complete"), "w").close()
def found():
    return sorted(name for name in os.listdir(base) if not name.endswith(".complete"))
print("attempt %d finds %s" % (attempt, found()[-1:]))
each("started-%d" % attempt, 2)
if attempt == 1:
    save("step-1")
    when("may-save")
    save("step-2")
"""


class OldRecords(Store):
    """Each process of the second node that reads the first one's record gets an old one, and the
    newest, by turns.
    """

    counts = {}

    def read(self, name, limit=None, cut=False):
        found = super().read(name, limit, cut)
        old = self._object("old")
        if name != "record.json" or not old or os.environ["AWS_SSM_INSTANCE_ID"][-1] != "2":
            return found
        count = self.counts[os.getpid()] = self.counts.get(os.getpid(), 0) + 1
        return old if count % 2 else found


class LateNodesTest(unittest.TestCase):
    def test_nodes_that_begin_one_after_another_are_waited_for(self):
        group = FirstNode.__new__(FirstNode)
        group.run = mock.Mock(spec_set=("spec", "record"), record={"attempt": 1})
        group.run.spec = {"node": {"rank": 0, "count": 3}}
        group.view, group.begun, group.present = mock.Mock(), 0.0, 0
        begun, absent = mock.Mock(record={}), mock.Mock(record=None, read=1.0, shown=None)
        absent.configure_mock(name="node 2 of 3")
        for now, peers in ((100, [absent] * 2), (190, [begun, absent]), (290, [begun, absent])):
            self.look(group, now, peers)
        with self.assertRaises(Failed) as caught:
            self.look(group, 311, [begun, absent])
        self.assertIn("node 2 of 3 was not started", caught.exception.data["message"])
        # One that still gets its files gives the others as much time as one that has begun.
        absent.shown = 300.0
        self.look(group, 411, [begun, absent])
        with self.assertRaises(Failed):
            self.look(group, 421, [begun, absent])
        # 190 s without any is no progress.
        absent.shown = None
        group.begun, group.present = 0.0, 0
        with self.assertRaises(Failed):
            self.look(group, 190, [absent] * 2)

    def look(self, group, now, peers):
        group.view.peers.return_value = peers
        with mock.patch("nx_ec2_runtime.run.node_group.time.monotonic", lambda: now):
            group.raise_if_missing()


class CheckpointTest(Nodes):
    def test_each_attempt_finds_the_newest_checkpoint_of_the_first_node_on_all(self):
        self.start_all(
            2,
            SAVE + "sys.exit(75 if attempt < 3 else 0)",
            retry={"exitCodes": [75], "attempts": 3},
            resumeArgs=["--resume"],
        )
        self.assertEqual(["succeeded"] * 2, self.outcomes(self.ends(2)), self.told())
        for rank in range(2):
            log = self.log(rank)
            self.assertIn("attempt 1 reads None []", log)
            self.assertIn("attempt 2 reads of attempt 1 ['--resume']", log)
            self.assertIn("attempt 3 reads of attempt 2 ['--resume']", log)
        self.assertEqual([], self.stored(1)["checkpoints"])
        self.assertEqual(3, len(self.stored(0)["checkpoints"]))

    def test_a_run_continues_on_other_instances_from_the_checkpoint_of_its_first_node(self):
        self.start_all(2, SAVE + "time.sleep(600)", resumeArgs=["--resume"])
        self.wait(lambda: (self.stored(0) or {}).get("checkpoints"))
        stop_request.ask(self.run_dir(1), "interruption", 1)
        self.assertEqual(["interrupted"] * 2, self.outcomes(self.ends(2)), self.told())
        self.top = os.path.join(self.root, "later")
        for rank in range(2):
            heartbeat = self.stored(rank)["heartbeat"]
            self.at(
                rank,
                2,
                SAVE,
                resumeArgs=["--resume"],
                nextAttempt={"attempt": 2, "heartbeat": heartbeat},
            )
        self.wait(lambda: all(self.stored(rank)["outcome"] == "succeeded" for rank in range(2)))
        for rank in range(2):
            self.assertIn("attempt 2 reads of attempt 1 ['--resume']", self.log(rank))

    def test_a_run_continues_on_fewer_nodes_and_on_more(self):
        self.start_all(3, SHARDS + "time.sleep(600)")
        for attempt, count in ((1, 3), (2, 2), (3, 3)):
            with self.subTest(attempt=attempt):
                if attempt > 1:
                    self._continue(attempt, count)
                self._interrupt(attempt, count)
        finds = "attempt 2 of 2 finds step-1 shard-0 shard-1 shard-2\n"
        found = "attempt 3 of 3 finds step-2 shard-0 shard-1\n"
        self.assertIn(finds + "nx-ec2", self.log(0))
        for rank in range(3):
            self.assertIn(found, self.log(rank))
        self.assertEqual([3, 2, 3], [each["nodes"] for each in self.stored(0)["attempts"]])

    def test_all_resume_from_what_the_first_node_has_chosen_whatever_lies_in_the_store(self):
        self.start_all(2, TWICE + "sys.exit(75 if attempt == 1 else 0)", retry=RETRY)
        self._wait_for_checkpoints(1)
        self.bucket({"prefix": self.prefix(0)}).overwrite("old", self.raw(0))
        self.done("may-save")
        self.assertEqual(["succeeded"] * 2, self.outcomes(self.ends(2)), self.told())
        for rank in range(2):
            self.assertIn("attempt 2 finds ['step-2']", self.log(rank))
        chosen = self.stored(0)["nodeCheckpoints"]
        self.assertEqual([(0, 2), (1, 2)], [(each["rank"], each["n"]) for each in chosen])

    def bucket(self, access):
        found = super().bucket(access)
        return OldRecords(found.directory) if access["prefix"] == self.prefix(0) else found

    def test_a_node_does_not_resume_from_what_others_do_not_have(self):
        script = TWICE.replace("attempt == 1", "attempt == 1 and rank == 1")
        self.start_all(2, script + "sys.exit(75 if attempt == 1 else 0)", retry=RETRY)
        self.done("may-save")
        self.assertEqual(["succeeded"] * 2, self.outcomes(self.ends(2)), self.told())
        for rank in range(2):
            self.assertIn("attempt 2 finds []", self.log(rank))
        self.assertIsNone(self.stored(1)["restoredFrom"])

    def test_no_node_resumes_from_an_older_one_because_its_newest_is_damaged(self):
        self.start_all(2, TWICE + "time.sleep(600)")
        self._wait_for_checkpoints(1)
        self.done("may-save")
        self._wait_for_checkpoints(2)
        stop_request.ask(self.run_dir(1), "interruption", 1)
        self.assertEqual(["interrupted"] * 2, self.outcomes(self.ends(2)), self.told())
        sha256 = hashlib.sha256(b"step-2 of node 1").hexdigest()
        self.bucket({"prefix": self.prefix(1)}).overwrite("part/" + sha256, b"damaged")
        self._continue(2, 2, TWICE)
        self.wait(lambda: all(self.stored(rank)["attempt"] == 2 for rank in range(2)))
        states = self.ends(2)
        self.assertEqual(["RESTORE_FAILED"] * 2, [state["failure"]["code"] for state in states])

    def _wait_for_checkpoints(self, count):
        self.wait(
            lambda: all(
                len((self.stored(rank) or {}).get("checkpoints", [])) == count for rank in range(2)
            )
        )

    def _continue(self, attempt, count, script=SHARDS + "time.sleep(600)"):
        self.top = os.path.join(self.root, "attempt-%d" % attempt)
        for rank in range(count):
            following = {"attempt": attempt, "heartbeat": self.stored(rank)["heartbeat"]}
            self.at(rank, count, script, nextAttempt=following)

    def _interrupt(self, attempt, count):
        def has_saved(rank):
            saved = (self.stored(rank) or {}).get("checkpoints") or [{"attempt": 0}]
            return saved[-1]["attempt"] == attempt

        self.wait(lambda: all(map(has_saved, range(count))))
        stop_request.ask(self.run_dir(1), "interruption", 1)
        self.assertEqual(["interrupted"] * count, self.outcomes(self.ends(count)), self.told())

    def test_a_node_that_had_not_begun_before_joins_the_next_attempt(self):
        self.at(0, 2, SAVE)
        self.wait(lambda: self.phase(0) == "ready")
        stop_request.ask(self.run_dir(0), "interruption", 1)
        self.assertEqual(["interrupted"], self.outcomes(self.ends(2, [0])))
        self.top = os.path.join(self.root, "later")
        for rank in range(2):
            self.at(rank, 2, SAVE, nextAttempt={"attempt": 2, "heartbeat": 0})
        self.wait(
            lambda: all(
                (self.stored(rank) or {}).get("outcome") == "succeeded" for rank in range(2)
            )
        )
        self.assertEqual([2, 2], [self.stored(rank)["attempt"] for rank in range(2)])


class SilenceTest(Nodes):
    """Instances that vanish: nothing of them is left that could say so."""

    silence_s = 5.0

    def assert_interrupted(self, rank, count, ranks):
        states = self.ends(count, ranks)
        self.assertEqual(["interrupted"] * len(ranks), self.outcomes(states), self.told())
        for state in states:
            failed = state["failedNode"]
            self.assertEqual(
                (rank, self.instance(rank), "lost"),
                (failed["rank"], failed["instance"], failed["why"]),
            )

    def test_a_node_whose_supervisor_is_killed_is_lost_in_each_phase(self):
        scripts = {
            "preparing": "",
            "ready": "",
            "running": "each('started', 3)\ntime.sleep(600)",
            "exited": "sys.exit(0) if rank == 1 else time.sleep(600)",
        }
        for number, (phase, script) in enumerate(scripts.items()):
            with self.subTest(phase):
                self.run_id = self.run_id[:-1] + "abcd"[number]
                for rank in range(3):
                    late = phase == "ready" and rank == 2 or phase == "preparing" and rank == 1
                    setup = [["sleep", "600"]] if late else []
                    self.at(rank, 3, script, setup=setup)
                self.wait(lambda: self.phase(1) == phase and self.stored(1)["state"] != "preparing")
                self.kill(1)
                self.assert_interrupted(1, 3, [0, 2])
                self.assertEqual("lost", self.stored(1)["outcome"])

    def test_an_instance_that_vanishes_is_lost(self):
        self.start_all(3, "each('started', 3)\ntime.sleep(600)")
        self.wait(lambda: all(self.phase(rank) == "running" for rank in range(3)))
        self.kill(2, reporter=True)
        self.assert_interrupted(2, 3, [0, 1])

    def test_the_others_end_when_the_first_is_lost(self):
        for reporter in (False, True):
            with self.subTest(reporter=reporter):
                self.run_id = self.run_id[:-1] + "xy"[reporter]
                self.start_all(3, "time.sleep(600)")
                self.wait(lambda: all(self.phase(rank) == "running" for rank in range(3)))
                self.kill(0, reporter=reporter)
                self.assert_interrupted(0, 3, [1, 2])

    def test_the_others_end_when_the_first_is_lost_before_the_training(self):
        for number, phase in enumerate(("preparing", "ready")):
            with self.subTest(phase):
                self.run_id = self.run_id[:-1] + "uv"[number]
                for rank in range(2):
                    late = (phase == "preparing") == (rank == 0)
                    self.at(rank, 2, "", setup=[["sleep", "600"]] if late else [])
                self.wait(lambda: self.phase(0) == phase and self.stored(0)["state"] == "setup")
                self.wait(lambda: self.phase(1))
                self.kill(0)
                self.assert_interrupted(0, 2, [1])

    def hold_artifacts(self, rank):
        """Lets no list of artifacts of a node into the store until the file is removed."""
        path = os.path.join(self.store, "held-%d" % rank)
        open(path, "w").close()
        put, prefix = Store.put, self.prefix(rank).rstrip("/")

        def held(store, name, *args, **more):
            is_own = store.directory.rstrip("/").endswith(prefix)
            while name == "artifacts.json" and is_own and os.path.exists(path):
                time.sleep(0.05)
            return put(store, name, *args, **more)

        patch = mock.patch.object(Store, "put", held)
        patch.start()
        self.addCleanup(patch.stop)
        return path

    SAVED = "open('artifacts/%d' % rank, 'w').write('made')"

    def test_the_run_has_ended_when_all_nodes_have_saved_what_they_wrote(self):
        held = self.hold_artifacts(2)
        self.start_all(3, self.SAVED)
        self.wait(lambda: self.stored(1) and self.stored(1)["state"] == "ended")
        self.wait(lambda: (self.stored(0)["artifacts"] or {}).get("state") == "saved")
        self.assertEqual(("saving", "succeeded"), self.ended(0))
        os.unlink(held)
        states = self.ends(3)
        self.assertEqual(["succeeded"] * 3, self.outcomes(states), self.told())
        nodes = self.stored(0)["nodes"]
        versions = [node.get("heartbeat") for node in nodes[1:]]
        self.assertEqual([self.stored(rank)["heartbeat"] for rank in (1, 2)], versions)

    def ended(self, rank):
        stored = self.stored(rank)
        return stored["state"], stored["outcome"]

    def test_a_node_that_is_lost_while_it_saves_interrupts_the_run(self):
        held = self.hold_artifacts(1)
        self.start_all(3, self.SAVED)
        self.wait(lambda: self.stored(2) and self.ended(2) == ("ended", "succeeded"))
        self.wait(lambda: self.ended(1) == ("saving", "succeeded"))
        self.kill(1, reporter=True)
        self.assert_interrupted(1, 3, [0])
        self.assertEqual(self.stored(0)["stop"]["reason"], "interruption")
        # The nodes that had saved everything take part in the next attempt as well.
        os.unlink(held)
        self.top = os.path.join(self.root, "later")
        with mock.patch("nx_ec2_runtime.run.take_over.LEASE_S", 1):
            for rank in range(3):
                heartbeat = self.stored(rank)["heartbeat"]
                again = {"attempt": 2, "heartbeat": heartbeat}
                self.at(rank, 3, self.SAVED, nextAttempt=again)
        self.wait(lambda: all(self.stored(rank)["attempt"] == 2 for rank in range(3)))
        self.assertEqual(["succeeded"] * 3, self.outcomes(self.ends(3)), self.told())

    def test_the_first_lost_while_others_wait_for_its_word_makes_no_success(self):
        self.start_all(2, "sys.exit(0) if rank == 1 else time.sleep(600)")
        self.wait(lambda: self.phase(1) == "exited")
        self.kill(0, reporter=True)
        self.assert_interrupted(0, 2, [1])


class TimeoutTest(unittest.TestCase):
    def test_a_node_is_found_lost_before_the_end_of_its_training_is_overdue(self):
        found_s = (
            node_records.HEARTBEAT_TIMEOUT_S
            + node_records.RUNNING_POLL_S
            + record_upload.HEARTBEAT_INTERVAL_S
        )
        self.assertGreater(node_group.END_TIMEOUT_S, found_s)


class MissingTest(Nodes):
    missing_s = 3.0

    def test_a_node_that_is_never_started_fails_the_run(self):
        for rank in (0, 2):
            self.at(rank, 3, "")
        states = self.ends(3, [0, 2])
        self.assertEqual(["setup-failed"] * 2, self.outcomes(states), self.told())
        self.assertEqual(["NODES_MISSING"] * 2, [state["failure"]["code"] for state in states])
        self.assertIn("node 1 of 3 was not started", states[0]["failure"]["message"])
        self.assertEqual(
            (1, None), (states[0]["failedNode"]["rank"], states[0]["failedNode"]["instance"])
        )

    def slow_sync(self, seconds):
        """Makes the next syncs take this long."""
        apply = synchronizer.apply

        def slowly(*args, **more):
            time.sleep(seconds)
            return apply(*args, **more)

        patch = mock.patch("nx_ec2_runtime.sync.synchronizer.apply", slowly)
        patch.start()
        self.addCleanup(patch.stop)

    def test_a_node_that_still_gets_its_files_is_waited_for(self):
        self.at(0, 2, "each('trains', 2)")
        self.slow_sync(3 * self.missing_s)
        self.at(1, 2, "each('trains', 2)")
        states = self.ends(2)
        self.assertEqual(["succeeded"] * 2, self.outcomes(states), self.told())

    def test_a_node_that_ends_while_it_gets_its_files_is_missing(self):
        self.at(0, 2, "")
        bucket = self.bucket({"prefix": self.prefix(1)})
        key = SigningKey({"signingKey": KEY, "id": self.run_id, "node": {"rank": 1}})
        began = time.monotonic()
        at = now_ms()
        while time.monotonic() < began + 2 * self.missing_s:
            bucket.overwrite("starting.json", node_start.sign(key, at))
            at += 1
            time.sleep(0.1)
        self.assertNotEqual("ended", self.state(0)["state"], self.told())
        # What was there before, or another program writes, says nothing.
        forged = SigningKey({"signingKey": "A" * 43 + "=", "id": self.run_id})
        others = [node_start.sign(key, at - 5), node_start.sign(forged, at + 10**6)]
        others += [node_start.sign(key.of_node(2), at + 10**6), b"{}", b"x" * 5000, b'{"at":true}']
        deadline = time.monotonic() + 60
        while self.state(0)["state"] != "ended":
            self.assertLess(time.monotonic(), deadline, self.told())
            for other in others:
                bucket.overwrite("starting.json", other)
                time.sleep(0.05)
        self.assertEqual("NODES_MISSING", self.state(0)["failure"]["code"])

    def test_a_node_without_the_first_one_fails(self):
        self.at(1, 2, "")
        [state] = self.ends(2, [1])
        self.assertEqual(
            ("setup-failed", "NODES_MISSING"), (state["outcome"], state["failure"]["code"])
        )
        self.assertIn("node 0 of 2 was not started", state["failure"]["message"])


class ForgedTest(Nodes):
    """Whoever writes to the bucket can make a run fail, and never make it succeed."""

    silence_s = 5.0

    def overwrite(self, rank, data):
        self.bucket({"prefix": self.prefix(rank)}).overwrite("record.json", data)

    def test_the_record_of_one_node_is_not_another_s(self):
        # Node 1 has ended with 0, node 2 runs: its record is node 1's from here on.
        self.start_all(3, "sys.exit(0) if rank < 2 else when('may-end') or sys.exit(3)")
        self.wait(lambda: self.phase(1) == "exited" and self.phase(2) == "running")
        self.kill(2, reporter=True)
        last = self.stored(2)["heartbeat"]
        self.wait(lambda: self.stored(1)["heartbeat"] > last + 2)
        self.overwrite(2, self.raw(1))
        states = self.ends(3, [0, 1])
        self.assertEqual(["interrupted"] * 2, self.outcomes(states), self.told())

    def test_a_forged_success_of_the_first_node_is_not_believed(self):
        self.start_all(2, "sys.exit(0) if rank == 1 else when('may-end') or sys.exit(3)")
        self.wait(lambda: self.phase(1) == "exited")
        genuine = self.stored(0)
        forged = dict(
            genuine,
            state="ended",
            outcome="succeeded",
            exitCode=0,
            heartbeat=genuine["heartbeat"] + 100,
        )
        key = base64.b64encode(bytes(32)).decode()
        for _ in range(20):
            self.overwrite(0, signed(forged, self.run_id, key))
            time.sleep(0.05)
        self.assertIsNone(self.state(1)["outcome"])
        self.done("may-end")
        self.assertEqual(["failed"] * 2, self.outcomes(self.ends(2)), self.told())

    def test_an_old_record_that_is_put_back_is_no_sign_of_life(self):
        self.start_all(2, "time.sleep(600)")
        self.wait(lambda: all(self.phase(rank) == "running" for rank in range(2)))
        old = self.raw(1)
        time.sleep(1)
        self.kill(1, reporter=True)
        deadline = time.monotonic() + 60
        while (self.stored(0) or {}).get("state") != "ended" and time.monotonic() < deadline:
            self.overwrite(1, old)
            time.sleep(0.1)
        self.assertEqual("interrupted", self.state(0)["outcome"], self.told())


class RecordsTest(unittest.TestCase):
    """What a node reads of the others, by a clock of our own."""

    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.now, self.store = 100.0, Store(self.root)
        patch = mock.patch("nx_ec2_runtime.aws.bucket.role_bucket", lambda access: self.store)
        patch.start()
        self.addCleanup(patch.stop)
        os.makedirs(os.path.join(self.root, "home"))
        self.count = 3
        self.read = self.reader()

    def reader(self):
        spec = part(
            "r",
            node={"rank": 0, "count": self.count},
            store={"access": "role", "prefix": "run/r/", "bucket": "b"},
        )
        return NodeRecords(os.path.join(self.root, "home"), spec, clock=lambda: self.now)

    def record(self, rank, heartbeat=1, **more):
        node = {"rank": rank, "count": self.count, "phase": "exited", "exitCode": 0}
        return dict(
            {"v": 1, "id": "r", "runKey": "r", "attempt": 1, "heartbeat": heartbeat, "node": node},
            instance="i-%d" % rank,
            **more,
        )

    def put(self, rank, record, key=KEY, name=None):
        data = signed(record, "r/node/%d" % rank if name is None else name, key)
        self.store.overwrite("node/%d/record.json" % rank, data)

    def look(self, seconds=1.0):
        """What is known of node 1 after another look."""
        self.now += seconds
        self.read.look()
        with open(os.path.join(self.root, "home", "nodes.json")) as file:
            return json.load(file)["nodes"]["1"]

    def test_only_what_the_node_has_signed_is_believed(self):
        self.assertIsNone(self.look()["record"])
        for case in (
            lambda: self.put(1, self.record(2), name="r/node/2"),
            lambda: self.put(1, self.record(1), name="r"),
            lambda: self.put(1, self.record(1), name="r/node/2"),
            lambda: self.put(1, self.record(2)),
            lambda: self.put(1, self.record(1, id="s")),
            lambda: self.put(1, self.record(1, runKey="s")),
            lambda: self.put(1, self.record(1), key=base64.b64encode(bytes(32)).decode()),
            lambda: self.store.overwrite("node/1/record.json", b"{}"),
            lambda: self.store.overwrite("node/1/record.json", b""),
        ):
            case()
            self.assertIsNone(self.look()["record"])
        self.put(1, self.record(1))
        self.assertEqual(0, self.look()["record"]["node"]["exitCode"])

    def test_a_version_that_was_seen_makes_older_ones_no_sign_of_life(self):
        self.put(1, self.record(1, 7))
        self.assertEqual(0, self.look()["silent"])
        self.put(1, self.record(1, 6))
        found = self.look()
        self.assertEqual((7, 1.0), (found["record"]["heartbeat"], found["silent"]))
        # Nor after a restart of the reporter.
        self.read = self.reader()
        self.assertEqual(7, self.look()["record"]["heartbeat"])
        self.put(1, self.record(1, 8))
        self.assertEqual((8, 0), (self.look()["record"]["heartbeat"], self.look()["silent"] - 1))

    def test_silence_is_counted_by_reads_that_have_succeeded(self):
        self.put(1, self.record(1))
        self.look()
        self.assertEqual(4.0, self.look(4.0)["silent"])
        refused = mock.patch.object(Store, "read", side_effect=Failure("FETCH_FAILED", "no answer"))
        with refused:
            for _ in range(100):
                found = self.look(10.0)
            self.assertEqual((4.0, "no answer"), (found["silent"], found["problem"]))
        # What may have been written meanwhile is not known: this counts as one look.
        found = self.look(1.0)
        self.assertEqual((9.0, None), (found["silent"], found["problem"]))

    def test_many_records_are_read_at_once(self):
        self.count = 65
        self.read = self.reader()
        # Each read waits until as many as are allowed have begun.
        together = threading.Barrier(node_records.READERS)

        def read(store, *args, **more):
            together.wait(60)
            return before(store, *args, **more)

        before = Store.read
        for rank in range(1, 65):
            self.put(rank, self.record(rank))
        with mock.patch.object(Store, "read", read), mock.patch.object(
            node_records, "ROUND_TIMEOUT_S", 120.0
        ):
            self.look()
        self.assertEqual(64, sum(bool(each["record"]) for each in self.read.entries.values()))

    def test_one_that_is_slow_holds_up_no_other(self):
        answer, asked = threading.Event(), []
        self.addCleanup(answer.set)
        before = Store.read

        def read(store, name, *args, **more):
            asked.append(name)
            if name.startswith("node/1/"):
                answer.wait(60)
            return before(store, name, *args, **more)

        with mock.patch.object(Store, "read", read), mock.patch.object(
            node_records, "ROUND_TIMEOUT_S", 0.05
        ):
            self.put(1, self.record(1))
            self.put(2, self.record(2))
            while not self.read.entries["2"]["record"]:
                self.assertIsNone(self.look()["record"])
            self.put(2, self.record(2, 2))
            while self.read.entries["2"]["record"]["heartbeat"] == 1:
                self.assertIsNone(self.look()["record"])
            self.assertEqual(1, asked.count("node/1/record.json"))
            answer.set()
            while not self.look()["record"]:
                pass


if __name__ == "__main__":
    unittest.main()
