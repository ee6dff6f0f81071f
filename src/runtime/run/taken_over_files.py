"""Writes what the store has of a run's earlier attempts into its directory on this instance: its
log, its metrics, and which checkpoints are saved.
"""

from __future__ import annotations

import hashlib
import os
import re

from ..aws.signed_requests import Unreadable
from ..checkpoints import checkpoint_restore
from ..run_dir import log_trim
from ..system import atomic_files
from ..system.bounded import parse
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from ..aws.bucket import Bucket
    from ..report.log_upload import LogHashes
    from ..report.metrics import Position
    from ..system.documents import RunRecord, RunRecordLog, RunSpec

    # The names of the run's objects in the store, and their sizes.
    Objects = Mapping[str, int]

MAX_OBJECT_BYTES = 1024 * 1024
MAX_TIMES_BYTES = 256 * 1024
LOST = (
    b"nx-ec2: the log of the earlier attempts is lost from byte %d on: "
    b"another program has changed it (%s)\n"
)
MAX_MANIFEST_BYTES = 64 * 1024 * 1024
# How many objects of a kind may have been written after the last record.
MAX_UNRECORDED = 1000


def take_log(
    run_dir: str, bucket: Bucket, *, record: RunRecord, stored: Objects
) -> tuple[int, int]:
    """Makes a log of which the last segment alone is on this instance. Returns the length of the
    store's, and the length of this one, whose last line is complete.

    The segments that the record names are verified; what was written after it, until the instance
    was lost, is taken as it is. A last segment that is not what the record says is replaced by a
    line that says so.
    """
    from ..report.log_upload import SEGMENT_BYTES

    hashes, named, last = log_hashes(record["log"])
    segments = numbers(stored, "log", recorded=hashes.whole)
    number, data, damage = hashes.whole, b"", None
    if named and number not in segments:
        damage = "log/%d is not in the store" % number
    while number in segments and not damage:
        found, damage = segment(bucket, "log/%d" % number)
        if named and not damage and hashlib.sha256(found[:named]).hexdigest() != last:
            damage = "log/%d does not match the record" % number
        if damage:
            data = b""
            break
        data, named = found, 0
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
        if damage:
            file.write(LOST % (start, damage.encode()))
        length = file.tell()
    log_trim.write(run_dir, start)
    rest = {"size": len(data), "hash": hashlib.sha256(data).hexdigest()} if data else None
    atomic_files.write_json(os.path.join(run_dir, "log.saved"), dict(hashes.data(), rest=rest))
    take_times(run_dir, bucket, stored=stored, length=start + len(data))
    return start + len(data), length


def segment(bucket: Bucket, name: str) -> tuple[bytes, str | None]:
    """The beginning of a segment of the log, and what is damaged."""
    from ..report.log_upload import SEGMENT_BYTES

    try:
        data = bucket.get(name, limit=MAX_OBJECT_BYTES)
    except Unreadable as unreadable:
        return b"", unreadable.message
    return (data[:SEGMENT_BYTES], None) if data is not None else (b"", name + " can't be read")


def take_times(run_dir: str, bucket: Bucket, *, stored: Objects, length: int) -> None:
    times: list[tuple[int, int]] = []
    if "times.json" in stored:
        try:
            times = read_times(bucket.get("times.json", limit=MAX_TIMES_BYTES) or b"")
        except Unreadable:
            # No decision is based on them, and nobody has signed them.
            pass
    with open(os.path.join(run_dir, "times"), "w") as file:
        file.writelines("%d %d\n" % (at, size) for at, size in times if size <= length)


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


def take_metrics(run_dir: str, record: RunRecord, *, stored: Objects, log_bytes: int) -> None:
    """Has new measurements written to the next segment, and the log that was taken over not counted
    again.
    """
    os.makedirs(os.path.join(run_dir, "metrics"))
    metrics = record["metrics"]
    segments = numbers(stored, "metrics", recorded=metrics["segments"])
    if segments:
        open(os.path.join(run_dir, "metrics", str(max(segments) + 1)), "w").close()
    position: Position = {
        "latest": metrics["training"],
        "identity": None,
        "offset": 0,
        # Whichever tells a number first in this attempt is its source.
        "sources": {"owners": {}, "texts": {}},
    }
    state = {"fed": log_bytes, "position": position, "warnings": metrics["warnings"]}
    atomic_files.write_json(os.path.join(run_dir, "metrics.json"), state)


def take_checkpoints(
    run_dir: str, bucket: Bucket, *, spec: RunSpec, record: RunRecord, stored: Objects, attempt: int
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
        attempt=attempt,
        kept=kept,
        number=max(found, default=0),
    )
    for each in reversed(kept):
        try:
            data = required(bucket, "checkpoint/%d.json" % each["n"], MAX_MANIFEST_BYTES)
            manifest = checkpoint_restore.read(data, each["sha256"])
        except Unreadable:
            continue
        except Failure as failure:
            if failure.code in ("CHECKPOINT_MISMATCH", "PART_MISMATCH", "NOT_RESUMABLE"):
                continue
            raise
        parts = {name for entry in manifest["files"] for name in entry["parts"]}
        with open(os.path.join(run_dir, "parts.json"), "w") as file:
            file.writelines(name + "\n" for name in sorted(parts) if "part/" + name in stored)
        saved.expects(manifest)
        return


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
        if match and int(match[1]) <= recorded + MAX_UNRECORDED:
            found[int(match[1])] = size
    return found


def required(bucket: Bucket, name: str, limit: int = MAX_OBJECT_BYTES) -> bytes:
    """The content of an object of the run. NOT_RESUMABLE where it is missing."""
    data = bucket.get(name, limit=limit)
    if data is None:
        raise Failure("NOT_RESUMABLE", "%s of the run is not in the store" % name, what=name)
    return data
