"""Files put together from their parts, as `parts` took them apart: verified, whole or not there."""

from __future__ import annotations

import collections
import concurrent.futures
import hashlib
import os

from ..system.errors import Failure
from . import part_upload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Generator, Iterator, Sequence, Union

    Entry = Dict[str, Any]
    Part = Union[bytes, bytearray, None]
    Get = Callable[[str], Part]
    Coming = Deque[concurrent.futures.Future[Part]]


def restore(entry: Entry, target: str, get: Get) -> None:
    """Writes a file from its parts (`get(sha256)` gives the bytes, or None), verified, and in place
    when it is whole.
    """
    restore_all([(entry, target)], get)


def restore_all(files: Sequence[tuple[Entry, str]], get: Get) -> None:
    """The same for several: [(entry, target), …]. The parts are fetched ahead, across files, `get`
    by several threads.
    """
    for entry, _ in files:
        check(entry)
    arriving = _ahead([name for entry, _ in files for name in entry["parts"]], get)
    try:
        for entry, target in files:
            _write(entry, target, arriving)
    finally:
        arriving.close()


def _write(entry: Entry, target: str, arriving: Iterator[Part]) -> None:
    beside = "%s.%d" % (target, os.getpid())
    try:
        os.unlink(beside)
    except FileNotFoundError:
        pass
    mode = 0o755 if entry["executable"] else 0o644
    whole, left = hashlib.sha256(), entry["size"]
    try:
        with open(
            beside, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, mode)
        ) as file:
            for name in entry["parts"]:
                data = next(arriving)
                if data is None:
                    raise Failure(
                        "PART_MISMATCH",
                        "a part of %s is not in the store" % entry["path"],
                        part=name,
                        path=entry["path"],
                    )
                if hashlib.sha256(data).hexdigest() != name or len(data) != min(
                    part_upload.PART_BYTES, left
                ):
                    raise Failure(
                        "PART_MISMATCH",
                        "a part of %s does not match its name" % entry["path"],
                        part=name,
                        path=entry["path"],
                    )
                left -= len(data)
                whole.update(data)
                file.write(data)
            if whole.hexdigest() != entry["sha256"]:
                raise Failure(
                    "PART_MISMATCH",
                    "the parts of %s do not add up to it" % entry["path"],
                    part=None,
                    path=entry["path"],
                )
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        try:
            os.unlink(beside)
        except OSError:
            pass
        raise


def _ahead(names: list[str], get: Get) -> Generator[Part, None, None]:
    """The parts in order. Up to `part_upload.CONCURRENT_PARTS` of them are requested, or wait to be
    used, at once.
    """
    with concurrent.futures.ThreadPoolExecutor(part_upload.CONCURRENT_PARTS) as pool:
        coming: Coming = collections.deque()
        waiting = collections.deque(names)
        try:
            while waiting or coming:
                while waiting and len(coming) < part_upload.CONCURRENT_PARTS:
                    coming.append(pool.submit(get, waiting.popleft()))
                yield coming.popleft().result()
        finally:
            for each in coming:
                each.cancel()


def check(entry: Entry | None) -> None:
    """PART_MISMATCH where a file's entry is not of the shape that it must have."""
    if not isinstance(entry, dict) or not is_entry(entry):
        raise Failure(
            "PART_MISMATCH", "an entry of a list of files is malformed", part=None, path=None
        )


def is_entry(entry: Entry) -> bool:
    return (
        isinstance(entry.get("size"), int)
        and entry["size"] >= 0
        and isinstance(entry.get("parts"), list)
        and len(entry["parts"]) == -(-entry["size"] // part_upload.PART_BYTES)
        and isinstance(entry.get("executable"), bool)
        and all(
            isinstance(each, str) and part_upload.HASH.fullmatch(each)
            for each in entry["parts"] + [entry.get("sha256")]
        )
        and isinstance(entry.get("path"), str)
        and "\0" not in entry["path"]
        and not any(each in ("", ".", "..") for each in entry["path"].split("/"))
    )
