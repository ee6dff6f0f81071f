"""Runs one training on the instances of a fleet, as each of them does it:
docs/reference/formats.md, "Runs with a fleet".
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time

from ..aws.bucket import Bucket
from ..aws.metadata import Absent, Metadata
from ..run import failure_cause, runs
from ..run_dir import saved_run
from ..system import atomic_files
from ..system.errors import Failure
from ..system.file_lock import held
from ..system.wall_clock import now_ms
from .decision import (
    ABANDON,
    CANCEL,
    FAIL,
    FINISH,
    HAND_OVER,
    MAX_LOST,
    RESUME,
    START,
    WAIT,
    next_step,
    unverified_step,
)
from .ec2_api import Ec2
from .own_fleet import OwnFleet
from .start_attempt import start_attempt
from .stored_record import StoredRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..aws.bucket import Object
    from ..system.documents import RunRecord, RunRecordFailure, RunRecordStop
    from .boot_loader import BootDocument, WatchdogConfig


# Between two looks whether the run is still active on this instance.
ACTIVE_POLL_S = 1.0
# Between two looks at the record of a run that is active on another instance.
RECORD_POLL_S = 5.0
# The pause after a failure: the first one, and the longest, as it doubles.
FIRST_RETRY_S = 1
MAX_RETRY_S = 60
# How often an attempt is tried to be started if the failure is not TEMPORARY.
MAX_TRIES = 6
# Failures of the network, or of rights that are not in effect yet: they are retried without limit.
TEMPORARY = {
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
) % MAX_LOST
FORGED = (
    "another program has overwritten the run's record, and no instance was left to correct it: "
    "the outcome of the run is not known"
)
UNREADABLE = (
    "S3 does not let the instance's role read the run's record (%s), and no instance was left to "
    "correct it: another program has overwritten it, or the role lacks s3:GetObject. "
    "The outcome of the run is not known"
)
DELETED = (
    "another program has deleted the run's record, and no instance was left to write it again: "
    "the outcome of the run is not known"
)
MAY_NOT_DELETE = (
    "the instance's role may not delete its fleet, which would launch more instances: "
    "allow it ec2:%s on the fleet "
    '("Condition": {"StringEquals": {"aws:ResourceTag/nx-ec2:managed": "true"}}; '
    "ec2:DescribeTags has no condition). %s"
)


class Fleet:
    """`boot`: boot.json; `config`: the watchdog's; `log` gets a line for each step."""

    def __init__(
        self, boot: BootDocument, config: WatchdogConfig, root: str, *, log: Callable[[str], object]
    ) -> None:
        self.boot, self.config, self.log = boot, config, log
        self.root = os.path.realpath(root)
        spec = boot["run"]
        self.id = spec["id"]
        self.run_dir = runs.directory(self.root, self.id)
        self.metadata = Metadata()
        instance = self.metadata.get("meta-data/instance-id").strip()
        # As the agent's commands have it.
        os.environ["AWS_SSM_INSTANCE_ID"] = instance
        bucket = Bucket({**spec["store"], "access": "role"}, "role")
        # Of this node, of several.
        self.record = StoredRecord(boot, bucket, instance)
        ec2 = Ec2(boot["fleet"]["region"], boot["fleet"]["endpoint"])
        self.fleet = OwnFleet(boot, ec2, instance, log=log)
        # Since when the run's record is known to be deleted, by the monotonic clock.
        self.deleted_since: float | None = None
        # How often the next attempt could not be started.
        self.tries = 0
        # The last failure, for the record of a run that never starts.
        self.trouble_path = os.path.join(self.root, "watchdog", "boot.json")

    def run_to_completion(self) -> None:
        """Starts or resumes the run; returns when it has ended and its fleet is deleted,
        or EC2 takes the instance back.
        """
        directory = os.path.dirname(self.trouble_path)
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "boot.lock"), "w") as file:
            # A watchdog that was restarted starts a second process: one at a time. Unlike flock,
            # lockf is not inherited by what this process starts.
            fcntl.lockf(file, fcntl.LOCK_EX)
            wait_for_boot()
            pause_s = FIRST_RETRY_S
            while True:
                try:
                    if self.step():
                        return
                    pause_s = FIRST_RETRY_S
                except Failure as failure:
                    self._log_trouble(failure)
                    time.sleep(pause_s)
                    pause_s = min(MAX_RETRY_S, pause_s * 2)

    def step(self) -> bool:
        """Takes the next step. Returns whether it was the last one."""
        if self._is_active_here():
            time.sleep(ACTIVE_POLL_S)
            return False
        interrupted = self._is_taken_back()
        try:
            found, record = self.record.read()
        except Failure as failure:
            if not interrupted:
                self._refuse_unseen(failure)
                self._delete(terminate=True)
            return True
        stopped = self.record.is_stop_requested()
        age = found.age if found else self._deleted_for()
        if record is None and age is not None:
            step = unverified_step(age, interrupted, stopped)
        else:
            step = next_step(record, age, interrupted=interrupted, stopped=stopped)
        if step == START and not self._may_start():
            return True
        if step in (START, RESUME):
            self._start(found, record)
        elif step == WAIT:
            time.sleep(RECORD_POLL_S)
        elif step == CANCEL:
            stop: RunRecordStop = {"reason": "cancelled", "at": now_ms()}
            self.record.end(found, record, "cancelled", stop=stop)
        elif step == FAIL:
            failure = failure_cause.failure("CRASH_LOOP", CRASH_LOOP, None)
            self.record.end(found, record, "failed", failure=failure)
        elif step == ABANDON:
            self._end_unverified(found)
        elif step == FINISH and record:
            self._finish(record)
        return step in (HAND_OVER, FINISH)

    def close(self) -> None:
        """Ends the run, because the instance shuts down by itself; unless EC2 takes it back."""
        if self._is_taken_back():
            return
        try:
            self._end_unstarted()
        except Failure as failure:
            if failure.code != "ACCESS_DENIED":
                raise
            # The fleet would launch another instance, with the same role.
            self._log_trouble(failure)
        self._delete(terminate=True)

    def _delete(self, terminate: bool) -> None:
        """Deletes the fleet of a run that has ended. `terminate`: with its instances."""
        self.fleet.delete(terminate)

    def _end_unstarted(self) -> None:
        """Writes the end of a run that has no record, or none that can be verified."""
        found, record = self.record.read()
        if record is None and (found or self.record.is_deleted()):
            self._end_unverified(found)
        elif record is None:
            trouble = atomic_files.read_object(self.trouble_path).get("trouble")
            why = trouble or "the instance shut down before the run started"
            failure = failure_cause.failure("NOT_STARTED", why, None)
            self.record.end(found, None, "setup-failed", failure=failure)

    def _deleted_for(self) -> float | None:
        """How long, in seconds, this instance has known that the run's record is deleted; None
        where the run has not begun.
        """
        if not self.record.is_deleted():
            self.deleted_since = None
            return None
        now = time.monotonic()
        self.deleted_since = self.deleted_since or now
        return now - self.deleted_since

    def _is_active_here(self) -> bool:
        """Whether a process on this instance still runs the run, or uploads it."""
        if not os.path.exists(os.path.join(self.run_dir, "run.json")):
            return False
        state = runs.state(self.root, self.id)
        report_lock = os.path.join(self.run_dir, "report.lock")
        if state["state"] == "ended" and not held(report_lock):
            runs.ensure_reported(self.run_dir)
        return state["state"] != "ended" or held(report_lock)

    def _is_taken_back(self) -> bool:
        """Whether EC2 has given notice: the next instance resumes the run."""
        if os.path.exists(os.path.join(self.root, "interruption.json")):
            return True
        try:
            self.metadata.get("meta-data/spot/instance-action")
            return True
        except Absent:
            return False

    def _may_start(self) -> bool:
        """Whether the role may delete the fleet when the run has ended. If it may not, records that
        the run failed.
        """
        try:
            self.fleet.check_deletable()
            return True
        except Failure as failure:
            if failure.code != "ACCESS_DENIED":
                raise
            message = MAY_NOT_DELETE % (failure.detail["action"], failure.message)
            self.log(message)
            refused = failure_cause.failure("RECOVERY_REFUSED", message, None)
            self.record.end(None, None, "setup-failed", failure=refused)
            return False

    def _start(
        self, found: Object | None, record: RunRecord | None, number: int | None = None
    ) -> None:
        """Starts the next attempt. Records that the run failed if it can't be started. `number`: of
        the attempt, None: the one after that of `record`.
        """
        try:
            attempt = start_attempt(self.boot, self.root, record, attempt=number)
        except Failure as failure:
            self.tries += 1
            if may_pass(failure) or self.tries < MAX_TRIES:
                raise
            self._log_trouble(failure)
            self.record.end(found, record, "setup-failed", failure=failure_dict(failure))
            return
        self.tries = 0
        self.log("attempt %d of %s has begun" % (attempt, self.id))

    def _refuse_unseen(self, failure: Failure) -> None:
        """Ends a run of which the role can't see whether the store has a record, if it has none:
        else an attempt would begin again, over what an earlier one has saved.
        """
        self.tries += 1
        if failure.code != "ACCESS_DENIED" or self.tries < MAX_TRIES:
            raise failure
        self._log_trouble(failure)
        # It fails where there is a record.
        self.record.end(None, None, "setup-failed", failure=failure_dict(failure))

    def _end_unverified(self, found: Object | None) -> None:
        if found is None:
            message = DELETED
        else:
            message = UNREADABLE % found.refused if found.refused else FORGED
        failure = failure_cause.failure("RECORD_UNVERIFIED", message, None)
        self.record.end(found, None, "failed", failure=failure)

    def _finish(self, record: RunRecord) -> None:
        """Deletes the fleet; its instances too, unless this one has had the run and is kept."""
        finish = self.config["finish"]
        was_here = os.path.exists(os.path.join(self.run_dir, "run.json"))
        report = atomic_files.read_object(os.path.join(self.run_dir, "report.json"))
        is_success = record["outcome"] == "succeeded" and saved_run.is_all_saved(report)
        is_kept = finish and finish["success" if is_success else "failure"]
        self._delete(terminate=not is_kept or not was_here)

    def _log_trouble(self, failure: Failure) -> None:
        more = failure.detail.get("aws") or failure.detail.get("fix")
        text = ": ".join(filter(None, [failure.message, more]))
        known = atomic_files.read_object(self.trouble_path).get("trouble")
        if text != known:
            self.log(text)
            atomic_files.write_json(self.trouble_path, {"trouble": text})


def may_pass(failure: Failure) -> bool:
    """Whether an attempt that could not be started is tried again without limit. S3 says 400 of an
    object that only the holder of its key can read, and of expired credentials.
    """
    return failure.code in TEMPORARY and failure.detail.get("status") != 400


def failure_dict(failure: Failure) -> RunRecordFailure:
    fix = failure.detail.get("fix")
    message = "%s (%s)" % (failure.message, fix) if fix else failure.message
    return {"code": failure.code, "message": message, "exitCode": None}


def wait_for_boot() -> None:
    """Waits until cloud-init has set up the users, the disks and what the user's own data asks for.
    Returns at once on a machine without cloud-init.
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
