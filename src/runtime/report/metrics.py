"""What a training says of itself in numbers, and the log of all metrics: docs/reference/formats.md, "Metrics"."""
import json
import os
import re

from ..system import atomic_files, safe_walk
from .metric_line import is_unfinished_bar, parse

# Longer lines are not metrics.
LINE = 16384
# Distinct names in all, and samples between two `take`.
ALL_NAMES = 500
SAMPLES = 200
# Of a progress bar that is not at its end, one sample in so long is taken, ms.
BAR = 5000
READ = 1024 * 1024
SEGMENT = 1024


class Lines:
    """Bytes that come cut anywhere as whole lines. `\\r` ends one too: progress bars."""

    def __init__(self):
        self.held, self.skipping = b"", False

    def feed(self, data):
        pieces = re.split(b"[\r\n]", self.held + data)
        self.held = pieces.pop()
        for piece in pieces:
            if not self.skipping and len(piece) <= LINE:
                yield piece
            self.skipping = False
        if len(self.held) > LINE:
            self.held, self.skipping = b"", True


class TrainingMetrics:
    """`position`: what `position()` said when an earlier one ended, for who goes on reading the file."""

    def __init__(self, position=None):
        self.latest = {}
        self.samples = []
        self.bar_at = None
        self.log, self.of_file = Lines(), Lines()
        self.file, self.identity, self.offset = None, None, 0
        if position:
            self.latest, self.identity, self.offset = dict(position["latest"]), tuple(position["identity"] or ()) or None, position["offset"]

    def position(self):
        return {"latest": self.latest, "identity": list(self.identity) if self.identity else None, "offset": self.offset - len(self.of_file.held)}

    def feed(self, data, at):
        """Takes what there is in a piece of the log, cut anywhere, of the time `at` (ms)."""
        self._take(self.log.feed(data), at)

    def finish(self, at):
        """The training has ended: what has no line end is a line."""
        self._take(self.log.feed(b"\n"), at)
        self._take(self.of_file.feed(b"\n"), at)

    def read_file(self, base, path, at, account=None):
        """Takes what the training has written to its file of metrics since the last time; begins anew where it was replaced or cut.

        It is `path` below `base`, and the account's to read, as `inside` has these. Whether it was read to its end."""
        while True:
            if self.file is None and not self._open(base, path, account):
                return True
            size = os.fstat(self.file.fileno()).st_size
            if size < self.offset:
                self._from_start()
            self.file.seek(self.offset)
            data = self.file.read(READ)
            self.offset += len(data)
            self._take(self.of_file.feed(data), at)
            if data:
                return len(data) < READ
            # Read to its end; another may stand in its place by now.
            if _identity_of(base, path, account) in (None, self.identity):
                return True
            self.close()

    def _open(self, base, path, account):
        try:
            descriptor = safe_walk.open_file(base, path, account)
        except OSError:
            return False
        identity = _identity(descriptor)
        self.file = open(descriptor, "rb", buffering=0)
        if identity != self.identity:
            self.identity = identity
            self._from_start()
        return True

    def _from_start(self):
        self.offset, self.of_file = 0, Lines()

    def close(self):
        if self.file is not None:
            self.file.close()
            self.file = None

    def take(self):
        """The samples since the last time: [(ms, {name: number, or None where it is not finite}), …]."""
        taken, self.samples = self.samples, []
        return taken

    def _take(self, lines, at):
        for line in lines:
            found = parse(line)
            found = {name: value for name, value in (found or {}).items() if name in self.latest or len(self.latest) < ALL_NAMES}
            if not found:
                continue
            if is_unfinished_bar(line):
                if self.bar_at is not None and 0 <= at - self.bar_at < BAR:
                    continue
                self.bar_at = at
            self._add(found, at)

    def add(self, found, at):
        """Takes numbers that were read elsewhere."""
        found = {name: value for name, value in found.items() if name in self.latest or len(self.latest) < ALL_NAMES}
        if found:
            self._add(found, at)

    def _add(self, found, at):
        self.latest.update(found)
        if len(self.samples) < SAMPLES:
            self.samples.append((at, found))
        else:
            # More than anybody can look at: the last of them holds the newest values.
            self.samples[-1] = (at, dict(self.samples[-1][1], **found))


def _identity_of(base, path, account):
    try:
        descriptor = safe_walk.open_file(base, path, account)
    except OSError:
        return None
    try:
        return _identity(descriptor)
    finally:
        os.close(descriptor)


def _identity(descriptor):
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


class MetricsLog:
    """JSON lines in segments of 1,024, `<home>/metrics/<n>`, which `save` brings to the store.

    The first that is here need not be 0: those before it were written on another instance."""

    def __init__(self, home):
        self.directory = os.path.join(home, "metrics")
        os.makedirs(self.directory, exist_ok=True)
        there = [int(name) for name in os.listdir(self.directory) if name.isdigit()]
        self.first, self.number = min(there, default=0), max(there, default=0)
        data = self.read(self.number)
        whole = data[:data.rfind(b"\n") + 1]
        if whole != data:
            # The last line of one that was killed.
            atomic_files.write_atomically(self._path(self.number), whole)
        self.lines = whole.count(b"\n")
        # segment -> bytes of it in the store
        self.saved = {}

    @property
    def segments(self):
        return self.number + 1 if self.number or self.lines else 0

    def _path(self, number):
        return os.path.join(self.directory, str(number))

    def read(self, number):
        try:
            with open(self._path(number), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def add(self, value):
        """`value`: {"t": ms, …} as the format has it."""
        if self.lines == SEGMENT:
            self.number, self.lines = self.number + 1, 0
        with open(self._path(self.number), "ab", buffering=0) as file:
            file.write(json.dumps(value, allow_nan=False).encode() + b"\n")
        self.lines += 1

    def save(self, bucket):
        """Writes the segments that the store does not have as they are. Failure of the bucket: the rest at the next time."""
        for number in range(self.first, self.segments):
            if number < self.number and self.saved.get(number, -1) >= os.path.getsize(self._path(number)):
                continue
            data = self.read(number)
            if len(data) != self.saved.get(number):
                bucket.put("metrics/%d" % number, data)
                self.saved[number] = len(data)
