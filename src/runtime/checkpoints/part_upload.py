"""Files as parts, each under its hash in the store: sent once, from several threads."""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import os
import re
import threading

from ..system import safe_walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable, Protocol

    class PartBucket(Protocol):
        def put(self, name: str, data: bytes) -> object: ...


PART_BYTES = 8 * 1024 * 1024
# As many parts are in memory at once.
CONCURRENT_PARTS = 4
HASH = re.compile(r"[0-9a-f]{64}")


class Changed(Exception):
    """A file became another, or went, while it was read."""


class Parts:
    """The parts that the store is known to hold, from a file that grows by a line for each.

    The bucket's `put` is called from several threads at once. One `save` at a time."""

    def __init__(
        self, bucket: PartBucket, known_path: str, account: pwd.struct_passwd | None = None
    ) -> None:
        self.bucket, self.account = bucket, account
        self.lock = threading.Lock()
        self.file = open(known_path, "a+b", buffering=0)
        self.file.seek(0)
        lines = self.file.read().decode("ascii", "replace")
        if lines and not lines.endswith("\n"):
            # Whoever wrote it was killed.
            self.file.write(b"\n")
        self.known = {line for line in lines.split("\n") if HASH.fullmatch(line)}

    def save(
        self, base: str | int, path: str, progress: Callable[[int], object] | None = None
    ) -> dict[str, Any]:
        """The entry of a file (docs/reference/formats.md, "Parts") when all its parts are in the
        store; `progress` gets bytes, piece by piece.

        `path` is below the directory `base` (`inside` says what that may be), and the entry's.
        Changed where it is no longer what was read; Failure of the bucket.
        """
        return self.save_all(base, [path], progress=progress)[0]

    def save_all(
        self,
        base: str | int | Callable[[str], int],
        paths: list[str],
        *,
        progress: Callable[[int], object] | None = None,
        changed: list[str] | None = None,
    ) -> list[dict[str, Any]]:
        """The entries of several files, as `save` has them. `base` may also be a function that
        opens a path.

        `changed`: a list that takes the paths of those that changed while they were read, which
        have no entry; None: the first of them raises Changed.
        """
        entries: list[dict[str, Any]] = []
        with _Sending(self, progress) as sending:
            for path in paths:
                try:
                    entries.append(self._read(base, path, sending))
                except Changed:
                    if changed is None:
                        raise
                    changed.append(path)
        return entries

    def close(self) -> None:
        self.file.close()

    def _open(self, base: str | int | Callable[[str], int], path: str) -> int:
        return base(path) if callable(base) else safe_walk.open_file(base, path, self.account)

    def _read(
        self, base: str | int | Callable[[str], int], path: str, sending: _Sending
    ) -> dict[str, Any]:
        try:
            descriptor = self._open(base, path)
        except OSError as error:
            if error.errno in safe_walk.GONE + (errno.EACCES,):
                raise Changed(path)
            raise
        before = os.fstat(descriptor)
        with open(descriptor, "rb") as file:
            whole, left = hashlib.sha256(), before.st_size
            names: list[str | None] = []
            while left:
                with sending.slot() as slot:
                    data = file.read(min(PART_BYTES, left))
                    if len(data) < min(PART_BYTES, left):
                        raise Changed(path)
                    names.append(None)
                    slot.send(data, names)
                    whole.update(data)
                    left -= len(data)
                    del data
            if file.read(1) or self._now(base, path) != _identity(before):
                raise Changed(path)
        return {
            "path": path,
            "size": before.st_size,
            "sha256": whole.hexdigest(),
            "executable": bool(before.st_mode & 0o100),
            "parts": names,
        }

    def _now(
        self, base: str | int | Callable[[str], int], path: str
    ) -> tuple[int, int, int, int] | None:
        try:
            descriptor = self._open(base, path)
        except OSError:
            return None
        try:
            return _identity(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def remember(self, name: str) -> None:
        self.known.add(name)
        self.file.write(name.encode() + b"\n")


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _Sending:
    """Parts on their way. The first error ends it; what was sent by then is known."""

    begun: set[str]
    error: BaseException | None

    def __init__(self, parts: Parts, progress: Callable[[int], object] | None) -> None:
        self.parts, self.progress = parts, progress
        self.pool = concurrent.futures.ThreadPoolExecutor(CONCURRENT_PARTS)
        self.slots = threading.Semaphore(CONCURRENT_PARTS)
        self.begun, self.error = set(), None

    def __enter__(self) -> _Sending:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.pool.shutdown()
        if kind is None and self.error is not None:
            raise self.error

    def slot(self) -> _Slot:
        self.slots.acquire()
        if self.error is not None:
            self.slots.release()
            raise self.error
        return _Slot(self)

    def run(self, data: bytes, names: list[str | None], at: int) -> None:
        try:
            name = hashlib.sha256(data).hexdigest()
            with self.parts.lock:
                names[at] = name
                there = name in self.parts.known or name in self.begun
                self.begun.add(name)
            if not there:
                self.parts.bucket.put("part/" + name, data)
            with self.parts.lock:
                if not there:
                    self.parts.remember(name)
                if self.progress:
                    self.progress(len(data))
        except BaseException as error:
            self.error = self.error or error
        finally:
            self.slots.release()


class _Slot:
    """One of the parts that may be uploaded at once; released after the upload, or without one."""

    def __init__(self, sending: _Sending) -> None:
        self.sending, self.taken = sending, False

    def __enter__(self) -> _Slot:
        return self

    def send(self, data: bytes, names: list[str | None]) -> None:
        self.taken = True
        self.sending.pool.submit(self.sending.run, data, names, len(names) - 1)

    def __exit__(self, *_: object) -> None:
        if not self.taken:
            self.sending.slots.release()
