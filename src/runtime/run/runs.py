"""Runs: their record, their start, their end as others see it."""

from __future__ import annotations

import fcntl
import os
import time

from ..run_dir import stop_request, turn_hold
from ..run_dir.run_id import RUN_ID
from ..system import atomic_files
from ..system.account import training_user
from ..system.errors import Failure
from ..system.file_lock import held
from ..system.wall_clock import now_ms
from .node_stop import GROWTH
from .node_variables import is_other_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Mapping

    from ..sync.tree import Tree
    from ..sync.tree_lock import TreeLock
    from ..system.documents import HoldOperation, RunReport, RunSpec


# How long a start is watched, and how long a training that runs has to print something.
START_WATCH_S = 3.0
FIRST_OUTPUT_S = 0.2
# How long no reporter is started after one has given up.
GAVE_UP_PAUSE_MS = 120_000
# How long a reporter has to serve a hold on the turn of its run.
HOLD_TIMEOUT_S = 10


def directory(root: str, run_id: object) -> str:
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise Failure("NO_RUN", "%r is not the id of a run" % (run_id,), run=str(run_id))
    return os.path.join(root, "runs", run_id)


def find_directory(root: str, run_id: str) -> str:
    """The directory of a run, which may be below another root: `remoteRoot` may have been changed
    since its start.
    """
    from ..system import used_roots

    found = (directory(each, run_id) for each in used_roots.with_used(root))
    with_record = (each for each in found if os.path.exists(os.path.join(each, "run.json")))
    return next(with_record, directory(root, run_id))


def state(root: str, run_id: str) -> dict[str, Any]:
    """The record of a run. A run whose supervisor has disappeared is recorded as lost."""
    run_dir = find_directory(root, run_id)
    record = atomic_files.read_json(os.path.join(run_dir, "run.json"))
    if record is None:
        raise Failure("NO_RUN", "there is no run %s on this instance" % run_id, run=run_id)
    if record["state"] != "ended" and not held(os.path.join(run_dir, "lock")):
        from ..report.lost_run import end_lost_run

        end_lost_run(run_dir)
        record = atomic_files.read_json(os.path.join(run_dir, "run.json"))
        ensure_reported(run_dir)
    return record


def ensure_reported(run_dir: str) -> None:
    """Starts the run's reporter again if it has ended before everything was uploaded. Not at once
    after it gave up: a client that follows is told of that, and a later command tries again.
    """
    from ..report import reporter

    spec = atomic_files.read_json(os.path.join(run_dir, "plan.json"))
    told: Mapping[str, Any] = report(run_dir) or {}
    if 0 <= now_ms() - (told.get("gaveUp") or 0) < GAVE_UP_PAUSE_MS:
        return
    if spec and spec["store"] and not (told.get("saved") or told.get("superseded")):
        reporter.start(run_dir)


def report(run_dir: str) -> RunReport | None:
    """What the run's reporter has uploaded; None before its first write."""
    return atomic_files.read_json(os.path.join(run_dir, "report.json"))


def all_of(root: str, key: str) -> Iterator[dict[str, Any]]:
    """The records of the runs of one training, newest first."""
    try:
        names = filter(RUN_ID.fullmatch, os.listdir(os.path.join(root, "runs")))
    except OSError:
        return
    for name in sorted(names, reverse=True):
        record = atomic_files.read_json(os.path.join(root, "runs", name, "run.json"))
        if record and record["runKey"] == key and record["kind"] == "training":
            try:
                yield state(root, name)
            except Failure:
                # Another process has removed it to free space.
                continue


class Starting:
    """The lock for looking whether a training is running, and starting it if it is not."""

    def __init__(self, root: str) -> None:
        self.path = os.path.join(root, "start.lock")

    def __enter__(self) -> None:
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        # Processes that were forked since have the descriptor, too: closing it here would not
        # release the lock.
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


def find(root: str, spec: RunSpec) -> dict[str, Any] | None:
    """The run that is this very training, whoever has started it: by its id, or by its key if that
    run is active, or has succeeded after the one that the client knows to have failed.
    """
    next_attempt = spec.get("nextAttempt")
    if os.path.exists(os.path.join(directory(root, spec["id"]), "run.json")):
        record = state(root, spec["id"])
        has_ended = record["outcome"] is not None
        if next_attempt and has_ended and record["attempt"] < next_attempt["attempt"]:
            return None
        return record
    # Which run it is, the first node decides.
    if spec["rerun"] or next_attempt or is_other_node(spec):
        return None
    for record in all_of(root, spec["runKey"]):
        if is_other_node(record):
            continue
        is_newer = record["id"] > (spec["knownFailed"] or "")
        if record["outcome"] is None or (record["outcome"] == "succeeded" and is_newer):
            return record
    return None


def start(plan: dict[str, Any], root: str, *, lock: TreeLock, tree: Tree) -> None:
    """Starts the run of a plan."""
    from . import supervisor

    spec: RunSpec = plan["run"]
    run_dir = directory(root, spec["id"])
    account = training_user(plan.get("user"))
    next_attempt = spec.get("nextAttempt")
    if spec.get("node"):
        spec = for_node(spec)
    elif next_attempt and next_attempt.get("waiting") and spec["store"]:
        # A form can't tell whether the run is this instance's.
        spec = with_role(spec)
    if spec["detached"] or (spec["store"] and spec["store"]["access"] == "role"):
        from ..aws.bucket import open_bucket

        # There is no form, or no client that renews it: a run that the role can't write must not
        # start.
        access = spec["store"].copy()
        access["access"] = "role"
        open_bucket(access)
    record = new_record(plan, run_dir, account.pw_name)
    if next_attempt:
        from . import take_over

        record.update(take_over.begin(run_dir, spec))
    os.makedirs(run_dir, exist_ok=True)
    atomic_files.write_json(os.path.join(run_dir, "plan.json"), without_secrets(spec), 0o600)
    supervisor.spawn(run_dir, record, spec, tree=tree, account=account, lock=lock)


def for_node(spec: RunSpec) -> RunSpec:
    """The specification of a node of a run on several, which needs the role: nodes read each
    other's records.
    """
    from ..report.node_records import run_prefix

    if not spec["store"]:
        raise Failure("NO_ROLE", "the nodes of a run need a store, where they find each other")
    run_prefix(spec)
    return with_role(spec)


def with_role(spec: RunSpec) -> RunSpec:
    changed = spec.copy()
    changed["store"] = spec["store"].copy()
    changed["store"]["access"] = "role"
    return changed


def new_record(plan: Mapping[str, Any], run_dir: str, user: str) -> dict[str, Any]:
    """The record of a run that has not started."""
    from ..system.boot_clock import boot
    from ..system.gpu_count import count_gpus

    spec: RunSpec = plan["run"]
    return {
        "id": spec["id"],
        "kind": spec.get("kind", "training"),
        "runKey": spec["runKey"],
        "project": spec["project"],
        "caller": spec["caller"],
        "tree": plan["tree"],
        "snapshot": plan["sync"]["snapshot"],
        "instance": os.environ.get("AWS_SSM_INSTANCE_ID"),
        "boot": boot(),
        "state": "preparing",
        "pid": None,
        "supervisor": None,
        "user": user,
        "scope": False,
        "createdAt": now_ms(),
        "startedAt": None,
        "endedAt": None,
        "exitCode": None,
        "signal": None,
        "since": None,
        "attempt": 1,
        "attempts": [],
        "queue": None,
        "resources": spec["resources"],
        "gpus": [],
        "launcher": None,
        "totalGpus": count_gpus(),
        "training": None,
        "datasets": [],
        "restoredFrom": None,
        "takenOver": None,
        "node": None,
        "nodes": [],
        "rendezvous": None,
        "nodeCheckpoints": [],
        "wholeCheckpoint": None,
        "failedNode": None,
        "stop": None,
        "failure": None,
        "outcome": None,
        "warnings": [],
        "directory": run_dir,
    }


def without_secrets(spec: RunSpec) -> RunSpec:
    """The part of a run's plan that is stored: without the secrets that the client has read."""
    stored = spec.copy()
    stored["env"] = {name: value for name, value in spec["env"].items() if name not in spec["mask"]}
    return stored


def watch_start(root: str, run_id: str) -> dict[str, Any]:
    """The run's record when it is active or has ended, or after START_WATCH_S."""
    deadline, running_since = time.monotonic() + START_WATCH_S, None
    while True:
        record = state(root, run_id)
        is_settled = record["outcome"] is not None or record["state"] in ("queued", "setup")
        if is_settled or time.monotonic() > deadline:
            return record
        if record["state"] == "running":
            running_since = running_since or time.monotonic()
            has_output = os.path.getsize(os.path.join(record["directory"], "log")) > 0
            if has_output or time.monotonic() - running_since > FIRST_OUTPUT_S:
                return record
        time.sleep(0.01)


def cancel(plan: Mapping[str, Any], root: str) -> dict[str, Any]:
    """Asks a run to stop; with `attempt`, only that attempt, so that one with more nodes
    follows.
    """
    record = state(root, plan["run"])
    has_ended = record["outcome"] is not None
    attempt = plan.get("attempt")
    if attempt is not None:
        is_over = has_ended or record["attempt"] != attempt
        if not is_over:
            stop_request.ask(find_directory(root, record["id"]), GROWTH, plan["gracePeriod"])
        return {"run": record, "already": is_over}
    if not has_ended:
        path = os.path.join(find_directory(root, record["id"]), "stop.json")
        stop = {"reason": "cancelled", "gracePeriod": plan["gracePeriod"]}
        atomic_files.write_json(path, stop)
        # Another instance may have it by now: the client looks for it afterwards.
        turn_hold.wait_for_end(os.path.dirname(path), HOLD_TIMEOUT_S)
    return {"run": record, "already": has_ended}


def hold(plan: HoldOperation, root: str) -> dict[str, Any]:
    """Holds the turn of a run that waits, so that another instance can take it over. `held`: the
    heartbeat of the record to take over; None where the run does not wait, is held already, or is
    saved in a way that can not tell which instance has it.
    """
    record = state(root, plan["run"])
    run_dir = find_directory(root, plan["run"])
    return {"run": record, "held": held_record(run_dir, record, plan["attempt"])}


def held_record(run_dir: str, record: Mapping[str, Any], attempt: int) -> int | None:
    from .resource_queue import ResourceQueue

    if record["state"] != "queued" or record["attempt"] != attempt:
        return None
    root = os.path.dirname(os.path.dirname(run_dir))
    with ResourceQueue(root, record["totalGpus"]) as queue:
        if not queue.is_waiting(record["id"]) or not turn_hold.request(run_dir):
            return None
    until = turn_hold.until(run_dir)
    deadline = time.monotonic() + HOLD_TIMEOUT_S
    while turn_hold.is_held(run_dir) and time.monotonic() < deadline:
        told: Mapping[str, Any] = report(run_dir) or {}
        held_turn = told.get("held")
        if held_turn and held_turn["until"] == until:
            return held_turn["heartbeat"]
        time.sleep(0.02)
    return None


def renew(plan: Mapping[str, Any], root: str) -> dict[str, Any]:
    """Gives a run a new way into the store, and starts its reporter if something is not uploaded
    yet.
    """
    record = state(root, plan["run"])
    run_dir = find_directory(root, plan["run"])
    if plan["store"]:
        atomic_files.write_json(os.path.join(run_dir, "access.json"), plan["store"], 0o600)
    ensure_reported(run_dir)
    return {"run": record, "report": report(run_dir)}
