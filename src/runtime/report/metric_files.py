"""The files that training frameworks write metrics to, found among a run's results: TensorBoard's
event files, `metrics.csv` of Lightning, `results.csv` of Ultralytics, and `trainer_state.json` of
Hugging Face: docs/reference/configuration.md, "Metrics".
"""

from __future__ import annotations

import collections
import os
import re
import stat
import time

from ..run_dir.written_files import CACHES, Inputs, Outputs
from ..system import atomic_files, safe_walk
from . import csv_metrics, trainer_state
from .metric_sources import CSV, EVENTS, STATE
from .tensorboard_events import read_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Collection, Dict, Iterable, List, Tuple, TypedDict, Union

    from ..system.documents import RunSpec
    from .metric_line import Numbers

    # By path: device, inode, offset (None: nothing more is read of the file), and what else the
    # reader of its kind keeps.
    FilePositions = Dict[str, List[Union[int, str, None]]]

    class Position(TypedDict):
        files: FilePositions
        taken: dict[str, list[float]]

    # The kind of the source, what is said of it, numbers.
    Sample = Tuple[str, str, Numbers]


EVENT_FILE = re.compile(r"events\.out\.tfevents\..*", re.DOTALL)
CSV_NAMES = ("metrics.csv", "results.csv")
# How many files of a run are read.
MAX_FILES = 100
# How many samples one look at the files returns for a kind, and how many it holds in memory.
MAX_SAMPLES, MAX_HELD_SAMPLES = 150, 20_000
# Time limit for one look, of which a search for files takes half at most: the reporter has a run's
# record to renew as well.
LOOK_TIMEOUT_S = 1.0
# How many names one look adds to those that are known: more are not kept of a run
# (metrics.MAX_NAMES).
MAX_NEW_NAMES = 500
# How many names a search for files looks at.
MAX_ENTRIES = 20_000
# The pause between two searches: at least this long, and this multiple of the last one's duration.
SEARCH_INTERVAL_S, PAUSE_FACTOR = 10, 20


class OutOfTime(Exception):
    pass


class MetricFiles:
    """The files of one run that were not sent. `position`: what `position()` said before."""

    due: float | None
    waiting: collections.deque[str]
    files: FilePositions
    taken: dict[str, trainer_state.Taken]

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
        self.outputs, self.checkpoints = Outputs(spec), Outputs(spec, "checkpoints")
        self.files = dict(position["files"]) if position else {}
        # Of each training with `trainer_state.json`, by its directory, what was taken.
        taken = position["taken"] if position else {}
        self.taken = {path: (step, int(count)) for path, (step, count) in taken.items()}
        self.due = None
        # The paths of files that are still to be read, and whether the last look came to the end of
        # each.
        self.waiting, self.all_read = collections.deque(), True
        self.searched_at_end = False

    def position(self) -> Position:
        return {
            "files": self.files,
            "taken": {path: list(taken) for path, taken in self.taken.items()},
        }

    def read(self, ended: bool = False, known: Collection[str] = ()) -> list[Sample]:
        """The numbers since the last time, each with its "step" where the file tells it, None
        where one is not finite. Of names that are not `known`, the first MAX_NEW_NAMES alone.

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
        samples: dict[tuple[str, str], list[Numbers]] = {}
        names = Names(known)
        self.waiting.extend(() if self.waiting else sorted(self.files))
        while self.waiting and self.clock() - began < LOOK_TIMEOUT_S:
            path = self.waiting.popleft()
            before = self.files[path]
            kind = kind_of(path)
            of_kind = samples.setdefault((kind, self._described(path, kind)), [])
            of_kind += [sample for sample in map(names.admit, self._read(path, kind)) if sample]
            if len(of_kind) > MAX_HELD_SAMPLES:
                of_kind[:] = merge_samples(of_kind, MAX_HELD_SAMPLES // 2)
            if self.files[path] != before and self.files[path][2] is not None and kind != STATE:
                self.waiting.append(path)
        self.all_read = not self.waiting
        return [
            (kind, text, sample)
            for (kind, text), found in samples.items()
            for sample in merge_samples(found, MAX_SAMPLES)
        ]

    def _described(self, path: str, kind: str) -> str:
        own = safe_walk.shown(self._own(path))
        if kind != EVENTS:
            return own
        directory = own.rpartition("/")[0]
        return "TensorBoard's event files" + (" in %s" % directory if directory else "")

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
        inputs: Inputs | None = None
        for looked_at, (path, found) in enumerate(walked):
            if looked_at >= MAX_ENTRIES or self.clock() > deadline:
                return
            kind = kind_of(path)
            if not stat.S_ISREG(found.st_mode) or path in self.files or not kind:
                continue
            own = self._own(path)
            is_result = self.outputs.match(own) or (kind == STATE and self.checkpoints.match(own))
            if not is_result:
                continue
            inputs = inputs or Inputs(self.run_dir)
            was_sent = os.fsencode(path) in inputs.entries
            if kind == STATE and (was_sent or not self._supersedes(path, found)):
                continue
            if len(self.files) < MAX_FILES:
                begin = [None if was_sent else 0] if kind != STATE else [found.st_mtime_ns, -1]
                self.files[path] = [found.st_dev, found.st_ino, *begin]

    def _supersedes(self, path: str, found: os.stat_result) -> bool:
        """Whether a `trainer_state.json` is the newest of its training; forgets the one before."""
        training = trainer_state.training_of(path)
        for other, position in self.files.items():
            if kind_of(other) == STATE and trainer_state.training_of(other) == training:
                changed_at = position[2]
                if isinstance(changed_at, int) and changed_at > found.st_mtime_ns:
                    return False
                del self.files[other]
                return True
        return True

    def _own(self, path: str) -> str:
        return path if self.root == "." else path[len(self.root) + 1 :]

    def _is_left_out(self, path: str, name: str) -> bool:
        own = self._own(path)
        return name in CACHES or not any(
            each.match(own) or each.may_match_below(own)
            for each in (self.outputs, self.checkpoints)
        )

    def _read(self, path: str, kind: str) -> list[Numbers]:
        if self.files[path][2] is None:
            return []
        try:
            descriptor = safe_walk.open_file(self.work, path, self.account)
        except OSError:
            return []
        try:
            found = os.fstat(descriptor)
            if kind == EVENTS:
                return self._read_events(path, descriptor, found)
            if kind == CSV:
                samples, self.files[path] = csv_metrics.read_rows(
                    descriptor, self.files[path], found
                )
                return samples
            return self._read_state(path, descriptor, found)
        except OSError:
            # Of a file system that does not answer any more.
            return []
        finally:
            os.close(descriptor)

    def _read_events(self, path: str, descriptor: int, found: os.stat_result) -> list[Numbers]:
        device, inode, offset = self.files[path]
        assert isinstance(offset, int)
        if (found.st_dev, found.st_ino) != (device, inode) or found.st_size < offset:
            offset = 0
        samples, end = read_events(descriptor, offset, found.st_size)
        self.files[path] = [found.st_dev, found.st_ino, end]
        return samples

    def _read_state(self, path: str, descriptor: int, found: os.stat_result) -> list[Numbers]:
        began = atomic_files.read_object(os.path.join(self.run_dir, "run.json")).get("since")
        position = trainer_state.position_of(found)
        if began is None or position == self.files[path]:
            return []
        self.files[path] = [*position]
        training = trainer_state.training_of(path)
        before = self.taken.get(training)
        samples, taken = trainer_state.samples_after(
            trainer_state.read_entries(descriptor, found), before
        )
        if taken is not None:
            self.taken[training] = taken
        # What a restored checkpoint tells is of the training that it was saved by.
        was_restored = before is None and found.st_ctime_ns < began * 1_000_000
        return [] if was_restored else samples


def kind_of(path: str) -> str:
    """The kind of a file by its name; "" where it is none of these."""
    name = path.rpartition("/")[2]
    if name == trainer_state.NAME:
        return STATE
    if name in CSV_NAMES:
        return CSV
    return EVENTS if EVENT_FILE.fullmatch(name) else ""


class Names:
    """The names of one look. `known`: those that are never too many."""

    def __init__(self, known: Collection[str]) -> None:
        self.known, self.new = known, {"step"}

    def admit(self, sample: Numbers) -> Numbers | None:
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


def merge_samples(samples: list[Numbers], most: int) -> list[Numbers]:
    """At most so many samples: neighbors are put together, and the later value of a tag stands."""
    size = -(-len(samples) // most)
    kept: list[Numbers] = []
    for at in range(0, len(samples), size or 1):
        merged: Numbers = {}
        for sample in samples[at : at + size]:
            merged.update(sample)
        kept.append(merged)
    return kept
