"""Scalars in the event files that TensorBoard reads, as a training writes them into its outputs:
docs/reference/configuration.md, "Metrics".

An event file is a row of records: the length of an event in 8 bytes, 4 bytes of a checksum, the
event, 4 bytes of a checksum. An event is a message of Protocol Buffers. What is in these files is
the training's, and is believed to be numbers only after it was parsed.
"""

from __future__ import annotations

import collections
import math
import os
import re
import stat
import struct
import time

from ..run_dir.written_files import CACHES, Inputs, Outputs
from ..system import safe_walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Collection, Dict, Iterable, Iterator, List, Optional, Union

    from ..system.documents import RunSpec

    # By name; None where the number is not finite.
    Scalars = Dict[str, Optional[float]]
    # By path: device, inode, offset; an offset of None: nothing more is read of the file.
    Position = Dict[str, List[Optional[int]]]
    Value = Union[int, bytes]


NAME = re.compile(r"events\.out\.tfevents\..*", re.DOTALL)
# So many files are read, and so many bytes of one before it is another's turn.
FILES, READ = 100, 256 * 1024
# Number of samples that one look at the event files makes, and that it holds in memory.
SAMPLES, HELD = 150, 20_000
# Seconds of one look, of which a search for files takes half at most: the reporter has a run's
# record to renew as well.
LOOK_S = 1.0
# Distinct names that one look adds to those that are known: more are not kept of a run
# (metrics.ALL_NAMES).
NEW_NAMES = 500
# An event that is longer holds no scalars alone: images, histograms, graphs.
LARGEST_SCALAR_EVENT_BYTES = 64 * 1024
# No event is as long: the file is none.
LARGEST_EVENT_BYTES = 1 << 32
TAG = 200
# Names that are looked at for event files, and the pause between two looks: s, or so many times as
# long as the last one took.
ENTRIES, PAUSE, REST = 20_000, 10, 20
HEAD, FOOT = 12, 4


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
        n}, …]. Of tags that are not `known`, the first NEW_NAMES alone.

        A look takes about LOOK seconds; where that is too short, `all_read` is False, and the next
        look begins where this one ended. `ended`: the training has ended; the directories are
        searched once more.
        """
        began = self.clock()
        if (ended and not self.searched_at_end) or (
            self.all_read and (self.due is None or began >= self.due)
        ):
            self._search(began + LOOK_S / 2)
            self.searched_at_end = ended
            self.waiting.clear()
            now = self.clock()
            self.due = now + max(PAUSE, REST * (now - began))
        samples: list[Scalars] = []
        names = Names(known)
        self.waiting.extend(() if self.waiting else sorted(self.files))
        while self.waiting and self.clock() - began < LOOK_S:
            path = self.waiting.popleft()
            before = self.files[path]
            samples += [sample for sample in map(names.admit, self._read(path)) if sample]
            if len(samples) > HELD:
                samples = merge_samples(samples, HELD // 2)
            if self.files[path] != before and self.files[path][2] is not None:
                self.waiting.append(path)
        self.all_read = not self.waiting
        return merge_samples(samples, SAMPLES)

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
            if looked_at >= ENTRIES or self.clock() > deadline:
                return
            if (
                not stat.S_ISREG(found.st_mode)
                or path in self.files
                or not NAME.fullmatch(path.rpartition("/")[2])
            ):
                continue
            if len(self.files) < FILES and self.outputs.match(self._own(path)):
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
        kept = {name: value for name, value in sample.items() if self._has_room(name)}
        return kept if len(kept) > 1 else None

    def _has_room(self, name: str) -> bool:
        if name in self.known or name in self.new:
            return True
        if len(self.new) > NEW_NAMES:
            return False
        self.new.add(name)
        return True


def merge_samples(samples: list[Scalars], most: int) -> list[Scalars]:
    """At most so many samples: neighbours are put together, and the later value of a tag stands."""
    size = -(-len(samples) // most)
    kept: list[Scalars] = []
    for at in range(0, len(samples), size or 1):
        merged: Scalars = {}
        for sample in samples[at : at + size]:
            merged.update(sample)
        kept.append(merged)
    return kept


def read_events(descriptor: int, offset: int, size: int) -> tuple[list[Scalars], int | None]:
    """(the scalars of the whole events from an offset on, as `EventFiles.read` has them, the offset
    after them or None).
    """
    samples: list[Scalars] = []
    end = min(size, offset + READ)
    while offset + HEAD <= end:
        head = os.pread(descriptor, 8, offset)
        if len(head) < 8:
            # Cut off since its size was asked for.
            break
        (length,) = struct.unpack("<Q", head)
        if length > LARGEST_EVENT_BYTES:
            return samples, None
        if offset + HEAD + length + FOOT > size:
            break
        if length <= LARGEST_SCALAR_EVENT_BYTES:
            try:
                step, scalars = scalars_of(os.pread(descriptor, length, offset + HEAD))
            except (ValueError, IndexError, struct.error):
                return samples, None
            last = samples[-1] if samples else {}
            if scalars and last.get("step") == step and not any(tag in last for tag in scalars):
                samples[-1].update(scalars)
            elif scalars:
                samples.append({"step": step, **scalars})
        offset += HEAD + length + FOOT
    return samples, offset


def scalars_of(event: bytes) -> tuple[int, Scalars]:
    """(the step of an event, {tag: number or None}). ValueError, IndexError, struct.error where it
    is none.
    """
    step = 0
    scalars: Scalars = {}
    for number, value in fields(event):
        if number == 2 and isinstance(value, int):
            step = value - (1 << 64) if value >> 63 else value
        elif number == 5 and isinstance(value, bytes):
            for inner, each in fields(value):
                tag, scalar = (
                    scalar_of(each) if inner == 1 and isinstance(each, bytes) else ("", None)
                )
                if tag and scalar is not None and len(tag) <= TAG and tag != "step":
                    scalars[tag] = scalar if math.isfinite(scalar) else None
    return step, scalars


def scalar_of(value: bytes) -> tuple[str, float | None]:
    """(the tag, the number) of one value of a summary; None for a number where it is something
    else.
    """
    tag, scalar = "", None
    for number, each in fields(value):
        if number == 1 and isinstance(each, bytes):
            tag = each.decode("utf-8", "replace")
        elif number == 2 and isinstance(each, bytes) and len(each) == 4:
            scalar = unpacked("<f", each)
        elif number == 8 and isinstance(each, bytes):
            scalar = number_of(each)
    return tag, scalar


# {the type of a tensor: (how its bytes are read, the field that holds its values)}
TENSORS = {1: ("<f", 5), 2: ("<d", 6)}


def number_of(tensor: bytes) -> float | None:
    """The number that a tensor of floats without dimensions is; None of any other."""
    content: Value | None = None
    kind: Value = 0
    values: dict[int, Value] = {}
    for number, each in fields(tensor):
        if number == 1:
            kind = each
        elif number == 2 and any(inner == 2 for inner, _ in fields(each)):
            return None
        elif number == 4:
            content = each
        else:
            values[number] = each
    if not isinstance(kind, int) or kind not in TENSORS:
        return None
    form, field = TENSORS[kind]
    data = content if content is not None else values.get(field)
    return (
        unpacked(form, data)
        if isinstance(data, bytes) and len(data) == struct.calcsize(form)
        else None
    )


def unpacked(form: str, data: bytes) -> float:
    (value,) = struct.unpack(form, data)
    # With no more digits than it has.
    return float("%.7g" % value) if form == "<f" else value


def fields(data: Value) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field of a message: an int, or bytes. ValueError, IndexError where it
    is cut off or none.
    """
    if isinstance(data, int):
        raise ValueError("no message")
    message, at = data, 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        value: Value
        if kind == 0:
            value, at = varint(message, at)
        else:
            if kind == 2:
                length, at = varint(message, at)
            else:
                length = {1: 8, 5: 4}.get(kind)
            if length is None or at + length > len(message):
                raise ValueError("no field")
            value, at = message[at : at + length], at + length
        yield key >> 3, value


def varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & ((1 << 64) - 1), at
    raise ValueError("no number")
