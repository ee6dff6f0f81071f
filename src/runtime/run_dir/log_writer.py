"""A run's log: one stream of bytes, and the times when it was written. On a full disk, data is kept
in memory and written later.
"""

from __future__ import annotations

import errno
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    Times = List[List[int]]


# How much is kept in memory while the disk is full; more is lost, and the record says so.
BACKLOG_BYTES = 64 * 1024 * 1024
# Reserved on the disk at the start, so that the end of a run can be recorded on a full disk.
RESERVE_BYTES = 4 * 1024 * 1024
# Between two entries of the times.
TIMES_GRAIN_S = 1.0


class LogFile:
    backlog: list[bytes]

    def __init__(self, home: str) -> None:
        self.home = home
        self.path = os.path.join(home, "log")
        self.descriptor = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        self.times = os.open(
            os.path.join(home, "times"),
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o644,
        )
        self.size = os.fstat(self.descriptor).st_size
        self.noted = 0.0
        self.backlog, self.waiting = [], 0
        # Whether the disk is, or was, full; how many bytes were lost.
        self.full, self.lost = False, 0
        self.reserve = os.path.join(home, "reserve")
        self._set_aside()

    def _set_aside(self) -> None:
        try:
            with open(self.reserve, "wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            pass

    def write(self, data: bytes) -> None:
        if self.backlog:
            if self.waiting + len(data) > BACKLOG_BYTES:
                self.lost += len(data)
                return
            self.backlog.append(data)
            self.waiting += len(data)
            self.flush()
        else:
            self._write(data)

    def say(self, text: str) -> None:
        """A line of ours."""
        self.write(b"nx-ec2: %s\n" % text.encode("utf-8", "replace"))

    def flush(self) -> None:
        """Tries what could not be written before."""
        backlog, self.backlog, self.waiting = self.backlog, [], 0
        for data in backlog:
            if self.backlog:
                self.backlog.append(data)
                self.waiting += len(data)
            else:
                self._write(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                count = os.write(self.descriptor, view)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                if not self.full:
                    self.full = True
                    self.release()
                    continue
                self.backlog.append(bytes(view))
                self.waiting += len(view)
                return
            view = view[count:]
            self.size += count
        if time.monotonic() - self.noted > TIMES_GRAIN_S:
            self.noted = time.monotonic()
            self._note()

    def _note(self) -> None:
        try:
            os.write(self.times, b"%d %d\n" % (time.time() * 1000, self.size))
        except OSError:
            pass

    def release(self) -> None:
        """Frees the reserved space."""
        try:
            os.unlink(self.reserve)
        except OSError:
            pass

    def close(self) -> None:
        self.flush()
        self._note()
        self.release()
        os.close(self.descriptor)
        os.close(self.times)


def read_times(home: str, most: int) -> Times:
    """[[ms since the epoch, the size of the log then], …]. Every second entry is left out until
    there are `most` at most.
    """
    try:
        with open(os.path.join(home, "times"), "rb") as file:
            pairs = [
                [int(each) for each in line.split()]
                for line in file.read().splitlines()
                if line.count(b" ") == 1
            ]
    except (OSError, ValueError):
        return []
    while len(pairs) > most:
        pairs = pairs[1::2]
    return pairs


def as_json(pairs: Times) -> bytes:
    return json.dumps({"v": 1, "times": pairs}).encode()
