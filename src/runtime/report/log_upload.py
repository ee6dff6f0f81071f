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
# Between two writes of the last segment, seconds: at first, after so long a run, and from then on.
EAGER, YOUNG, STEADY = 0.5, 600, 3.0
# Between two writes of the times, seconds.
TIMES_INTERVAL_S = 15
MOST_TIMES = 2000
# How much is taken in one go, segments: other things are to be told meanwhile.
AT_ONCE = 32


# So many segments' hashes a record names at most; then the oldest become one.
MOST_HASHES, FOLDED = 512, 256


class LogHashes:
    """What the segments of a log have as their hashes: docs/reference/formats.md, "Log". `saved`:
    as in a record, of whole segments alone.
    """

    def __init__(self, saved: RunRecordLogHashes | None = None) -> None:
        saved = saved or {"folded": 0, "chain": "0" * 64, "segments": []}
        self.folded, self.chain = saved["folded"], saved["chain"]
        self.segments = list(saved["segments"])

    @property
    def whole(self) -> int:
        """So many segments are whole."""
        return self.folded + len(self.segments)

    def add(self, data: bytes) -> None:
        """The next whole segment."""
        self.segments.append(hashlib.sha256(data).hexdigest())
        if len(self.segments) > MOST_HASHES:
            for each in self.segments[:FOLDED]:
                self.chain = hashlib.sha256(bytes.fromhex(self.chain + each)).hexdigest()
            self.folded += FOLDED
            del self.segments[:FOLDED]

    def data(self, last: str | None = None) -> RunRecordLogHashes:
        """As in a record. `last`: the hash of the segment that is not whole yet."""
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
        # How much the times that are in the store speak of.
        self.told = 0
        self.done = False
        self.saved = os.path.join(run_dir, "log.saved")
        self.hashes, self.last = LogHashes(atomic_files.read_json(self.saved)), None
        self.size = self.hashes.whole * SEGMENT_BYTES

    def manifest(self) -> RunRecordLogHashes:
        """The hashes of what is in the store, for the record."""
        return self.hashes.data(self.last)

    def look(self, bucket: Fenced, feed: Callable[[int, bytes], object], ended: bool) -> None:
        """Sends what is new, where it is time; everything once the run has ended. What is sent is
        also fed to `feed(offset, data)`.
        """
        now = time.monotonic()
        self.began = self.began or now
        rest = STEADY if now - self.began > YOUNG else EAGER
        try:
            there = os.path.getsize(self.path)
        except FileNotFoundError:
            there = 0
        if there > self.size and (ended or now - self.wrote > rest):
            self.wrote = now
            with open(self.path, "rb") as file:
                for _ in range(AT_ONCE):
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
                log_writer.as_json(log_writer.read_times(self.run_dir, MOST_TIMES)),
                content_type="application/json",
            )
            self.told = self.size
        self.done = complete

    def _keep(self) -> None:
        try:
            atomic_files.write_json(self.saved, self.hashes.data())
        except OSError:
            # It is sent once more then.
            pass
