"""Directories that several runs share and the first of them makes: environments and datasets.
`<root>/<kind>/<name>/`, docs/reference/formats.md, "Garbage on the instance".
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time

from ..system import atomic_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


# Between two looks whether another process has made the directory.
POLL_S = 0.2
# Between two log lines that say for whom a run waits.
MESSAGE_INTERVAL_S = 10


class Broken(Exception):
    """The directory is no longer complete, and can't be made again because another run uses it."""


def acquire(
    directory: str,
    owner: str,
    *,
    make: Callable[[], object],
    say: Callable[[str], object],
    pause: Callable[[float], object],
    whole: Callable[[Any], bool] = lambda record: True,
) -> tuple[Any, int]:
    """Makes the directory with `make` unless it exists. Returns (what `make` returned when it was
    made, a descriptor).

    Nothing removes the directory while the descriptor is open, in this process or in one that was
    forked. If several processes need it at once, one makes it and the others wait, with
    `pause(seconds)`, which may raise; they log that they wait for the maker's `owner`. The
    directory exists once `make` has returned; if `make` fails, it must remove what it has written.
    `whole(record)`: whether the directory is still complete.
    """
    started = due = time.monotonic()
    while True:
        os.makedirs(directory, exist_ok=True)
        try:
            descriptor = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            # The garbage collector has just removed it.
            continue
        try:
            record = _entered(directory, descriptor, owner=owner, make=make, whole=whole)
        except BaseException:
            os.close(descriptor)
            raise
        if record is not None:
            return record, descriptor
        holder = _holder(descriptor)
        os.close(descriptor)
        now = time.monotonic()
        if holder and now >= due:
            so_far = "" if due == started else ": %d s so far" % (now - started)
            say("waiting for %s, which is preparing the same files%s" % (holder, so_far))
            due = now + MESSAGE_INTERVAL_S
        pause(POLL_S)


def _entered(
    directory: str,
    descriptor: int,
    *,
    owner: str,
    make: Callable[[], object],
    whole: Callable[[Any], bool],
) -> Any:
    """The record, with a shared lock on the descriptor; None: the caller has to try again."""
    record = atomic_files.read_json(os.path.join(directory, "done.json"))
    if record is None or not whole(record):
        if not take(descriptor, fcntl.LOCK_EX):
            if record is not None and take(descriptor, fcntl.LOCK_SH):
                raise Broken(directory)
            return None
        if not is_the_lock_of(directory, descriptor):
            return None
        record = atomic_files.read_json(os.path.join(directory, "done.json"))
        if record is None or not whole(record):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"owner": owner, "pid": os.getpid()}).encode(), 0)
            if record is not None:
                os.unlink(os.path.join(directory, "done.json"))
            atomic_files.write_json(os.path.join(directory, "done.json"), make())
            os.ftruncate(descriptor, 0)
    # Between the exclusive and the shared lock, another process may have taken it: check again.
    if not take(descriptor, fcntl.LOCK_SH) or not is_the_lock_of(directory, descriptor):
        return None
    record = atomic_files.read_json(os.path.join(directory, "done.json"))
    if record is not None:
        touch(directory)
    return record


def take(descriptor: int, how: int) -> bool:
    """Locks a file unless another process has it locked. Returns whether it did."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False


def is_the_lock_of(directory: str, descriptor: int) -> bool:
    """Whether the directory is still the one whose lock was opened."""
    try:
        there = os.stat(os.path.join(directory, "lock"), follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def touch(directory: str) -> None:
    """Records the time of the last use, as the mtime of a file."""
    path = os.path.join(directory, "used")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
    now = time.time()
    os.utime(path, (now, now))


def _holder(descriptor: int) -> str | None:
    try:
        return json.loads(os.pread(descriptor, 4096, 0))["owner"]
    except (ValueError, KeyError, TypeError):
        return None
