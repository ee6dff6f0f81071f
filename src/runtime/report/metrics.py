"""What a training says of itself in numbers, and the log of all metrics: docs/reference/formats.md,
"Metrics".
"""

from __future__ import annotations

import json
import os
import re

from ..system import atomic_files, safe_walk
from .metric_line import is_unfinished_bar, parse
from .metric_sources import FILE, LOG, TEXTS, Sources
from .progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from io import FileIO
    from typing import Any, Iterable, Iterator, Mapping, Tuple, TypedDict

    from .fencing import Fenced
    from .metric_line import Numbers
    from .metric_sources import SourcesPosition

    # The device and the inode of a file.
    Identity = Tuple[int, int]

    class Position(TypedDict):
        latest: Numbers
        identity: list[int] | None
        offset: int
        sources: SourcesPosition


# Longer lines are not metrics.
MAX_LINE_BYTES = 16384
# How many names there are in all, and how many samples between two calls of `take`.
MAX_NAMES = 500
MAX_SAMPLES = 200
# Between two samples of a progress bar that is not at its end.
BAR_INTERVAL_MS = 5000
READ_BYTES = 1024 * 1024
# How the lines of other processes than rank 0 begin in the log of a training with a launcher.
RANK = re.compile(rb"\[rank ([1-9]\d{0,5})\] ")
SEGMENT_LINES = 1024


class Lines:
    """Bytes that come cut anywhere as whole lines. `\\r` ends one too: progress bars."""

    def __init__(self) -> None:
        self.held, self.skipping = b"", False

    def feed(self, data: bytes) -> Iterator[bytes]:
        pieces = re.split(b"[\r\n]", self.held + data)
        self.held = pieces.pop()
        for piece in pieces:
            if not self.skipping and len(piece) <= MAX_LINE_BYTES:
                yield piece
            self.skipping = False
        if len(self.held) > MAX_LINE_BYTES:
            self.held, self.skipping = b"", True


class TrainingMetrics:
    """`position`: what `position()` said when an earlier one ended, to continue reading the file.
    `is_launched`: a launcher starts several processes; lines of the first one here alone are
    metrics. `has_rank_0`: that is rank 0, whose lines have no mark; else the lowest rank of a node.
    """

    latest: Numbers
    samples: list[tuple[int, Numbers]]
    bar_at: int | None
    file: FileIO | None
    identity: Identity | None

    def __init__(
        self,
        position: Position | None = None,
        is_launched: bool = False,
        *,
        has_rank_0: bool = True,
    ) -> None:
        self.latest, self.is_launched = {}, is_launched
        self.first_rank: int | None = 0 if has_rank_0 else None
        self.progress = Progress()
        self.sources = Sources(position["sources"] if position else None)
        self.samples = []
        self.bar_at = None
        self.log, self.of_file = Lines(), Lines()
        self.file, self.identity, self.offset = None, None, 0
        if position:
            self.latest, self.offset = dict(position["latest"]), position["offset"]
            if position["identity"]:
                device, inode = position["identity"]
                self.identity = (device, inode)

    def position(self) -> Position:
        return {
            "latest": self.latest,
            "identity": list(self.identity) if self.identity else None,
            "offset": self.offset - len(self.of_file.held),
            "sources": self.sources.position(),
        }

    def feed(self, data: bytes, at: int) -> None:
        """Takes what there is in a piece of the log, cut anywhere, of the time `at` (ms)."""
        lines = self.log.feed(data)
        if self.is_launched:
            lines = self._of_first_rank(lines)
        self._take(lines, at, LOG)

    def _of_first_rank(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            mark = RANK.match(line)
            rank = int(mark.group(1)) if mark else 0
            if self.first_rank is None or (mark and rank < self.first_rank):
                self.first_rank = rank if mark else None
            if rank == self.first_rank:
                yield line[mark.end() :] if mark else line

    def finish(self, at: int) -> None:
        """The training has ended: what has no line end is a line."""
        self._take(self.log.feed(b"\n"), at, LOG)
        self._take(self.of_file.feed(b"\n"), at, FILE)

    def read_file(
        self, base: str | int, path: str, at: int, *, account: pwd.struct_passwd | None = None
    ) -> bool:
        """Takes what the training has written to its file of metrics since the last time; begins
        anew where it was replaced or cut.

        It is `path` below `base`, and the account's to read, as `inside` has these. Whether it was
        read to its end.
        """
        while True:
            file = self.file or self._open(base, path, account)
            if file is None:
                return True
            size = os.fstat(file.fileno()).st_size
            if size < self.offset:
                self._from_start()
            file.seek(self.offset)
            data = file.read(READ_BYTES)
            self.offset += len(data)
            self._take(self.of_file.feed(data), at, FILE)
            if data:
                return len(data) < READ_BYTES
            # Read to its end; another may stand in its place by now.
            if _identity_of(base, path, account) in (None, self.identity):
                return True
            self.close()

    def _open(self, base: str | int, path: str, account: pwd.struct_passwd | None) -> FileIO | None:
        try:
            descriptor = safe_walk.open_file(base, path, account)
        except OSError:
            return None
        identity = _identity(descriptor)
        self.file = open(descriptor, "rb", buffering=0)
        if identity != self.identity:
            self.identity = identity
            self._from_start()
        return self.file

    def _from_start(self) -> None:
        self.offset, self.of_file = 0, Lines()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def take(self) -> list[tuple[int, Numbers]]:
        """The samples since the last time: [(ms, {name: number, or None where it is not finite}),
        …].
        """
        taken, self.samples = self.samples, []
        return taken

    def _take(self, lines: Iterable[bytes], at: int, kind: str) -> None:
        for line in lines:
            found = self._admitted(parse(line) or {}, kind, TEXTS[kind])
            if not found:
                continue
            if is_unfinished_bar(line):
                if self.bar_at is not None and 0 <= at - self.bar_at < BAR_INTERVAL_MS:
                    continue
                self.bar_at = at
            self._add(found, at)

    def add(self, found: Numbers, at: int, *, kind: str, text: str) -> None:
        """Takes numbers that were read elsewhere. `kind`, `text`: of their source."""
        found = self._admitted(found, kind, text)
        if found:
            self._add(found, at)

    def _admitted(self, found: Numbers, kind: str, text: str) -> Numbers:
        known = {
            name: value
            for name, value in found.items()
            if name in self.latest or len(self.latest) < MAX_NAMES
        }
        return self.sources.admit(known, kind, text)

    def _add(self, found: Numbers, at: int) -> None:
        self.latest.update(found)
        self.progress.add(found, at)
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append((at, found))
        else:
            # More than anybody can look at: the last of them holds the newest values.
            self.samples[-1] = (at, dict(self.samples[-1][1], **found))


def _identity_of(base: str | int, path: str, account: pwd.struct_passwd | None) -> Identity | None:
    try:
        descriptor = safe_walk.open_file(base, path, account)
    except OSError:
        return None
    try:
        return _identity(descriptor)
    finally:
        os.close(descriptor)


def _identity(descriptor: int) -> Identity:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


class MetricsLog:
    """JSON lines in segments of 1,024, `<run_dir>/metrics/<n>`, which `save` brings to the store.

    The first that is here need not be 0: those before it were written on another instance."""

    saved: dict[int, int]

    def __init__(self, run_dir: str) -> None:
        self.directory = os.path.join(run_dir, "metrics")
        os.makedirs(self.directory, exist_ok=True)
        there = [int(name) for name in os.listdir(self.directory) if name.isdigit()]
        self.first, self.number = min(there, default=0), max(there, default=0)
        data = self.read(self.number)
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            # The last line of one that was killed.
            atomic_files.write_atomically(self._path(self.number), whole)
        self.lines = whole.count(b"\n")
        # segment -> bytes of it in the store
        self.saved = {}

    @property
    def segments(self) -> int:
        return self.number + 1 if self.number or self.lines else 0

    def _path(self, number: int) -> str:
        return os.path.join(self.directory, str(number))

    def read(self, number: int) -> bytes:
        try:
            with open(self._path(number), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def add(self, value: Mapping[str, Any]) -> None:
        """`value`: {"t": ms, …} as the format has it."""
        if self.lines == SEGMENT_LINES:
            self.number, self.lines = self.number + 1, 0
        with open(self._path(self.number), "ab", buffering=0) as file:
            file.write(json.dumps(value, allow_nan=False).encode() + b"\n")
        self.lines += 1

    def save(self, bucket: Fenced) -> None:
        """Writes the segments that the store does not have as they are. Failure of the bucket: the
        rest at the next time.
        """
        for number in range(self.first, self.segments):
            if number < self.number and self.saved.get(number, -1) >= os.path.getsize(
                self._path(number)
            ):
                continue
            data = self.read(number)
            if len(data) != self.saved.get(number):
                bucket.put("metrics/%d" % number, data)
                self.saved[number] = len(data)
