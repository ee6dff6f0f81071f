"""Runs: their record, their start, their end as others see it."""

from __future__ import annotations

import fcntl
import os
import time

from ..run_dir.run_id import RUN_ID
from ..system import atomic_files
from ..system.account import training_user
from ..system.errors import Failure
from ..system.file_lock import held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..sync.tree import Tree
    from ..sync.tree_lock import TreeLock
    from ..system.documents import RunReport, RunSpec


# Seconds that a start is watched, and that a training which runs is given to say something.
STARTING = 3.0
SPEAKING = 0.2


def directory(root: str, run_id: object) -> str:
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise Failure("NO_RUN", "%r is not the id of a run" % (run_id,), run=str(run_id))
    return os.path.join(root, "runs", run_id)


def state(root: str, run_id: str) -> dict[str, Any]:
    """The record of a run, as true as it can be told: one whose supervisor is gone is lost, never running."""
    home = directory(root, run_id)
    record = atomic_files.read_json(os.path.join(home, "run.json"))
    if record is None:
        raise Failure("NO_RUN", "there is no run %s on this instance" % run_id, run=run_id)
    if record["state"] != "ended" and not held(os.path.join(home, "lock")):
        from ..report import reporter

        reporter.settle(home)
        record = atomic_files.read_json(os.path.join(home, "run.json"))
        tell(home)
    return record


def tell(home: str) -> None:
    """Starts the run's reporter again if it has ended before everything was uploaded."""
    from ..report import reporter

    part = atomic_files.read_json(os.path.join(home, "plan.json"))
    told = report(home) or {}
    if part and part["store"] and not (told.get("saved") or told.get("superseded")):
        reporter.start(home)


def report(home: str) -> RunReport | None:
    """What the run's reporter has uploaded: {"saved", "trouble", …}; None before its first write."""
    return atomic_files.read_json(os.path.join(home, "report.json"))


def all_of(root, key):
    """The records of the runs of one training, newest first."""
    try:
        names = sorted((name for name in os.listdir(os.path.join(root, "runs")) if RUN_ID.fullmatch(name)), reverse=True)
    except OSError:
        return
    for name in names:
        record = atomic_files.read_json(os.path.join(root, "runs", name, "run.json"))
        if record and record["runKey"] == key and record["kind"] == "training":
            try:
                yield state(root, name)
            except Failure:
                # It went meanwhile, to make room.
                continue


class Starting:
    """Held by whoever looks whether a training runs already, and starts it where it does not."""

    def __init__(self, root: str) -> None:
        self.path = os.path.join(root, "start.lock")

    def __enter__(self) -> None:
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        # What was forked meanwhile has the descriptor too: closing it here would not give up the lock.
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


def find(root: str, part: RunSpec) -> dict[str, Any] | None:
    """The run that is this very training, whoever has started it: by its id, or by its key where that goes on, or has
    succeeded after the one that is known to be done with."""
    next_attempt = part.get("nextAttempt")
    if os.path.exists(os.path.join(directory(root, part["id"]), "run.json")):
        record = state(root, part["id"])
        return None if next_attempt and record["outcome"] is not None and record["attempt"] < next_attempt["attempt"] else record
    if part["rerun"] or next_attempt:
        return None
    for record in all_of(root, part["runKey"]):
        if record["outcome"] is None or (record["outcome"] == "succeeded" and record["id"] > (part["knownFailed"] or "")):
            return record
    return None


def start(plan: dict[str, Any], root: str, lock: TreeLock, tree: Tree) -> None:
    """Starts the run of a plan."""
    from ..report import reporter
    from ..system.host_stats import count_gpus
    from . import supervisor

    part = plan["run"]
    home = directory(root, part["id"])
    account = training_user(plan.get("user"))
    if part["detached"] or (part["store"] and part["store"]["access"] == "role"):
        from ..aws.bucket import open_bucket

        # There is no form, or no client that renews it: a run that the role can't write must not start.
        open_bucket(dict(part["store"], access="role"))
    record = {
        "id": part["id"], "kind": part.get("kind", "training"), "runKey": part["runKey"], "project": part["project"], "caller": part["caller"], "tree": plan["tree"],
        "snapshot": plan["sync"]["snapshot"], "instance": os.environ.get("AWS_SSM_INSTANCE_ID"), "boot": reporter.boot(),
        "state": "preparing", "pid": None, "supervisor": None, "user": account.pw_name, "scope": False,
        "createdAt": int(time.time() * 1000), "startedAt": None, "endedAt": None, "exitCode": None, "signal": None,
        "since": None, "attempt": 1, "attempts": [], "queue": None, "resources": part["resources"], "gpus": [], "totalGpus": count_gpus(),
        "training": None, "datasets": [], "restoredFrom": None, "takenOver": None,
        "stop": None, "failure": None, "outcome": None, "warnings": [], "directory": home,
    }
    if part.get("nextAttempt"):
        from . import take_over

        record.update(take_over.begin(home, part, record["instance"]))
    os.makedirs(home, exist_ok=True)
    atomic_files.write_json(os.path.join(home, "plan.json"), without_secrets(part), 0o600)
    supervisor.spawn(home, record, part, tree, account, lock)


def without_secrets(part):
    """What of a run's plan is written down: the values that the client has read are the training's alone."""
    return dict(part, env={name: value for name, value in part["env"].items() if name not in part["mask"]})


def watch_start(root: str, run_id: str) -> dict[str, Any]:
    """The run's record when it is under way or has ended, or after STARTING."""
    deadline, seen = time.monotonic() + STARTING, None
    while True:
        record = state(root, run_id)
        if record["outcome"] is not None or record["state"] == "queued" or time.monotonic() > deadline:
            return record
        if record["state"] == "setup":
            return record
        if record["state"] == "running":
            seen = seen or time.monotonic()
            if os.path.getsize(os.path.join(record["directory"], "log")) or time.monotonic() - seen > SPEAKING:
                return record
        time.sleep(0.01)


def cancel(plan, root):
    record = state(root, plan["run"])
    already = record["outcome"] is not None
    if not already:
        atomic_files.write_json(os.path.join(directory(root, record["id"]), "stop.json"), {"reason": "cancelled", "gracePeriod": plan["gracePeriod"]})
    return {"run": record, "already": already}


def renew(plan, root):
    """Gives a run another way into the store, and has told there what is still to be told."""
    record = state(root, plan["run"])
    home = directory(root, plan["run"])
    if plan["store"]:
        atomic_files.write_json(os.path.join(home, "access.json"), plan["store"], 0o600)
    tell(home)
    return {"run": record, "report": report(home)}
