"""Whether a disk is full, or was: by the file system, and by what a command wrote to its log."""

from __future__ import annotations

import os
import re

TAIL_BYTES = 16 * 1024
# How programs name the error ENOSPC.
NO_SPACE = re.compile(rb"No space left on device|\(os error 28\)|\[Errno 28\]")
# A file system with less than this free counts as full.
FULL_BELOW_BYTES = 1024 * 1024


def is_full(path: str) -> bool:
    try:
        status = os.statvfs(path)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < FULL_BELOW_BYTES or (
        status.f_files > 0 and status.f_favail == 0
    )


def named_full_disk(log: str, start: int) -> bool:
    """Whether a command has printed, at the end of its log, that the disk was full: it may have
    freed its own files when it ended.
    """
    return NO_SPACE.search(tail(log, start)) is not None


def tail(log: str, start: int, size: int = TAIL_BYTES) -> bytes:
    """The end of a log, as far as it begins at `start` or later: `size` bytes at most."""
    try:
        with open(log, "rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - size))
            return file.read()
    except OSError:
        return b""
