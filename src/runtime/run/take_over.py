"""Going on with a run whose instance is gone, from what the store has of it: docs/reference/formats.md, "Interruption"."""
import hashlib
import os
import re

from ..checkpoints import checkpoint_restore
from ..disk.trash import Trash
from ..report.signed_record import RECORD as NAME
from ..report.signed_record import RecordKey, version
from ..run_dir import log_trim
from ..system import atomic_files
from ..system.bounded import parse
from ..system.errors import Failure
from ..system.file_lock import held

# A run whose record was written within this time may still be active, seconds by S3's clock.
SILENCE = 60
RECORD = 1024 * 1024
MANIFEST = 64 * 1024 * 1024
# So many objects of a kind are written after the last record at the most.
UNRECORDED = 1000
# How an attempt ended that may be gone on after.
INTERRUPTED = ("interrupted", "lost")


def begin(home, part, instance):
    """Makes the directory of a run, which is none of this instance yet, go on where the store has it; what its state takes over.

    `run.json` is written after it, by the supervisor: until then, whoever is killed is begun again. NO_ROLE, ACCESS_DENIED:
    the role must write, read and list below the run's prefix. RUN_ACTIVE, NOT_RESUMABLE."""
    from ..aws.bucket import open_bucket

    if part["store"] is None:
        raise Failure("NO_ROLE", "the run has no store to resume from")
    bucket = open_bucket(dict(part["store"], access="role"))
    found, record, there = read(bucket, part)
    refuse(record, found, part)
    clear(home)
    os.makedirs(home, exist_ok=True)
    told, log = take_log(home, bucket, record, there)
    take_metrics(home, record, there, log)
    take_checkpoints(home, bucket, part, record, there)
    # Of two instances that resume a run, the one whose first record does not follow this one ends itself.
    state = taken_over(record, found.modified, part["nextAttempt"]["attempt"], told)
    report = {"saved": False, "settled": len(state["attempts"]), "heartbeat": record["heartbeat"], "etag": found.etag, "version": version(record)}
    atomic_files.write_json(os.path.join(home, "report.json"), report)
    return state


def read(bucket, part):
    """The run's record as an Object and as it reads, and the names and sizes of all that the store has of it."""
    try:
        there = dict(bucket.list())
        found, record = RecordKey(part).read(bucket)
    except Failure as failure:
        if failure.code != "ACCESS_DENIED":
            raise
        raise denied(part, failure.detail.get("aws"))
    if found is None and NAME in there:
        raise denied(part, "s3:GetObject is refused")
    if found is None:
        raise Failure("NOT_RESUMABLE", "the store has no record of %s, so it can't be resumed" % part["id"])
    if record is None:
        raise Failure("RECORD_UNVERIFIED", "the record of %s in the store is not signed by the run: another program has written it" % part["id"])
    return found, record, there


def denied(part, aws):
    return Failure(
        "ACCESS_DENIED", "the instance's role may not read the run, and so can't resume it", status=403, aws=aws,
        fix="allow s3:GetObject and s3:PutObject on %s%s*, and s3:ListBucket on %s for that prefix" % (
            part["store"]["bucket"] + "/", part["store"]["prefix"], part["store"]["bucket"],
        ),
    )


def refuse(record, found, part):
    """A Failure where the run is another's, goes on, or has ended by itself."""
    attempt = part["nextAttempt"]["attempt"]
    if record.get("heartbeat", 0) < (part["nextAttempt"].get("heartbeat") or 0):
        raise Failure("RECORD_UNVERIFIED", "the record of %s in the store is older than the one that was read before: it was put back" % part["id"])
    if record.get("v") != 1 or record.get("id") != part["id"]:
        raise Failure("NOT_RESUMABLE", "the record of %s in the store is of another version, or another run" % part["id"])
    if record["runKey"] != part["runKey"]:
        raise Failure("NOT_RESUMABLE", "%s is another training than the one to resume: its files or options differ" % part["id"])
    if record["state"] == "ended" and record["outcome"] not in INTERRUPTED:
        raise Failure("NOT_RESUMABLE", "%s has ended: %s" % (part["id"], record["outcome"]), outcome=record["outcome"])
    if record["state"] != "ended" and found.age < SILENCE:
        raise Failure("RUN_ACTIVE", "%s is active on %s: its last heartbeat is %d s old" % (part["id"], record["instance"], found.age), instance=record["instance"])
    if record["attempt"] >= attempt:
        raise Failure(
            "RUN_ACTIVE", "attempt %d of %s has already started, on %s" % (record["attempt"], part["id"], record["instance"]), instance=record["instance"],
        )


def clear(home):
    """What one that was killed has left, or an earlier attempt on this very instance."""
    if held(os.path.join(home, "lock")) or held(os.path.join(home, "report.lock")):
        raise Failure("RUN_ACTIVE", "the reporter of this instance still writes the run's record")
    # First what says that there is a run.
    try:
        os.unlink(os.path.join(home, "run.json"))
    except FileNotFoundError:
        pass
    trash = Trash(os.path.dirname(os.path.dirname(home)))
    trash.take(home)
    trash.empty()


def numbers(there, folder, recorded, ending=""):
    """{n: bytes} of the objects `<folder>/<n><ending>`. `recorded`: the last n of which the run's record tells.

    A name far above it was written by someone else: numbers that continue from it would soon be too large for readers."""
    found = ((re.fullmatch("%s/([0-9]{1,9})%s" % (folder, re.escape(ending)), name), size) for name, size in there.items())
    return {int(name[1]): size for name, size in found if name and int(name[1]) <= recorded + UNRECORDED}


def take_log(home, bucket, record, there):
    """A log of which the last segment alone is here. The length that the store's has, and that of this one, whose last line has ended.

    What the record names is verified; what was written after it, until the instance was lost, is taken as it is."""
    from ..report.log_upload import SEGMENT

    hashes, rest, last = log_hashes(record["log"])
    segments = numbers(there, "log", hashes.whole)
    number, data = hashes.whole, b""
    if rest and number not in segments:
        raise changed_log(number)
    while number in segments:
        data = needed(bucket, "log/%d" % number)[:SEGMENT]
        if rest and hashlib.sha256(data[:rest]).hexdigest() != last:
            raise changed_log(number)
        rest = 0
        if len(data) < SEGMENT or number + 1 not in segments:
            break
        hashes.add(data)
        number += 1
    start = number * SEGMENT
    with open(os.path.join(home, "log"), "wb") as file:
        file.truncate(start)
        file.seek(start)
        file.write(data)
        if data and not data.endswith(b"\n"):
            # What was cut off in the middle of a line is one.
            file.write(b"\n")
        length = file.tell()
    log_trim.write(home, start)
    atomic_files.write_json(os.path.join(home, "log.saved"), hashes.data())
    times = read_times(bucket.get("times.json") or b"") if "times.json" in there else []
    with open(os.path.join(home, "times"), "w") as file:
        file.writelines("%d %d\n" % (at, size) for at, size in times if size <= length)
    return start + len(data), length


def read_times(data):
    """The times of a log. None of them where others changed the object, which is not signed: they only say where a log begins."""
    try:
        return [(int(at), int(size)) for at, size in parse(data)["times"]]
    except (ValueError, KeyError, TypeError, OverflowError):
        return []


def log_hashes(log):
    """Of a record's log: the hashes of the whole segments, how many bytes the record names of the next one, and their hash."""
    from ..report.log_upload import SEGMENT, LogHashes

    saved, (whole, rest) = log["hashes"], divmod(log["size"], SEGMENT)
    if not saved:
        return LogHashes(), 0, None
    names = saved["segments"][:whole - saved["folded"]]
    return LogHashes(dict(saved, segments=names)), rest, saved["segments"][-1] if rest else None


def changed_log(number):
    return Failure("NOT_RESUMABLE", "log/%d of the run does not match its record: another program has changed it" % number, what="log/%d" % number)


def take_metrics(home, record, there, log):
    """What is measured from here on goes into the next segment, and what was printed before is not counted again."""
    os.makedirs(os.path.join(home, "metrics"))
    segments = numbers(there, "metrics", record["metrics"]["segments"])
    if segments:
        open(os.path.join(home, "metrics", str(max(segments) + 1)), "w").close()
    metrics = record["metrics"]
    position = {"latest": metrics["training"], "identity": None, "offset": 0}
    atomic_files.write_json(os.path.join(home, "metrics.json"), {"fed": log, "position": position, "warnings": metrics["warnings"]})


def take_checkpoints(home, bucket, part, record, there):
    """The list of what is saved, whose numbers go on. The newest that is there is going to be restored: it is no other then."""
    from ..checkpoints.checkpoints import Checkpoints

    kept = record["checkpoints"]
    policy = part["checkpoints"]
    number = max([0, *numbers(there, "checkpoint", max([0] + [each["n"] for each in kept]), ".json")])
    saved = Checkpoints(
        os.path.join(home, "checkpoints"), home, parts=None, bucket=None, keep=policy["keep"], every=policy["every"], attempt=part["nextAttempt"]["attempt"], kept=kept, number=number,
    )
    for each in reversed(kept):
        try:
            manifest = checkpoint_restore.read(needed(bucket, "checkpoint/%d.json" % each["n"], MANIFEST), each["sha256"])
        except Failure as failure:
            if failure.code in ("CHECKPOINT_MISMATCH", "PART_MISMATCH", "NOT_RESUMABLE"):
                continue
            raise
        with open(os.path.join(home, "parts.json"), "w") as file:
            file.writelines(name + "\n" for name in sorted({name for entry in manifest["files"] for name in entry["parts"]}) if "part/" + name in there)
        saved.expects(manifest)
        return


def needed(bucket, name, limit=RECORD):
    data = bucket.get(name, limit=limit)
    if data is None:
        raise Failure("NOT_RESUMABLE", "%s of the run is not in the store" % name, what=name)
    return data


def taken_over(record, heard, attempt, log):
    """The run's state as an earlier attempt left it. `heard`: when its record was last written, ms; `log`: bytes of its log in the store."""
    attempts = list(record["attempts"])
    price = record["metadata"].get("price")
    seen = attempts and attempts[-1]["n"] == record["attempt"]
    if seen:
        attempts[-1] = dict(attempts[-1], price=price, why="%s was interrupted" % record["instance"] if record["outcome"] == "interrupted" else "%s was lost" % record["instance"])
    else:
        ended = record["endedAt"] or heard
        attempts.append({
            "n": record["attempt"], "instance": record["instance"], "startedAt": record.get("since"), "endedAt": ended, "exitCode": None, "signal": None,
            "stopped": record["outcome"] == "interrupted", "why": "%s sent no more heartbeats" % record["instance"],
            "price": price,
        })
    return {
        "createdAt": record["createdAt"], "startedAt": record["startedAt"], "attempt": attempt, "attempts": attempts,
        "training": record["log"]["training"], "takenOver": {"from": record["instance"], "log": log},
    }


def trained(attempts):
    """Seconds that attempts have trained."""
    return sum(max(0, each["endedAt"] - each["startedAt"]) for each in attempts if each["startedAt"] and each["endedAt"]) / 1000.0


def own_checkpoints(home, part):
    """The checkpoints that an attempt may resume from, newest first, as a plan's `restore`."""
    kept = (atomic_files.read_json(os.path.join(home, "checkpoints.json")) or {"kept": []})["kept"]
    return [{"run": part["id"], "n": each["n"], "sha256": each["sha256"], "prefix": part["store"]["prefix"], "urls": None} for each in reversed(kept)]
