"""Ends a run whose supervisor is gone."""

from __future__ import annotations

import fcntl
import os
import time

from ..system import atomic_files, cgroup, process_group, processes
from ..system.boot_clock import boot
from ..system.left_processes import Left

# The variable that marks all processes of a run, by the kind of its record.
LOCAL = "NX_EC2_LOCAL_INSTANCE"
MARKS = {"training": "NX_EC2_RUN_ID", "exec": "NX_EC2_EXEC_ID"}


def end_lost_run(run_dir: str) -> None:
    """Kills the processes that a run whose supervisor is gone has left, and records the run as
    lost. Does nothing while the supervisor is alive.
    """
    descriptor = os.open(
        os.path.join(run_dir, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return
    try:
        path = os.path.join(run_dir, "run.json")
        record = atomic_files.read_json(path)
        if record["state"] == "ended":
            return
        marks = ["%s=%s" % (MARKS[record["kind"]], record["id"])]
        # Instances of local AWS are one machine, and each may be a node of the same run.
        if LOCAL in os.environ:
            marks.append("%s=%s" % (LOCAL, os.environ[LOCAL]))
        rebooted = record.get("boot") != boot()
        group = None if rebooted else cgroup.of_run(run_dir)
        unkilled = Left(process_group.Processes(lambda: processes.marked(*marks), group).end(2.0))
        if group:
            group.remove()
        record.update(
            state="ended",
            endedAt=int(time.time() * 1000),
            outcome="lost",
            failure={
                "code": "REBOOTED" if rebooted else "SUPERVISOR_LOST",
                "exitCode": None,
                "message": "the instance was restarted"
                if rebooted
                else "its supervisor is gone: it was killed, or the instance was restarted",
            },
        )
        if unkilled:
            record["warnings"] = record.get("warnings", []) + [unkilled.unkilled()]
        atomic_files.write_json(path, record)
    finally:
        os.close(descriptor)
