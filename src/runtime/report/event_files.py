"""Scalars in the event files that TensorBoard reads, as a training writes them into its outputs:
docs/reference/configuration.md, "Metrics".
"""

from __future__ import annotations

import collections
import os
import re
import stat
import time

from ..run_dir.written_files import CACHES, Inputs, Outputs
from ..system import safe_walk
from .tensorboard_events import read_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Collection, Dict, Iterable, List, Optional

    from ..system.documents import RunSpec
    from .tensorboard_events import Scalars

    # By path: device, inode, offset; an offset of None: nothing more is read of the file.
    Position = Dict[str, List[Optional[int]]]


NAME = re.compile(r"events\.out\.tfevents\..*", re.DOTALL)
# How many files of a run are read.
MAX_FILES = 100
# How many samples one look at the event files returns, and how many it holds in memory.
MAX_SAMPLES, MAX_HELD_SAMPLES = 150, 20_000
# Time limit for one look, of which a search for files takes half at most: the reporter has a run's
# record to renew as well.
LOOK_TIMEOUT_S = 1.0
# How many names one look adds to those that are known: more are not kept of a run
# (metrics.MAX_NAMES).
MAX_NEW_NAMES = 500
# How many names a search for event files looks at.
MAX_ENTRIES = 20_000
# The pause between two searches: at least this long, and this multiple of the last one's duration.
SEARCH_INTERVAL_S, PAUSE_FACTOR = 10, 20


class OutOfTime(Exception):
    pass


class EventFiles:
    """The event files of one run that were not sent. `position`: what `position()` said before."""

    due: float | None
    waiting: collections.deque[str]
    files: Position

    def __init__(
        self,
        run_dir: str,
        spec: RunSpec,
        *,
        account: pwd.struct_passwd | None = None,
        position: Position | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_dir, self.work = run_dir, os.path.join(run_dir, "work")
        self.root, self.account, self.clock = spec["projectRoot"], account, clock
        self.outputs = Outputs(spec)
        # {path: [device, inode, offset]}; an offset of None: nothing more is read of the file.
        self.files = dict(position or {})
        self.due = None
        # The paths of files that are still to be read, and whether the last look came to the end of
        # each.
        self.waiting, self.all_read = collections.deque(), True
        self.searched_at_end = False

    def position(self) -> Position:
        return self.files

    def read(self, ended: bool = False, known: Collection[str] = ()) -> list[Scalars]:
        """The scalars since the last time: [{tag: number, or None where it is not finite, "step":
        n}, …]. Of tags that are not `known`, the first MAX_NEW_NAMES alone.

        A look takes about LOOK_TIMEOUT_S: where that is short, `all_read` is False, and the next
        look begins where this one ended. `ended`: the training has ended; the directories are
        searched once more.
        """
        began = self.clock()
        if (ended and not self.searched_at_end) or (
            self.all_read and (self.due is None or began >= self.due)
        ):
            self._search(began + LOOK_TIMEOUT_S / 2)
            self.searched_at_end = ended
            self.waiting.clear()
            now = self.clock()
            self.due = now + max(SEARCH_INTERVAL_S, PAUSE_FACTOR * (now - began))
        samples: list[Scalars] = []
        names = Names(known)
        self.waiting.extend(() if self.waiting else sorted(self.files))
        while self.waiting and self.clock() - began < LOOK_TIMEOUT_S:
            path = self.waiting.popleft()
            before = self.files[path]
            samples += [sample for sample in map(names.admit, self._read(path)) if sample]
            if len(samples) > MAX_HELD_SAMPLES:
                samples = merge_samples(samples, MAX_HELD_SAMPLES // 2)
            if self.files[path] != before and self.files[path][2] is not None:
                self.waiting.append(path)
        self.all_read = not self.waiting
        return merge_samples(samples, MAX_SAMPLES)

    def _search(self, deadline: float) -> None:
        def is_left_out(path: str, name: str, _found: os.stat_result) -> bool:
            if self.clock() > deadline:
                raise OutOfTime()
            return self._is_left_out(path, name)

        try:
            root = "" if self.root == "." else self.root
            self._add_files(
                safe_walk.walk(self.work, root, account=self.account, skip=is_left_out), deadline
            )
        except OutOfTime:
            pass

    def _add_files(self, walked: Iterable[tuple[str, os.stat_result]], deadline: float) -> None:
        for looked_at, (path, found) in enumerate(walked):
            if looked_at >= MAX_ENTRIES or self.clock() > deadline:
                return
            if (
                not stat.S_ISREG(found.st_mode)
                or path in self.files
                or not NAME.fullmatch(path.rpartition("/")[2])
            ):
                continue
            if len(self.files) < MAX_FILES and self.outputs.match(self._own(path)):
                was_sent = os.fsencode(path) in Inputs(self.run_dir).entries
                self.files[path] = [found.st_dev, found.st_ino, None if was_sent else 0]

    def _own(self, path: str) -> str:
        return path if self.root == "." else path[len(self.root) + 1 :]

    def _is_left_out(self, path: str, name: str) -> bool:
        own = self._own(path)
        return name in CACHES or not (self.outputs.match(own) or self.outputs.may_match_below(own))

    def _read(self, path: str) -> list[Scalars]:
        device, inode, offset = self.files[path]
        if offset is None:
            return []
        try:
            descriptor = safe_walk.open_file(self.work, path, self.account)
        except OSError:
            return []
        try:
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) != (device, inode) or found.st_size < offset:
                offset = 0
            samples, offset = read_events(descriptor, offset, found.st_size)
            self.files[path] = [found.st_dev, found.st_ino, offset]
            return samples
        except OSError:
            # Of a file system that does not answer any more.
            return []
        finally:
            os.close(descriptor)


class Names:
    """The names of one look. `known`: those that are never too many."""

    def __init__(self, known: Collection[str]) -> None:
        self.known, self.new = known, {"step"}

    def admit(self, sample: Scalars) -> Scalars | None:
        """A sample without names that are too many; None where only its step is left."""
        kept = {name: value for name, value in sample.items() if self._is_admitted(name)}
        return kept if len(kept) > 1 else None

    def _is_admitted(self, name: str) -> bool:
        if name in self.known or name in self.new:
            return True
        if len(self.new) > MAX_NEW_NAMES:
            return False
        self.new.add(name)
        return True


def merge_samples(samples: list[Scalars], most: int) -> list[Scalars]:
    """At most so many samples: neighbors are put together, and the later value of a tag stands."""
    size = -(-len(samples) // most)
    kept: list[Scalars] = []
    for at in range(0, len(samples), size or 1):
        merged: Scalars = {}
        for sample in samples[at : at + size]:
            merged.update(sample)
        kept.append(merged)
    return kept
