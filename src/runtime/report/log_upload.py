"""A run's log in the store: segments, of which the last is rewritten as it grows."""

from __future__ import annotations

import hashlib
import os
import time

from ..run_dir import log_trim, log_writer
from ..system import atomic_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..system.documents import RunRecordLogHashes
    from .fencing import Fenced


SEGMENT_BYTES = 256 * 1024
# Between two uploads of the last segment: in the first minutes of a run, and later.
EARLY_UPLOAD_INTERVAL_S, UPLOAD_INTERVAL_S = 0.5, 3.0
EARLY_PHASE_S = 600
# Between two uploads of the times.
TIMES_INTERVAL_S = 15
MAX_TIMES = 2000
# How many segments are uploaded in one go: the record has to be renewed meanwhile.
MAX_SEGMENTS = 32
# How many hashes of segments a record has at most; then this many of the oldest become one.
MAX_HASHES, FOLDED_HASHES = 512, 256


class LogHashes:
    """The hashes of a log's segments: docs/reference/formats.md, "Log". `saved`: as in a record, of
    complete segments alone.
    """

    def __init__(self, saved: RunRecordLogHashes | None = None) -> None:
        saved = saved or {"folded": 0, "chain": "0" * 64, "segments": []}
        self.folded, self.chain = saved["folded"], saved["chain"]
        self.segments = list(saved["segments"])

    @property
    def whole(self) -> int:
        """The number of complete segments."""
        return self.folded + len(self.segments)

    def add(self, data: bytes) -> None:
        """Adds the next complete segment."""
        self.segments.append(hashlib.sha256(data).hexdigest())
        if len(self.segments) > MAX_HASHES:
            for each in self.segments[:FOLDED_HASHES]:
                self.chain = hashlib.sha256(bytes.fromhex(self.chain + each)).hexdigest()
            self.folded += FOLDED_HASHES
            del self.segments[:FOLDED_HASHES]

    def data(self, last: str | None = None) -> RunRecordLogHashes:
        """As in a record. `last`: the hash of the segment that is not complete yet."""
        return {
            "folded": self.folded,
            "chain": self.chain,
            "segments": self.segments + ([last] if last else []),
        }


class LogUpload:
    """`size` bytes are in the store. After a restart the last segment is written once more."""

    last: str | None

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.path = os.path.join(run_dir, "log")
        self.began = self.wrote = self.timed = 0.0
        # The size of the log that the times in the store are of.
        self.told = 0
        self.done = False
        self.saved = os.path.join(run_dir, "log.saved")
        saved = atomic_files.read_json(self.saved)
        self.hashes, self.last = LogHashes(saved), None
        self.size = self.hashes.whole * SEGMENT_BYTES
        # Of a log that was taken over: the record that is written before the log names it too.
        rest = saved and saved.get("rest")
        if rest:
            self.size, self.last = self.size + rest["size"], rest["hash"]

    def manifest(self) -> RunRecordLogHashes:
        """The hashes of what is in the store, for the record."""
        return self.hashes.data(self.last)

    def look(self, bucket: Fenced, feed: Callable[[int, bytes], object], ended: bool) -> None:
        """Uploads new data if it is due, and everything once the run has ended. Feeds what was
        uploaded to `feed(offset, data)`.
        """
        now = time.monotonic()
        self.began = self.began or now
        rest = UPLOAD_INTERVAL_S if now - self.began > EARLY_PHASE_S else EARLY_UPLOAD_INTERVAL_S
        try:
            there = os.path.getsize(self.path)
        except FileNotFoundError:
            there = 0
        if there > self.size and (ended or now - self.wrote > rest):
            self.wrote = now
            with open(self.path, "rb") as file:
                for _ in range(MAX_SEGMENTS):
                    if self.size >= there:
                        break
                    number = self.size // SEGMENT_BYTES
                    file.seek(number * SEGMENT_BYTES)
                    data = file.read(min(SEGMENT_BYTES, there - number * SEGMENT_BYTES))
                    bucket.put("log/%d" % number, data, content_type="text/plain")
                    end = number * SEGMENT_BYTES + len(data)
                    feed(number * SEGMENT_BYTES, data)
                    self.size = end
                    self.last = hashlib.sha256(data).hexdigest() if end % SEGMENT_BYTES else None
                    if end % SEGMENT_BYTES == 0:
                        self.hashes.add(data)
                        self._keep()
            log_trim.give_back(self.run_dir, self.size - self.size % SEGMENT_BYTES)
        complete = ended and self.size >= there
        if (complete and not self.done) or (
            now - self.timed > TIMES_INTERVAL_S and self.size != self.told
        ):
            self.timed = now
            bucket.put(
                "times.json",
                log_writer.as_json(log_writer.read_times(self.run_dir, MAX_TIMES)),
                content_type="application/json",
            )
            self.told = self.size
        self.done = complete

    def _keep(self) -> None:
        try:
            atomic_files.write_json(self.saved, self.hashes.data())
        except OSError:
            # The segment is uploaded once more after a restart.
            pass
