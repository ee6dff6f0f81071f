"""One unit of a checkpoint directory: a file, a directory, or several that make a checkpoint only
together.
"""

from __future__ import annotations

import hashlib
import re
import stat

from ..system import safe_walk
from . import pointers, versions

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import pwd


TRAINER = re.compile(r"checkpoint-\d+")
# The name, or the ending of the name, that marks a unit as complete.
MARK = ".complete"
# A client refuses longer paths.
MAX_PATH_BYTES = 4096
# A file of at least this size counts as sparse if it is this many times as large as what is written
# of it: a file system that compresses makes weights smaller, but not as much.
SPARSE_MIN_BYTES, SPARSE_RATIO = 1 << 30, 64


class Unit:
    """One top-level name of a checkpoint directory, or several that only make a checkpoint
    together.
    """

    names: dict[str, str]
    files: list[str]
    inodes: set[tuple[int, str]]
    points: set[str]
    to: str | None
    version: tuple[float, ...] | None
    count: int | None
    order: tuple[int, int, str]
    why: str | None
    sparse: str | None
    _signature: str | None
    _lines: list[tuple[str, int, int, int, int, int, int]]
    _mark: float | None
    _times: dict[str, tuple[int, int, int]]

    def __init__(self, label: str, account: pwd.struct_passwd | None = None) -> None:
        # What it is called: its name, or the stem of its names.
        self.label, self.account = label, account
        # Its top-level names: "directory", "file" or "link".
        self.names = {}
        self.files = []
        # (inode, name) of each file.
        self.inodes = set()
        # The labels of units that it names; `missing`: it names one that is not there; `to`: the
        # name that a link leads to.
        self.points, self.missing, self.to = set(), False, None
        # The same for units that are versions of one another.
        self.family = versions.family(label)
        # Equal for what was written at one step: `versions.version`.
        self.version = versions.version(label, self.family)
        # How many files it has when it is complete, None where no name says.
        self.count = None
        # When it changed last, seconds, by what its files and directories say.
        self.changed = 0.0
        # When the last of its files was changed, which no program can set: (ctime, name as
        # numbers sort).
        self.order = (0, len(label), label)
        # Why it can not be saved.
        self.why = None
        # Why it can not be saved as it is: a file of it is sparse. It may be filled in later.
        self.sparse = None
        # Whether the Trainer makes those beside it: then it has a trainer_state.json when it is
        # whole.
        self.is_beside_trainers = False
        self._signature = None
        self._lines, self._newest, self._mark = [], 0.0, None
        # Of each name: (ctime of the name itself, the latest time of anything in it, its own
        # mtime), ns.
        self._times = {}

    def move_below(self, prefix: str) -> None:
        """Gives it, and what it names, the names that they have in a directory above; a label is
        told from others by it.
        """
        if any(
            len((prefix + path).encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES
            for path in list(self.names) + self.files
        ):
            self.why = "%s: its path is longer than %d bytes" % (
                safe_walk.shown(self.label),
                MAX_PATH_BYTES,
            )
        if safe_walk.shown(prefix) != prefix and self.why is None:
            self.why = "%s: the name of its directory is not UTF-8" % safe_walk.shown(self.label)
        self.why = self.why and safe_walk.shown(prefix) + self.why
        self.sparse = self.sparse and safe_walk.shown(prefix) + self.sparse
        self.label, self.family = prefix + self.label, prefix + self.family
        self.names = {prefix + name: kind for name, kind in self.names.items()}
        self.files = [prefix + path for path in self.files]
        self.points = {prefix + label for label in self.points}
        self.order = (self.order[0], len(self.label), self.label)

    @property
    def is_pointer(self) -> bool:
        return bool(self.points) or self.missing or self.to is not None

    @property
    def switched_in(self) -> bool:
        """Whether each of its names was renamed, or changed in its mode alone, after the last write
        to anything in it.
        """
        return all(
            came > written and came >= latest for came, latest, written in self._times.values()
        )

    def add(self, path: str, found: os.stat_result) -> None:
        isdir = stat.S_ISDIR(found.st_mode)
        name, _, below = path.partition("/")
        if not below:
            self.names[name] = (
                "directory" if isdir else "link" if stat.S_ISLNK(found.st_mode) else "file"
            )
            self._times[name] = (found.st_ctime_ns, found.st_mtime_ns, found.st_mtime_ns)
        else:
            came, latest, written = self._times[name]
            self._times[name] = (came, max(latest, found.st_mtime_ns, found.st_ctime_ns), written)
        self._lines.append((
            path,
            stat.S_IFMT(found.st_mode),
            found.st_mode & 0o100,
            0 if isdir else found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_ino,
        ))
        if path == name + "/" + MARK:
            self._mark = found.st_mtime
        else:
            self.changed = max(self.changed, found.st_mtime)
        if self.names.get(path) == "link":
            self._came(found)
            return
        why = safe_walk.what_else(path, found, self.account)
        if why:
            self.why = "%s: %s" % (safe_walk.shown(path), why)
            return
        if isdir:
            # Renamed in, not merely emptied.
            if not below and found.st_ctime_ns > found.st_mtime_ns:
                self._came(found)
            return
        self.files.append(path)
        if (
            found.st_size >= SPARSE_MIN_BYTES
            and found.st_size > SPARSE_RATIO * found.st_blocks * 512
        ):
            what = (safe_walk.shown(path), found.st_size, found.st_blocks * 512)
            self.sparse = (
                "%s: it is sparse: of its %d bytes, %d are written, "
                "and the rest would be saved as zeros" % what
            )
        self.inodes.add((found.st_ino, path.rpartition("/")[2]))
        self._came(found)
        if path != name + "/" + MARK:
            self._newest = max(self._newest, found.st_mtime)

    def _came(self, found: os.stat_result) -> None:
        self.order = (max(self.order[0], found.st_ctime_ns),) + self.order[1:]

    def mark(self, found: os.stat_result) -> None:
        if stat.S_ISREG(found.st_mode):
            self._mark = found.st_mtime

    @property
    def marked(self) -> bool:
        """Whether it says itself that it is whole: the mark is no older than what it marks."""
        return self._mark is not None and self._mark >= self._newest

    @property
    def signature(self) -> str:
        """Another one after each change of anything in it."""
        if self._signature is None:
            self._signature = hashlib.sha256(
                repr(self._lines).encode("utf-8", "surrogateescape")
            ).hexdigest()
        return self._signature

    @property
    def trainers(self) -> bool:
        """Whether the Trainer of Hugging Face has made it."""
        return TRAINER.fullmatch(pointers.last_component(self.label)) is not None and any(
            self.label + name in self.files
            for name in ("/training_args.bin", "/trainer_state.json")
        )

    @property
    def is_orbax_step(self) -> bool:
        """Whether Orbax has made it, whose name is the step alone."""
        return self.label.isdigit() and self.label + "/_CHECKPOINT_METADATA" in self.files

    @property
    def unfinished(self) -> bool:
        """Whether a file lacks: one that its framework writes last, or a shard of those that the
        names count.
        """
        there = set(self.files)
        if (
            self.trainers or self.is_beside_trainers
        ) and self.label + "/trainer_state.json" not in there:
            return True
        if self.count is not None and len(there) < self.count:
            return True
        sharded = {path.rpartition("/")[0] for path in self.files if path.endswith(".distcp")}
        return any(directory + "/.metadata" not in there for directory in sharded)
