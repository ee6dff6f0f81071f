"""Takes over a run whose instance is gone, from what the store has of it:
docs/reference/formats.md, "Interruption".
"""

from __future__ import annotations

import hashlib
import os
import re

from ..checkpoints import checkpoint_restore
from ..disk.trash import Trash
from ..report.signed_record import RECORD as RECORD_NAME
from ..report.signed_record import RecordKey, version
from ..run_dir import log_trim
from ..system import atomic_files
from ..system.bounded import parse
from ..system.errors import Failure
from ..system.file_lock import held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ..aws.bucket import Bucket, Object
    from ..report.log_upload import LogHashes
    from ..system.documents import ResumeSource, RunRecord, RunRecordLog, RunSpec, StoreAccess

    # The names of the run's objects in the store, and their sizes.
    Objects = Mapping[str, int]

# A run whose record was written within this time, by S3's clock, may still be active.
SILENCE_S = 60
LARGEST_OBJECT_BYTES = 1024 * 1024
LARGEST_MANIFEST_BYTES = 64 * 1024 * 1024
# So many objects of a kind are written after the last record at the most.
UNRECORDED = 1000
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
    found, record, stored = read(bucket, spec)
    refuse(record, found, spec)
    clear(run_dir)
    os.makedirs(run_dir, exist_ok=True)
    stored_bytes, log_bytes = take_log(run_dir, bucket, record=record, stored=stored)
    take_metrics(run_dir, record, stored=stored, log_bytes=log_bytes)
    take_checkpoints(run_dir, bucket, spec=spec, record=record, stored=stored)
    # Of two instances that resume a run, the one whose first record does not follow this one ends
    # itself.
    state = taken_over(
        record,
        last_heard=found.modified,
        attempt=next_attempt(spec),
        stored_log_bytes=stored_bytes,
    )
    report = {
        "saved": False,
        "settled": len(state["attempts"]),
        "heartbeat": record["heartbeat"],
        "etag": found.etag,
        "version": version(record),
    }
    atomic_files.write_json(os.path.join(run_dir, "report.json"), report)
    return state


def next_attempt(spec: RunSpec) -> int:
    wanted = spec["nextAttempt"]
    return wanted["attempt"] if wanted else 1


def read(bucket: Bucket, spec: RunSpec) -> tuple[Object, RunRecord, Objects]:
    """The run's record as an Object and as it reads, and what the store has of the run."""
    try:
        stored = dict(bucket.list())
        found, record = RecordKey(spec).read(bucket)
    except Failure as failure:
        if failure.code != "ACCESS_DENIED":
            raise
        raise denied(spec, failure.detail.get("aws"))
    if found is None and RECORD_NAME in stored:
        raise denied(spec, "s3:GetObject is refused")
    if found is None:
        how = "the store has no record of %s, so it can't be resumed" % spec["id"]
        raise Failure("NOT_RESUMABLE", how)
    if record is None:
        raise Failure(
            "RECORD_UNVERIFIED",
            "the record of %s in the store is not signed by the run: another program has "
            "written it" % spec["id"],
        )
    return found, record, stored


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
    if has_ended and outcome not in INTERRUPTED:
        raise Failure("NOT_RESUMABLE", "%s has ended: %s" % (run, outcome), outcome=outcome)
    if not has_ended and found.age < SILENCE_S:
        shown = (run, instance, found.age)
        how = "%s is active on %s: its last heartbeat is %d s old" % shown
        raise Failure("RUN_ACTIVE", how, instance=instance)
    if record["attempt"] >= wanted["attempt"]:
        shown = (record["attempt"], run, instance)
        how = "attempt %d of %s has already started, on %s" % shown
        raise Failure("RUN_ACTIVE", how, instance=instance)


def clear(run_dir: str) -> None:
    """Removes what a take-over that was killed has left, or an earlier attempt on this very
    instance.
    """
    if any(held(os.path.join(run_dir, name)) for name in ("lock", "report.lock")):
        raise Failure("RUN_ACTIVE", "the reporter of this instance still writes the run's record")
    # First the file that says that there is a run.
    try:
        os.unlink(os.path.join(run_dir, "run.json"))
    except FileNotFoundError:
        pass
    trash = Trash(os.path.dirname(os.path.dirname(run_dir)))
    trash.take(run_dir)
    trash.empty()


def numbers(stored: Objects, folder: str, *, recorded: int, ending: str = "") -> dict[int, int]:
    """{n: bytes} of the objects `<folder>/<n><ending>`. `recorded`: the last n that the run's
    record names.

    Another program has written a name far above it: numbers that continue from it would soon be
    too large for readers.
    """
    pattern = re.compile("%s/([0-9]{1,9})%s" % (folder, re.escape(ending)))
    found: dict[int, int] = {}
    for name, size in stored.items():
        match = pattern.fullmatch(name)
        if match and int(match[1]) <= recorded + UNRECORDED:
            found[int(match[1])] = size
    return found


def take_log(
    run_dir: str, bucket: Bucket, *, record: RunRecord, stored: Objects
) -> tuple[int, int]:
    """Makes a log of which the last segment alone is on this instance. Returns the length of the
    store's, and the length of this one, whose last line is complete.

    The segments that the record names are verified; what was written after it, until the instance
    was lost, is taken as it is.
    """
    from ..report.log_upload import SEGMENT_BYTES

    hashes, rest, last = log_hashes(record["log"])
    segments = numbers(stored, "log", recorded=hashes.whole)
    number, data = hashes.whole, b""
    if rest and number not in segments:
        raise changed_log(number)
    while number in segments:
        data = required(bucket, "log/%d" % number)[:SEGMENT_BYTES]
        if rest and hashlib.sha256(data[:rest]).hexdigest() != last:
            raise changed_log(number)
        rest = 0
        if len(data) < SEGMENT_BYTES or number + 1 not in segments:
            break
        hashes.add(data)
        number += 1
    start = number * SEGMENT_BYTES
    with open(os.path.join(run_dir, "log"), "wb") as file:
        file.truncate(start)
        file.seek(start)
        file.write(data)
        if data and not data.endswith(b"\n"):
            # A line that was cut off is ended.
            file.write(b"\n")
        length = file.tell()
    log_trim.write(run_dir, start)
    atomic_files.write_json(os.path.join(run_dir, "log.saved"), hashes.data())
    times = read_times(bucket.get("times.json") or b"") if "times.json" in stored else []
    with open(os.path.join(run_dir, "times"), "w") as file:
        file.writelines("%d %d\n" % (at, size) for at, size in times if size <= length)
    return start + len(data), length


def read_times(data: bytes) -> list[tuple[int, int]]:
    """The times of a log. None of them where another program changed the object, which is not
    signed: they only say where a log begins.
    """
    try:
        return [(int(at), int(size)) for at, size in parse(data)["times"]]
    except (ValueError, KeyError, TypeError, OverflowError):
        return []


def log_hashes(log: RunRecordLog) -> tuple[LogHashes, int, str | None]:
    """Of a record's log: the hashes of the whole segments, how many bytes the record names of the
    next one, and their hash.
    """
    from ..report.log_upload import SEGMENT_BYTES, LogHashes

    saved, (whole, rest) = log["hashes"], divmod(log["size"], SEGMENT_BYTES)
    if not saved:
        return LogHashes(), 0, None
    names = saved["segments"]
    complete = saved.copy()
    complete["segments"] = names[: whole - saved["folded"]]
    return LogHashes(complete), rest, names[-1] if rest else None


def changed_log(number: int) -> Failure:
    name = "log/%d" % number
    how = "%s of the run does not match its record: another program has changed it" % name
    return Failure("NOT_RESUMABLE", how, what=name)


def take_metrics(run_dir: str, record: RunRecord, *, stored: Objects, log_bytes: int) -> None:
    """Has new measurements written to the next segment, and the log that was taken over not counted
    again.
    """
    os.makedirs(os.path.join(run_dir, "metrics"))
    metrics = record["metrics"]
    segments = numbers(stored, "metrics", recorded=metrics["segments"])
    if segments:
        open(os.path.join(run_dir, "metrics", str(max(segments) + 1)), "w").close()
    position = {"latest": metrics["training"], "identity": None, "offset": 0}
    state = {"fed": log_bytes, "position": position, "warnings": metrics["warnings"]}
    atomic_files.write_json(os.path.join(run_dir, "metrics.json"), state)


def take_checkpoints(
    run_dir: str, bucket: Bucket, *, spec: RunSpec, record: RunRecord, stored: Objects
) -> None:
    """Writes the list of saved checkpoints, whose numbers continue. The newest that can be read
    will be restored, so it counts as saved.
    """
    from ..checkpoints.checkpoints import Checkpoints

    kept = record["checkpoints"]
    recorded = max((each["n"] for each in kept), default=0)
    found = numbers(stored, "checkpoint", recorded=recorded, ending=".json")
    saved = Checkpoints(
        os.path.join(run_dir, "checkpoints"),
        run_dir,
        parts=None,
        bucket=None,
        keep=spec["checkpoints"]["keep"],
        every=spec["checkpoints"]["every"],
        attempt=next_attempt(spec),
        kept=kept,
        number=max(found, default=0),
    )
    for each in reversed(kept):
        try:
            data = required(bucket, "checkpoint/%d.json" % each["n"], LARGEST_MANIFEST_BYTES)
            manifest = checkpoint_restore.read(data, each["sha256"])
        except Failure as failure:
            if failure.code in ("CHECKPOINT_MISMATCH", "PART_MISMATCH", "NOT_RESUMABLE"):
                continue
            raise
        parts = {name for entry in manifest["files"] for name in entry["parts"]}
        with open(os.path.join(run_dir, "parts.json"), "w") as file:
            file.writelines(name + "\n" for name in sorted(parts) if "part/" + name in stored)
        saved.expects(manifest)
        return


def required(bucket: Bucket, name: str, limit: int = LARGEST_OBJECT_BYTES) -> bytes:
    """The content of an object of the run. NOT_RESUMABLE where it is missing."""
    data = bucket.get(name, limit=limit)
    if data is None:
        raise Failure("NOT_RESUMABLE", "%s of the run is not in the store" % name, what=name)
    return data


def taken_over(
    record: Mapping[str, Any], *, last_heard: int, attempt: int, stored_log_bytes: int
) -> dict[str, Any]:
    """The run's state as an earlier attempt left it. `last_heard`: when its record was last
    written, ms.
    """
    instance, was_interrupted = record["instance"], record["outcome"] == "interrupted"
    attempts: list[dict[str, Any]] = list(record["attempts"])
    price = record["metadata"].get("price")
    if attempts and attempts[-1]["n"] == record["attempt"]:
        why = "%s was interrupted" if was_interrupted else "%s was lost"
        attempts[-1] = dict(attempts[-1], price=price, why=why % instance)
    else:
        attempts.append({
            "n": record["attempt"],
            "instance": instance,
            "startedAt": record.get("since"),
            "endedAt": record["endedAt"] or last_heard,
            "exitCode": None,
            "signal": None,
            "stopped": was_interrupted,
            "why": "%s sent no more heartbeats" % instance,
            "price": price,
        })
    return {
        "createdAt": record["createdAt"],
        "startedAt": record["startedAt"],
        "attempt": attempt,
        "attempts": attempts,
        "training": record["log"]["training"],
        "takenOver": {"from": instance, "log": stored_log_bytes},
    }


def trained_s(attempts: list[dict[str, Any]]) -> float:
    """How long attempts have trained, in seconds."""
    trained_ms = sum(
        max(0, each["endedAt"] - each["startedAt"])
        for each in attempts
        if each["startedAt"] and each["endedAt"]
    )
    return trained_ms / 1000.0


def own_checkpoints(run_dir: str, spec: RunSpec) -> list[ResumeSource]:
    """The checkpoints that an attempt may resume from, newest first, as a plan's `resumeFrom`."""
    path = os.path.join(run_dir, "checkpoints.json")
    stored: dict[str, Any] = atomic_files.read_json(path) or {"kept": []}
    return [
        {
            "run": spec["id"],
            "n": each["n"],
            "sha256": each["sha256"],
            "prefix": spec["store"]["prefix"],
            "urls": None,
        }
        for each in reversed(stored["kept"])
    ]
