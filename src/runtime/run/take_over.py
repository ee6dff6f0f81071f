"""Takes over a run whose instance is gone, from what the store has of it:
docs/reference/formats.md, "Interruption".
"""

from __future__ import annotations

import os
import time

from ..disk.trash import Trash
from ..report.signed_record import SigningKey, version
from ..system import atomic_files
from ..system.errors import Failure
from ..system.file_lock import held
from .node_stop import GROWTH
from .node_variables import is_other_node
from .taken_over_files import take_checkpoints, take_log, take_metrics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ..aws.bucket import Bucket, Object
    from ..system.documents import RunRecord, RunSpec, StoreAccess
    from .taken_over_files import Objects

# A run whose record was written within this time, by S3's clock, may still be active, unless its
# instance is terminated.
LEASE_S = 60
# How long it is waited for the reporter of an earlier attempt on this very instance to end.
REPORTER_END_S = 30
POLL_S = 0.1
# The outcomes of an attempt after which another one may resume.
INTERRUPTED = ("interrupted", "lost")


def begin(run_dir: str, spec: RunSpec) -> dict[str, Any]:
    """Makes the directory of a run that has not been on this instance, as the store has it. Returns
    the part of its state that the run takes over.

    The supervisor writes `run.json` after this: until then, a process that is killed leaves no run.
    NO_ROLE, ACCESS_DENIED: the role must write, read and list below the run's prefix. RUN_ACTIVE,
    NOT_RESUMABLE.
    """
    from ..aws.bucket import open_bucket

    store: StoreAccess | None = spec["store"]
    if not store:
        raise Failure("NO_ROLE", "the run has no store to resume from")
    access = store.copy()
    access["access"] = "role"
    bucket = open_bucket(access)
    if is_new_node(bucket, spec):
        clear(run_dir)
        return {"attempt": next_attempt(spec)}
    found, record, stored = read(bucket, spec)
    refuse(record, found, spec)
    clear(run_dir)
    os.makedirs(run_dir, exist_ok=True)
    stored_bytes, log_bytes = take_log(run_dir, bucket, record=record, stored=stored)
    take_metrics(run_dir, record, stored=stored, log_bytes=log_bytes)
    attempt = next_attempt(spec)
    take_checkpoints(run_dir, bucket, spec=spec, record=record, stored=stored, attempt=attempt)
    # Of two instances that resume a run, the one whose first record does not follow this one ends
    # itself.
    state = taken_over(
        record,
        last_heard=found.modified,
        attempt=attempt,
        stored_log_bytes=stored_bytes,
        has_moved=is_held(record, spec["nextAttempt"] or {}),
    )
    report = {
        "saved": False,
        "settled": len(state["attempts"]),
        "heartbeat": record["heartbeat"],
        "etag": found.etag,
        "version": version(record),
        "proven": True,
    }
    atomic_files.write_json(os.path.join(run_dir, "report.json"), report)
    return state


def is_new_node(bucket: Bucket, spec: RunSpec) -> bool:
    """Whether this is another node than the first one, and the run was interrupted before that had
    begun.
    """
    node = spec.get("node")
    if not node or not node["rank"]:
        return False
    try:
        return SigningKey(spec).read(bucket)[0] is None
    except Failure as failure:
        if failure.code != "ACCESS_DENIED":
            raise
        raise denied(spec, failure.detail.get("aws"))


def next_attempt(spec: RunSpec) -> int:
    wanted = spec["nextAttempt"]
    return wanted["attempt"] if wanted else 1


def read(bucket: Bucket, spec: RunSpec) -> tuple[Object, RunRecord, Objects]:
    """The run's record as an Object and as it reads, and what the store has of the run."""
    try:
        stored = dict(bucket.list())
        found, record = SigningKey(spec).read(bucket)
    except Failure as failure:
        if failure.code != "ACCESS_DENIED":
            raise
        raise denied(spec, failure.detail.get("aws"))
    if found and found.refused and is_permission(found.refused):
        raise denied(spec, found.refused)
    if found is None:
        how = "the store has no record of %s, so it can't be resumed" % spec["id"]
        raise Failure("NOT_RESUMABLE", how)
    if record is None:
        why = "S3 does not let it be read (%s)" % found.refused
        raise Failure(
            "RECORD_UNVERIFIED",
            "the record of %s in the store is not signed by the run: another program has "
            "written it%s" % (spec["id"], ". " + why if found.refused else ""),
        )
    return found, record, stored


def is_permission(refused: str) -> bool:
    """Whether S3 refuses to read an object because the role lacks a permission of S3, and not one
    for the key with which another program has encrypted the object.
    """
    return refused.startswith("AccessDenied") and "kms:" not in refused


def denied(spec: RunSpec, aws: str | None) -> Failure:
    bucket, prefix = spec["store"]["bucket"], spec["store"]["prefix"]
    return Failure(
        "ACCESS_DENIED",
        "the instance's role may not read the run, and so can't resume it",
        status=403,
        aws=aws,
        fix="allow s3:GetObject and s3:PutObject on %s/%s*, and s3:ListBucket on %s for that prefix"
        % (bucket, prefix, bucket),
    )


def refuse(record: RunRecord, found: Object, spec: RunSpec) -> None:
    """Raises a Failure where the run is another one, is active, or has ended by itself."""
    wanted: Mapping[str, Any] = spec["nextAttempt"] or {}
    run = spec["id"]
    if record.get("heartbeat", 0) < (wanted.get("heartbeat") or 0):
        raise Failure(
            "RECORD_UNVERIFIED",
            "the record of %s in the store is older than the one that was read before: "
            "it was put back" % run,
        )
    if record.get("v") != 1 or record.get("id") != run:
        how = "the record of %s in the store is of another version, or another run" % run
        raise Failure("NOT_RESUMABLE", how)
    if record["runKey"] != spec["runKey"]:
        how = "%s is another training than the one to resume: its files or options differ" % run
        raise Failure("NOT_RESUMABLE", how)
    outcome, instance = record["outcome"], record["instance"]
    has_ended = record["state"] == "ended"
    # How the run has ended, the record of the first node says. Another one may have failed to be
    # prepared beside an attempt.
    may_resume = INTERRUPTED + (("succeeded", "setup-failed") if is_other_node(spec) else ())
    if has_ended and outcome not in may_resume:
        raise Failure("NOT_RESUMABLE", "%s has ended: %s" % (run, outcome), outcome=outcome)
    is_free = found.age >= LEASE_S or is_terminated(record, wanted) or is_held(record, wanted)
    if wanted.get("waiting") and not is_held(record, wanted):
        how = "%s does not hold %s for another instance any more" % (instance, run)
        raise Failure("RUN_ACTIVE", how, instance=instance)
    if not has_ended and not is_free:
        shown = (run, instance, found.age)
        how = "%s is active on %s: its last heartbeat is %d s old" % shown
        raise Failure("RUN_ACTIVE", how, instance=instance)
    node = spec.get("node")
    # A node that is prepared for the next attempt has the number of this one, as one before it had.
    joins = bool(node and node.get("joins"))
    if record["attempt"] >= wanted["attempt"] + joins:
        shown = (record["attempt"], run, instance)
        how = "attempt %d of %s has already started, on %s" % shown
        raise Failure("RUN_ACTIVE", how, instance=instance)


def is_terminated(record: RunRecord, wanted: Mapping[str, Any]) -> bool:
    """Whether the client knows from EC2 that the instance which has written this record is
    terminated. What it says of another instance or attempt says nothing of this one.
    """
    said: Mapping[str, Any] | None = wanted.get("terminated")
    return bool(said) and said == {name: record[name] for name in ("instance", "attempt")}


def is_held(record: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether this is the very record after which the instance that has written it holds the run:
    it writes another one before the run gets its turn there.
    """
    said: Mapping[str, Any] | None = wanted.get("waiting")
    names = ("instance", "attempt", "heartbeat")
    return bool(said) and record["state"] != "ended" and said == {n: record[n] for n in names}


def clear(run_dir: str) -> None:
    """Removes what a take-over that was killed has left, or an earlier attempt on this very
    instance.
    """
    # The reporter lives for a moment after it has written that the attempt has ended.
    deadline = time.monotonic() + REPORTER_END_S
    while any(held(os.path.join(run_dir, name)) for name in ("lock", "report.lock")):
        if time.monotonic() < deadline:
            time.sleep(POLL_S)
            continue
        raise Failure("RUN_ACTIVE", "the reporter of this instance still writes the run's record")
    # First the file that says that there is a run.
    try:
        os.unlink(os.path.join(run_dir, "run.json"))
    except FileNotFoundError:
        pass
    trash = Trash(os.path.dirname(os.path.dirname(run_dir)))
    trash.take(run_dir)
    trash.empty()


def taken_over(
    record: Mapping[str, Any],
    *,
    last_heard: int,
    attempt: int,
    stored_log_bytes: int,
    has_moved: bool,
) -> dict[str, Any]:
    """The run's state as an earlier attempt left it. `last_heard`: when its record was last
    written, ms. `has_moved`: it waited on an instance that holds it for this one.
    """
    instance, was_interrupted = record["instance"], record["outcome"] == "interrupted"
    attempts: list[dict[str, Any]] = list(record["attempts"])
    price = record["metadata"].get("price")
    training, node = record["log"]["training"], record.get("node")
    if attempts and attempts[-1]["n"] == record["attempt"]:
        why = "%s was %s" % (instance, "interrupted" if was_interrupted else "lost")
        stop: Mapping[str, Any] = record["stop"] or {}
        if stop.get("reason") == GROWTH:
            why = "the next attempt has more nodes"
        attempts[-1] = dict(attempts[-1], price=price, why=why)
    else:
        attempts.append({
            "n": record["attempt"],
            "instance": instance,
            "startedAt": record.get("since"),
            "endedAt": record["endedAt"] or last_heard,
            "exitCode": None,
            "signal": None,
            "stopped": was_interrupted,
            "why": "the run waited on %s, and moved" % instance
            if has_moved
            else "%s sent no more heartbeats" % instance,
            "price": price,
            "nodes": node["count"] if node else None,
        })
    return {
        "createdAt": record["createdAt"],
        "startedAt": record["startedAt"],
        "attempt": attempt,
        "attempts": attempts,
        # It is in what was lost of the log, if that has less.
        "training": training and min(training, stored_log_bytes),
        "takenOver": {"from": instance, "log": stored_log_bytes},
    }
