"""A run with a fleet, as each of its instances sees to it: docs/reference/formats.md, "Runs with a
fleet".
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time

from .. import main
from ..aws.bucket import Bucket
from ..aws.credentials import instance_role
from ..aws.metadata import Absent, Metadata
from ..report.signed_record import RECORD as RECORD_NAME
from ..report.signed_record import RecordKey, version
from ..run import runs
from ..system import atomic_files
from ..system.errors import Failure
from ..system.file_lock import held
from .decision import (
    ABANDON,
    CANCEL,
    FAIL,
    FINISH,
    HAND_OVER,
    MOST_LOST,
    RESUME,
    START,
    WAIT,
    next_step,
    unverified_step,
)
from .ec2_api import Ec2
from .ended_record import ended_record
from .snapshot_plan import Signer, plan_sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

    from ..aws.bucket import Object
    from ..system.documents import Outcome, RunRecord, RunRecordFailure, RunRecordStop
    from .boot_loader import BootDocument, WatchdogConfig


RECORD = 1024 * 1024
# Between two looks at what is active here, and at what the store says of a run that is another's,
# seconds.
TICK_S = 1.0
LOOK_S = 5.0
# So often an attempt is tried to be begun against what does not pass by itself; what a network, or
# a right that is on its way, costs, passes.
TRIES = 6
PAUSES = (1, 60)
PASSING = {
    "FETCH_FAILED",
    "NO_ROLE",
    "NO_METADATA",
    "EXPIRED",
    "UPLOAD_FAILED",
    "BUSY",
    "CHANGED",
    "EC2_FAILED",
    "RUN_ACTIVE",
}
CRASH_LOOP = (
    "%d attempts in a row ended without a result and without a checkpoint: "
    "the training seems to crash its machine. "
    "The log shows how far it came; more memory, or an earlier checkpoint, may help"
) % MOST_LOST
FORGED = (
    "another program has overwritten the run's record, and no instance was left to correct it: "
    "the outcome of the run is not known"
)
# EC2 may not list the tags of a new fleet at once: they are looked for this long, seconds.
TAGS_TIMEOUT_S = 60


class Fleet:
    """`boot`: boot.json; `config`: the watchdog's; `log` says what is done, and why."""

    def __init__(
        self, boot: BootDocument, config: WatchdogConfig, root: str, *, log: Callable[[str], object]
    ) -> None:
        self.boot, self.config, self.log = boot, config, log
        self.root = os.path.realpath(root)
        self.spec = boot["run"]
        self.id = self.spec["id"]
        self.home = runs.directory(self.root, self.id)
        self.bucket = Bucket({**self.spec["store"], "access": "role"}, "role")
        self.ec2 = Ec2(boot["fleet"]["region"], boot["fleet"]["endpoint"])
        self.metadata = Metadata()
        self.instance = self.metadata.get("meta-data/instance-id").strip()
        # As the agent's commands have it.
        os.environ["AWS_SSM_INSTANCE_ID"] = self.instance
        self.tried = 0
        self.key, self.seen = RecordKey(self.spec), (0, 0)

    def run_to_completion(self) -> None:
        """Starts or resumes the run; returns when it has ended and its fleet is deleted,
        or the instance is taken back.
        """
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(os.path.join(os.path.dirname(self.path), "boot.lock"), "w") as alone:
            # A watchdog that was started again begins this again: one at a time. Such a lock is no
            # child's, as a flock would be.
            fcntl.lockf(alone, fcntl.LOCK_EX)
            wait_for_boot()
            pause = PAUSES[0]
            while True:
                try:
                    if self.step():
                        return
                    pause = PAUSES[0]
                except Failure as failure:
                    self.trouble(failure)
                    time.sleep(pause)
                    pause = min(PAUSES[1], pause * 2)

    def step(self) -> bool:
        """One look at how it is, and what that asks for. Whether nothing is left to be done."""
        if self.is_active_here():
            time.sleep(TICK_S)
            return False
        interrupted = self.is_taken_back()
        found, record = self.read()
        stopped = self.key.is_stop(self.bucket.get("stop", limit=RECORD))
        if found and record is None:
            step = unverified_step(found.age, interrupted, stopped)
        else:
            step = next_step(
                record, found.age if found else None, interrupted=interrupted, stopped=stopped
            )
        if step == WAIT:
            time.sleep(LOOK_S)
        elif step == CANCEL:
            self.record(
                found,
                record,
                "cancelled",
                stop={"reason": "cancelled", "at": int(time.time() * 1000)},
            )
        elif step == FAIL:
            self.record(
                found,
                record,
                "failed",
                failure={"code": "CRASH_LOOP", "message": CRASH_LOOP, "exitCode": None},
            )
        elif step == ABANDON:
            self.record(
                found,
                None,
                "failed",
                failure={"code": "RECORD_UNVERIFIED", "message": FORGED, "exitCode": None},
            )
        elif step == START and not self.may_end():
            return True
        elif step in (START, RESUME):
            self.begin(found, record)
        elif step == FINISH and record:
            self.finish(record)
        return step in (HAND_OVER, FINISH)

    def read(self) -> tuple[Object | None, RunRecord | None]:
        """(found, record): None for a record that does not bear the run's signature, or is older
        than one that was seen here.
        """
        found, record = self.key.read(self.bucket)
        if record is not None:
            if version(record) < self.seen:
                return found, None
            self.seen = version(record)
        return found, record

    def is_active_here(self) -> bool:
        """Whether the run has a process here that is not through with it."""
        if not os.path.exists(os.path.join(self.home, "run.json")):
            return False
        state = runs.state(self.root, self.id)
        if state["state"] == "ended" and not held(os.path.join(self.home, "report.lock")):
            runs.ensure_reported(self.home)
        return state["state"] != "ended" or held(os.path.join(self.home, "report.lock"))

    def begin(self, found: Object | None, record: RunRecord | None) -> None:
        """The next attempt. One that can't be begun ends the run, as set-up failed."""
        next_attempt = (
            {"attempt": record["attempt"] + 1, "heartbeat": record["heartbeat"]} if record else None
        )
        try:
            plan = {
                "v": 1,
                "op": "train",
                "root": self.root,
                "user": self.boot["user"],
                "tree": self.boot["tree"],
                "sync": plan_sync(
                    Signer(self.spec["store"], self.id, instance_role()),
                    self.boot["snapshot"],
                    self.boot["limits"],
                ),
                "run": dict(self.spec, nextAttempt=next_attempt),
            }
            reply = main.run(plan, self.root)
            if not reply["ok"]:
                raise self.refusal(**reply["error"])
        except Failure as failure:
            self.tried += 1
            if failure.code in PASSING or self.tried < TRIES:
                raise
            self.trouble(failure)
            self.record(found, record, "setup-failed", failure=failure_dict(failure))
            return
        self.tried = 0
        self.log("attempt %d of %s has begun" % (reply["run"]["attempt"], self.id))

    def refusal(self, code: str, message: str, detail: Mapping[str, Any]) -> Failure:
        if code == "CONTENT_MISSING":
            store = self.spec["store"]
            message = (
                "packs of the snapshot are not in the store, "
                "or the instance's role may not read them"
            )
            base = store["prefix"].rpartition("v2/projects/")[0]
            detail = {"fix": "allow s3:GetObject on %s/%sv2/packs/*" % (store["bucket"], base)}
        return Failure(code, message, **detail)

    def may_end(self) -> bool:
        """Whether the role may delete what costs money after the run has ended; where it may
        not, the run is over before it began.
        """
        deadline = time.monotonic() + TAGS_TIMEOUT_S
        try:
            fleet = self.ec2.own_fleet(self.instance, self.id)
            while not fleet and time.monotonic() < deadline:
                time.sleep(LOOK_S)
                fleet = self.ec2.own_fleet(self.instance, self.id)
            if fleet:
                self.ec2.may_delete(fleet)
            return True
        except Failure as failure:
            if failure.code != "ACCESS_DENIED":
                raise
            message = (
                "the instance's role may not delete its fleet, which would launch more instances: "
                "allow it ec2:%s on the fleet "
                '("Condition": {"StringEquals": {"aws:ResourceTag/nx-ec2:managed": "true"}}; '
                "ec2:DescribeTags has no condition). %s"
            ) % (failure.detail["action"], failure.message)
            self.log(message)
            self.record(
                None,
                None,
                "setup-failed",
                failure={"code": "RECOVERY_REFUSED", "message": message, "exitCode": None},
            )
            return False

    def record(
        self,
        found: Object | None,
        before: RunRecord | None,
        outcome: Outcome,
        *,
        failure: RunRecordFailure | None = None,
        stop: RunRecordStop | None = None,
    ) -> None:
        """Tells the store of a run that ends with no attempt here. `found`: what is written over;
        `before`: the record that it is.
        """
        whole = ended_record(
            self.boot, self.instance, outcome, before=before, failure=failure, stop=stop
        )
        if found and before is None:
            # How often the one before was written is not known: so often it was not.
            whole["heartbeat"] = int(time.time())
        condition = {"If-Match": found.etag} if found else {"If-None-Match": "*"}
        self.bucket.put(
            RECORD_NAME, self.key.sign(whole), content_type="application/json", condition=condition
        )

    def finish(self, record: RunRecord) -> None:
        """The launch template goes first: a fleet without one launches nothing. Then the fleet,
        with its instances.
        """
        kept = (
            self.config["finish"]
            and self.config["finish"]["success" if record["outcome"] == "succeeded" else "failure"]
        )
        # What is kept for a look is the instance that the run was on.
        self.delete(terminate=not kept or not os.path.exists(os.path.join(self.home, "run.json")))

    def delete(self, terminate: bool) -> None:
        fleet = self.ec2.own_fleet(self.instance, self.id)
        if self.boot["fleet"]["template"] != "nx-ec2-%s" % self.id:
            raise Failure(
                "NOT_MANAGED",
                "the launch template %r is not this run's" % self.boot["fleet"]["template"],
            )
        self.ec2.delete_template(self.boot["fleet"]["template"])
        if fleet:
            self.log("deleting the fleet %s" % fleet)
            self.ec2.delete_fleet(fleet, terminate)

    def close(self) -> None:
        """The instance ends itself: so does its run, unless EC2 takes the instance back."""
        if self.is_taken_back():
            return
        found, record = self.read()
        if record is None:
            trouble = atomic_files.read_object(self.path).get("trouble")
            why = trouble or "the instance shut down before the run started"
            self.record(
                found,
                None,
                "setup-failed",
                failure={"code": "NOT_STARTED", "message": why, "exitCode": None},
            )
        self.delete(terminate=True)

    def is_taken_back(self) -> bool:
        """Whether EC2 has given notice: what is left to be done is the next instance's."""
        if os.path.exists(os.path.join(self.root, "interruption.json")):
            return True
        try:
            self.metadata.get("meta-data/spot/instance-action")
            return True
        except Absent:
            return False

    def trouble(self, failure: Failure) -> None:
        text = ": ".join(
            filter(None, [failure.message, failure.detail.get("aws") or failure.detail.get("fix")])
        )
        known = atomic_files.read_object(self.path).get("trouble")
        if text != known:
            self.log(text)
            atomic_files.write_json(self.path, {"trouble": text})

    @property
    def path(self) -> str:
        """What is in the way, for whoever ends the run."""
        return os.path.join(self.root, "watchdog", "boot.json")


def failure_dict(failure: Failure) -> RunRecordFailure:
    fix = failure.detail.get("fix")
    return {
        "code": failure.code,
        "message": "%s (%s)" % (failure.message, fix) if fix else failure.message,
        "exitCode": None,
    }


def wait_for_boot() -> None:
    """Users, disks and what the user's own data sets up are there when cloud-init is done; a
    machine without it has booted.
    """
    try:
        subprocess.run(
            ["cloud-init", "status", "--wait"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        pass
