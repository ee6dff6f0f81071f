"""A run with a fleet: if a process is killed at any step, the next one completes the run."""

import base64
import json
import os
import shutil
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import s3_server
from runs import KEY, part, signed, unsigned

from nx_ec2_runtime.aws.metadata import Absent
from nx_ec2_runtime.fleet import decision, fleet_run, own_fleet, start_attempt
from nx_ec2_runtime.report.signed_record import SigningKey
from nx_ec2_runtime.system import atomic_files
from nx_ec2_runtime.system.errors import Failure

RUN = "20260101-000000-p-aaaaaa"
ACCESS = {
    "access": "role",
    "bucket": "b",
    "region": "eu-west-1",
    "endpoint": None,
    "pathStyle": False,
    "owner": None,
    "kms": None,
    "prefix": "v2/projects/p/run/%s/" % RUN,
    "post": None,
    "expires": None,
}
BOOT = {
    "v": 1,
    "runtime": "0" * 64,
    "root": None,
    "user": None,
    "tree": "t",
    "snapshot": "1" * 64,
    "limits": {"entries": 1, "bytes": 1},
    "fleet": {"region": "eu-west-1", "endpoint": None, "template": "nx-ec2-" + RUN},
    "run": part(RUN, store=ACCESS, detached=True),
}
CONFIG = {"finish": {"success": 0, "failure": 1800}}


class Killed(BaseException):
    pass


class World:
    """The store and EC2; whoever does its n-th thing to them is killed before it, or after it has
    been done.
    """

    def __init__(self):
        self.objects, self.template, self.fleet, self.terminated, self.denied, self.absent = (
            {},
            True,
            True,
            False,
            (),
            False,
        )
        self.attempts, self.outcomes, self.outcome = [], [], "succeeded"
        self.kill, self.after, self.done = None, False, []

    def step(self, what, work):
        number = len(self.done)
        if self.kill == number and not self.after:
            raise Killed()
        self.done.append(what)
        result = work()
        if self.kill == number:
            raise Killed()
        return result

    # The bucket.

    def read(self, name, limit=None, cut=False):
        return self.step("read " + name, lambda: self.objects.get(name))

    def get(self, name, span=None, limit=None):
        found = self.read(name)
        return found and found.data

    def holds(self, prefix):
        return self.step(
            "list " + prefix, lambda: any(each.startswith(prefix) for each in self.objects)
        )

    def put(self, name, data, content_type=None, condition=None):
        def write():
            there = self.objects.get(name)
            if (
                condition
                and condition.get("If-None-Match") == "*"
                and there
                or condition
                and "If-Match" in condition
                and there.etag != condition["If-Match"]
            ):
                raise Failure(
                    "CHANGED", "another was quicker", status=412, aws="PreconditionFailed"
                )
            self.objects[name] = Stored(data)

        self.step("put " + name, write)

    # EC2.

    def own_fleet(self, instance, run):
        return self.step(
            "tags",
            lambda: (
                self.allow("DescribeTags")
                or ("fleet-1" if self.fleet and not self.absent else None)
            ),
        )

    def may_delete(self, fleet_id):
        self.step("dry", lambda: self.allow("DeleteFleets"))

    def delete_template(self, name):
        def delete():
            self.allow("DeleteLaunchTemplate")
            self.template = False

        self.step("template", delete)

    def delete_fleet(self, fleet_id, terminate):
        def delete():
            self.allow("DeleteFleets")
            if self.template:
                raise AssertionError("the fleet would have launched another")
            self.fleet, self.terminated = False, terminate

        self.step("fleet", delete)

    def allow(self, action):
        if action in self.denied:
            raise Failure(
                "ACCESS_DENIED",
                "ec2:%s: UnauthorizedOperation: no" % action,
                action=action,
                status=403,
            )

    # The runtime, which trains at once.

    def run(self, plan, root):
        record = self.record()
        resume = plan["run"]["nextAttempt"]
        attempt = resume["attempt"] if resume else 1
        if (resume is None) != (record is None) or record and record["attempt"] != attempt - 1:
            raise AssertionError("the attempt %d begins after %r" % (attempt, record))

        def train():
            self.attempts.append(attempt)
            outcome = self.outcomes.pop(0) if self.outcomes else self.outcome
            reason = {"reason": "interruption", "at": 1} if outcome == "interrupted" else None
            self.objects["record.json"] = Stored(
                recorded(
                    attempt,
                    outcome,
                    reason,
                    heartbeat=(record or {"heartbeat": 0})["heartbeat"] + 1,
                )
            )

        self.step("run", train)
        return {"ok": True, "run": {"attempt": attempt}}

    def record(self):
        found = self.objects.get("record.json")
        return found and unsigned(found.data)


class Stored:
    count = 0

    def __init__(self, data, age=0.0):
        Stored.count += 1
        self.data, self.etag, self.age, self.refused = data, str(Stored.count), age, None


def recorded(attempt, outcome, stop=None, instance="i-other", state="ended", **more):
    return signed(
        dict(
            {
                "state": state,
                "outcome": outcome,
                "stop": stop,
                "attempt": attempt,
                "instance": instance,
                "heartbeat": 1,
                "attempts": [],
                "checkpoints": [],
            },
            **more,
        ),
        RUN,
    )


def stop(key=KEY):
    return json.dumps({
        "v": 2,
        "mac": SigningKey({"signingKey": key, "id": RUN})._mac(b"stop 2", RUN, b"").decode(),
    }).encode()


def forgeries(genuine):
    """What somebody may write who has read the record, and has not the key."""
    record = unsigned(genuine)
    succeeded = dict(record, state="ended", outcome="succeeded", stop=None)
    head, data = genuine.split(b',"record":')
    return [
        b"",
        b"{}",
        b"null",
        b"\0" * 100,
        json.dumps(succeeded).encode(),
        json.dumps(dict(succeeded, v=1)).encode(),
        head + b',"record":' + json.dumps(succeeded).encode() + b"}",
        signed(succeeded, RUN, base64.b64encode(bytes(32)).decode()),
        # That of another run, whose key somebody has.
        signed(succeeded, RUN[:-1] + "b"),
        genuine + b" ",
        genuine[:-1],
        head.upper() + b',"record":' + data,
    ]


def ended(n, stopped=False, code=None):
    return {"n": n, "exitCode": code, "stopped": stopped}


class FleetWorld(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.world = World()
        self.said = []
        for module, name, value in (
            (fleet_run, "Bucket", lambda *_: self.world),
            (fleet_run, "Ec2", lambda *_: self.world),
            (fleet_run, "wait_for_boot", lambda: None),
            (fleet_run, "ACTIVE_POLL_S", 0.001),
            (fleet_run, "RECORD_POLL_S", 0.001),
            (fleet_run, "FIRST_RETRY_S", 0.001),
            (fleet_run, "MAX_RETRY_S", 0.001),
            (start_attempt, "plan_sync", lambda *_: {}),
            (start_attempt, "Signer", lambda *_: None),
            (start_attempt, "instance_role", lambda: None),
            (own_fleet, "TAGS_TIMEOUT_S", 0.01),
            (own_fleet, "TAGS_POLL_S", 0.001),
        ):
            patch = mock.patch.object(module, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        for target, value in (
            ("nx_ec2_runtime.main.run", lambda plan, root: self.world.run(plan, root)),
            ("nx_ec2_runtime.fleet.fleet_run.Metadata", lambda: self),
        ):
            patch = mock.patch(target, value)
            patch.start()
            self.addCleanup(patch.stop)

    def get(self, path):
        """The metadata's."""
        if "spot" in path:
            raise Absent(path)
        return "i-own\n"

    def instance(self, config=CONFIG):
        return fleet_run.Fleet(BOOT, config, self.root, log=self.said.append)

    def over(self):
        self.assertEqual((self.world.template, self.world.fleet), (False, False))


class FleetTest(FleetWorld):
    def test_starts_the_run_and_ends_its_fleet(self):
        self.instance().run_to_completion()
        self.over()
        self.assertEqual((self.world.attempts, self.world.terminated), ([1], True))
        order = [what for what in self.world.done if what in ("dry", "run", "template", "fleet")]
        self.assertEqual(order, ["dry", "run", "template", "fleet"])

    def killed(self, number, after, before):
        """Whether one was killed at its n-th step, and what came after it ended all; False where it
        has no such step.
        """
        self.world = World()
        if before:
            self.world.objects["record.json"] = Stored(before)
        self.world.kill, self.world.after = number, after
        try:
            self.instance().run_to_completion()
            return False
        except Killed:
            pass
        self.world.kill = None
        self.instance().run_to_completion()
        self.over()
        self.assertEqual(self.world.record()["outcome"], "succeeded")
        return True

    def test_a_restarted_process_finishes_the_run_wherever_the_first_was_killed(self):
        for before, attempts in (
            (None, [1]),
            (recorded(4, "interrupted", {"reason": "interruption"}), [5]),
            (recorded(1, "succeeded"), []),
        ):
            for after in (False, True):
                number = 0
                while self.killed(number, after, before):
                    self.assertEqual(self.world.attempts, attempts)
                    number += 1
                self.assertGreater(number, 3)

    def test_the_instance_is_kept_after_a_failure_and_if_not_all_is_saved(self):
        for outcome, report, terminated in (
            ("succeeded", {"saved": True, "unsaved": False}, True),
            ("succeeded", {"saved": True, "unsaved": True}, False),
            ("failed", {"saved": True, "unsaved": False}, False),
        ):
            with self.subTest(outcome=outcome, **report):
                self.world = World()
                it = self.instance()
                os.makedirs(it.run_dir, exist_ok=True)
                for name, value in (("run.json", {}), ("report.json", report)):
                    atomic_files.write_json(os.path.join(it.run_dir, name), value)
                it._finish({"outcome": outcome})
                self.assertEqual(self.world.terminated, terminated)

    def test_another_instance_resumes_the_run_after_an_interruption(self):
        self.world.outcomes = ["interrupted"]
        with self.subTest("the one that is taken back leaves it alone"):

            def taken(plan, root, run=self.world.run):
                reply = run(plan, root)
                open(os.path.join(root, "interruption.json"), "w").close()
                return reply

            with mock.patch("nx_ec2_runtime.main.run", taken):
                self.instance().run_to_completion()
            self.assertEqual((self.world.attempts, self.world.fleet), ([1], True))
            self.instance().close()
            self.assertTrue(self.world.fleet)
        os.unlink(os.path.join(self.root, "interruption.json"))
        self.instance().run_to_completion()
        self.over()
        self.assertEqual(self.world.attempts, [1, 2])

    def test_keeps_the_instance_that_failed_and_ends_the_fleet_alone(self):
        self.world.outcome = "failed"
        os.makedirs(os.path.join(self.root, "runs", RUN))

        def here(plan, root, run=self.world.run):
            with open(os.path.join(root, "runs", RUN, "run.json"), "w") as file:
                json.dump({"state": "ended"}, file)
            with open(os.path.join(root, "runs", RUN, "report.json"), "w") as file:
                json.dump({"saved": True}, file)
            with open(os.path.join(root, "runs", RUN, "plan.json"), "w") as file:
                json.dump(BOOT["run"], file)
            return run(plan, root)

        with mock.patch("nx_ec2_runtime.main.run", here):
            self.instance().run_to_completion()
        self.over()
        self.assertFalse(self.world.terminated)

    def test_does_not_start_a_run_whose_fleet_it_may_not_delete(self):
        for action in ("DeleteFleets", "DescribeTags"):
            self.world = World()
            self.world.denied = (action,)
            self.instance().run_to_completion()
            record = self.world.record()
            self.assertEqual(
                (record["state"], record["outcome"], record["failure"]["code"]),
                ("ended", "setup-failed", "RECOVERY_REFUSED"),
            )
            self.assertIn("ec2:" + action, record["failure"]["message"])
            self.assertEqual(self.world.attempts, [])

    def test_records_a_cancel_between_two_instances(self):
        for before in (None, recorded(2, "interrupted", {"reason": "interruption"})):
            self.world = World()
            if before:
                self.world.objects["record.json"] = Stored(before)
            self.world.objects["stop"] = Stored(stop())
            self.instance().run_to_completion()
            self.over()
            self.assertEqual(
                (self.world.record()["outcome"], self.world.attempts, self.world.terminated),
                ("cancelled", [], True),
            )

    def test_ignores_a_stop_request_that_is_not_signed_with_the_run_s_key(self):
        other = stop(base64.b64encode(bytes(32)).decode())
        for forged in (
            b"",
            b"{}",
            b"[]",
            b"not JSON",
            b'{"mac": 1}',
            b'{"mac": "%s"}' % (b"0" * 64),
            b'{"mac": "\u00e9"}',
            other,
            recorded(1, "cancelled"),
        ):
            self.world = World()
            self.world.objects["stop"] = Stored(forged)
            self.instance().run_to_completion()
            self.assertEqual(
                (self.world.record()["outcome"], self.world.attempts), ("succeeded", [1]), forged
            )

    def test_a_recent_forged_record_does_not_end_the_run(self):
        genuine = recorded(3, "interrupted", {"reason": "interruption"}, heartbeat=7)
        for forged in forgeries(genuine):
            with self.subTest(forged=forged[:120]):
                self.world = World()
                self.world.objects["record.json"] = Stored(forged, age=1.0)
                it = self.instance()
                self.assertFalse(it.step())
                self.assertEqual(
                    (self.world.attempts, self.world.fleet, self.world.objects["record.json"].data),
                    ([], True, forged),
                )
                # The instance that has the run writes its own again.
                self.world.objects["record.json"] = Stored(genuine)
                it.run_to_completion()
                self.over()
                self.assertEqual(
                    (self.world.attempts, self.world.record()["outcome"]), ([4], "succeeded")
                )

    def test_a_forged_record_that_stays_fails_the_run_and_deletes_the_fleet(self):
        genuine = recorded(3, "interrupted", {"reason": "interruption"}, heartbeat=7)
        for forged in forgeries(genuine):
            with self.subTest(forged=forged[:120]):
                self.world = World()
                self.world.objects["record.json"] = Stored(forged, age=61.0)
                self.instance().run_to_completion()
                self.over()
                record = self.world.record()
                self.assertEqual(
                    (record["outcome"], record["failure"]["code"], self.world.attempts),
                    ("failed", "RECORD_UNVERIFIED", []),
                )
                self.assertGreater(record["heartbeat"], 7)

    def test_a_record_older_than_one_that_was_read_is_rejected(self):
        old, new = (
            recorded(attempt, "interrupted", {"reason": "interruption"}, heartbeat=beat)
            for attempt, beat in ((1, 5), (2, 9))
        )
        self.world.objects["record.json"] = Stored(new)
        it = self.instance()
        self.assertEqual(it.record.read()[1]["attempt"], 2)
        self.world.objects["record.json"] = Stored(old)
        self.assertIsNone(it.record.read()[1])
        it.step()
        self.assertEqual(self.world.attempts, [])

    def test_a_run_that_is_lost_again_and_again_fails_with_crash_loop(self):
        self.world.objects["record.json"] = Stored(
            recorded(4, "lost", attempts=[ended(1), ended(2), ended(3)])
        )
        self.instance().run_to_completion()
        self.over()
        record = self.world.record()
        self.assertEqual(
            (record["outcome"], record["failure"]["code"], self.world.attempts),
            ("failed", "CRASH_LOOP", []),
        )

    def test_a_run_that_can_not_be_started_fails_and_its_fleet_is_deleted(self):
        def refuse(plan, root):
            return {
                "ok": False,
                "error": {"code": "NO_USER", "message": "there is no user x", "detail": {}},
            }

        with mock.patch("nx_ec2_runtime.main.run", refuse):
            self.instance().run_to_completion()
        self.over()
        self.assertEqual(
            self.world.record()["failure"],
            {"code": "NO_USER", "message": "there is no user x", "exitCode": None},
        )

    def test_a_temporary_failure_is_retried_and_logged_once(self):
        left = [9]

        def refuse(plan, root, run=self.world.run):
            left[0] -= 1
            if left[0]:
                return {
                    "ok": False,
                    "error": {"code": "FETCH_FAILED", "message": "silence", "detail": {}},
                }
            return run(plan, root)

        with mock.patch("nx_ec2_runtime.main.run", refuse):
            self.instance().run_to_completion()
        self.assertEqual(self.world.record()["outcome"], "succeeded")
        self.assertEqual(self.said.count("silence"), 1)

    def test_an_object_that_s3_does_not_return_ends_the_run_after_some_tries(self):
        tried = []

        def refuse(plan, root):
            tried.append(plan)
            message, detail = "the manifest could not be fetched: HTTP 400", {"status": 400}
            error = {"code": "FETCH_FAILED", "message": message, "detail": detail}
            return {"ok": False, "error": error}

        with mock.patch("nx_ec2_runtime.main.run", refuse):
            self.instance().run_to_completion()
        self.over()
        record = self.world.record()
        self.assertEqual(
            (record["outcome"], record["failure"]["code"], len(tried)),
            ("setup-failed", "FETCH_FAILED", fleet_run.MAX_TRIES),
        )

    def test_an_instance_that_shuts_down_ends_a_run_that_never_started(self):
        self.instance().close()
        self.over()
        self.assertEqual(
            (self.world.record()["outcome"], self.world.record()["failure"]["code"]),
            ("setup-failed", "NOT_STARTED"),
        )


class UnreadableTest(FleetWorld):
    """Another program can put objects that S3 does not let the role read."""

    def setUp(self):
        super().setUp()
        self.s3 = s3_server.S3(ACCESS["prefix"])
        self.addCleanup(self.s3.close)
        self.began = []

        def run(plan, root):
            wanted = plan["run"]["nextAttempt"]
            self.began.append(wanted["attempt"] if wanted else 1)
            self.s3.overwrite("record.json", recorded(self.began[-1], "succeeded", heartbeat=9))
            return {"ok": True, "run": {"attempt": self.began[-1]}}

        for target, value in (
            ("nx_ec2_runtime.main.run", run),
            ("nx_ec2_runtime.fleet.fleet_run.Bucket", lambda *_: self.s3.bucket()),
        ):
            patch = mock.patch(target, value)
            patch.start()
            self.addCleanup(patch.stop)

    def record(self):
        return unsigned(self.s3.bytes("record.json"))

    def test_a_run_whose_record_can_not_be_read_is_not_started_again(self):
        genuine = recorded(3, "interrupted", {"reason": "interruption"}, heartbeat=7)
        for kind in s3_server.KINDS:
            with self.subTest(kind):
                self.began.clear()
                self.s3.overwrite("record.json", genuine, kind)
                it = self.instance()
                self.assertFalse(it.step())
                self.assertEqual((self.began, self.s3.writes, self.world.fleet), ([], [], True))
                self.assert_resumed(it, genuine)

    def assert_resumed(self, fleet, record):
        """The instance that has the run writes its record again: this one resumes it."""
        self.s3.overwrite("record.json", record)
        fleet.step()
        self.assertEqual(self.began, [4])

    def test_a_record_that_stays_unreadable_fails_the_run_with_the_words_of_s3(self):
        for kind, ((_, code), _) in s3_server.KINDS.items():
            with self.subTest(kind):
                self.world = World()
                self.s3.overwrite("record.json", recorded(3, None, state="running"), kind)
                self.s3.ahead += 61
                self.instance().run_to_completion()
                self.over()
                record = self.record()
                self.assertEqual(
                    (record["outcome"], record["failure"]["code"], self.began),
                    ("failed", "RECORD_UNVERIFIED", []),
                )
                self.assertIn(code, record["failure"]["message"])

    def test_a_run_of_which_a_record_may_be_there_is_not_started(self):
        self.s3.denied = {"get", "list"}
        self.s3.overwrite("record.json", recorded(3, "interrupted", {"reason": "interruption"}))
        before = self.s3.bytes("record.json")
        it = self.instance()
        for _ in range(fleet_run.MAX_TRIES + 1):
            with self.assertRaises(Failure):
                it.step()
        self.assertEqual((self.began, self.s3.bytes("record.json")), ([], before))
        self.assertTrue(self.world.fleet)

    def test_a_role_that_can_not_see_the_record_ends_a_run_that_has_none(self):
        self.s3.denied = {"get", "list"}
        self.instance().run_to_completion()
        self.over()
        failure = self.record()["failure"]
        self.assertEqual((self.began, failure["code"]), ([], "ACCESS_DENIED"))
        self.assertIn("allow s3:GetObject on b/v2/projects/p/run/", failure["message"])

    def test_a_stop_request_that_can_not_be_read_is_none(self):
        self.s3.overwrite("stop", b"x" * ((1 << 20) + 1))
        self.assertFalse(self.instance().record.is_stop_requested())
        for kind in s3_server.KINDS:
            with self.subTest(kind):
                self.began.clear()
                self.world = World()
                self.s3.objects.clear()
                self.s3.overwrite("stop", stop(), kind)
                self.instance().run_to_completion()
                self.over()
                self.assertEqual(self.began, [1])

    def test_a_run_whose_record_was_deleted_between_two_instances_is_not_started_again(self):
        genuine = recorded(3, "interrupted", {"reason": "interruption"}, heartbeat=7)
        for name in ("log/0", "checkpoint/4.json"):
            with self.subTest(name):
                self.began.clear()
                self.s3.objects.clear()
                self.s3.overwrite(name, b"x")
                it = self.instance()
                for _ in range(3):
                    self.assertFalse(it.step())
                self.assertEqual((self.began, self.world.fleet), ([], True))
                self.assertNotIn("record.json", self.s3.objects)
                self.assert_resumed(it, genuine)

    def test_a_deleted_record_that_nobody_writes_again_fails_the_run(self):
        self.s3.overwrite("log/0", b"x")
        with mock.patch.object(decision, "LEASE_S", 0.05):
            self.instance().run_to_completion()
        self.over()
        record = self.record()
        self.assertEqual(
            (record["outcome"], record["failure"]["code"], self.began),
            ("failed", "RECORD_UNVERIFIED", []),
        )
        self.assertIn("deleted the run's record", record["failure"]["message"])
        self.assertGreater(record["heartbeat"], 1_000_000)

    def test_an_instance_that_shuts_down_says_that_the_record_was_deleted(self):
        self.s3.overwrite("checkpoint/1.json", b"x")
        self.instance().close()
        self.assertEqual(self.record()["failure"]["code"], "RECORD_UNVERIFIED")

    def test_a_role_that_may_list_the_runs_alone_starts_the_run(self):
        self.s3.denied = {"missing"}
        self.instance().run_to_completion()
        self.over()
        self.assertEqual(self.began, [1])

    def test_the_fleet_is_deleted_at_the_end_of_its_instance_also_without_a_readable_record(self):
        for denied in ((), ("get", "list")):
            self.world = World()
            self.s3.denied = set(denied)
            self.s3.overwrite("record.json", recorded(1, None, state="running"), "foreign-key")
            self.instance().close()
            self.over()
        self.s3.denied = set()


class NextStepTest(unittest.TestCase):
    def step(self, outcome=None, stop=None, age=0.0, state=None, interrupted=False, stopped=False):
        record = unsigned(
            recorded(
                1,
                outcome,
                stop and {"reason": stop},
                state=state or ("ended" if outcome else "running"),
            )
        )
        return decision.next_step(record, age, interrupted=interrupted, stopped=stopped)

    def test_the_fleet_of_a_run_that_ended_by_itself_is_deleted(self):
        for outcome in ("succeeded", "failed", "cancelled", "timed-out", "setup-failed"):
            self.assertEqual(self.step(outcome, stopped=True), "finish")
            self.assertEqual(self.step(outcome, interrupted=True), "finish")
        self.assertEqual(self.step("interrupted", "lifetime"), "finish")

    def test_a_run_that_its_machine_ended_is_resumed(self):
        self.assertEqual(self.step("interrupted", "interruption"), "resume")
        self.assertEqual(self.step("interrupted", "shutdown"), "resume")
        self.assertEqual(self.step("lost"), "resume")
        self.assertEqual(self.step("lost", interrupted=True), "hand over")
        self.assertEqual(self.step("lost", stopped=True), "cancel")

    def test_a_run_whose_instance_is_gone_while_it_saved_is_resumed_only_if_it_has_succeeded(self):
        for outcome, wanted in (("succeeded", "resume"), ("lost", "resume"), ("failed", "finish")):
            self.assertEqual(self.step(outcome, state="saving", age=59), "wait")
            self.assertEqual(self.step(outcome, state="saving", age=61), wanted)
        self.assertEqual(self.step("cancelled", state="saving", age=61, stopped=True), "finish")
        self.assertEqual(self.step("interrupted", "interruption", state="saving", age=61), "resume")

    def test_a_run_whose_record_is_recent_is_waited_for(self):
        self.assertEqual(self.step(age=59), "wait")
        self.assertEqual(self.step(age=59, stopped=True), "wait")
        self.assertEqual(self.step(age=61), "resume")
        self.assertEqual(self.step(age=61, stopped=True), "cancel")
        self.assertEqual(self.step(age=59, interrupted=True), "hand over")

    def test_attempts_that_are_lost_in_a_row_without_a_checkpoint_are_counted(self):
        for wanted, attempt, outcome, more in (
            (1, 1, "lost", {}),
            (4, 4, None, {"attempts": [ended(1), ended(2), ended(3)]}),
            (3, 3, "lost", {"attempts": [ended(1), ended(2), ended(3)]}),
            (0, 4, "interrupted", {"attempts": [ended(1), ended(2), ended(3)]}),
            (2, 4, "lost", {"attempts": [ended(1), ended(2, stopped=True), ended(3)]}),
            (2, 4, "lost", {"attempts": [ended(1), ended(2, code=1), ended(3)]}),
            (4, 4, "succeeded", {"attempts": [ended(n, code=0) for n in (1, 2, 3, 4)]}),
            (
                1,
                4,
                "lost",
                {"attempts": [ended(1), ended(2), ended(3)], "checkpoints": [{"attempt": 3}]},
            ),
        ):
            with self.subTest(wanted=wanted, more=more):
                self.assertEqual(
                    decision.lost_in_a_row(unsigned(recorded(attempt, outcome, **more))), wanted
                )

    def test_a_run_without_a_record_is_started(self):
        self.assertEqual(decision.next_step(None, None, interrupted=False, stopped=False), "start")
        self.assertEqual(
            decision.next_step(None, None, interrupted=True, stopped=False), "hand over"
        )
        self.assertEqual(decision.next_step(None, None, interrupted=False, stopped=True), "cancel")


if __name__ == "__main__":
    unittest.main()
