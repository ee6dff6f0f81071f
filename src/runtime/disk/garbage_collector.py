"""Removes what is no longer used from the disk of an instance, and more if the disk is nearly full:
docs/reference/formats.md, "Garbage on the instance".
"""

from __future__ import annotations

import fcntl
import os
import time

from . import shared_cache
from .garbage import Garbage
from .trash import Trash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from .garbage import Item

    class Removed(TypedDict):
        """`path`: relative to the root."""

        path: str
        why: str

    class Result(TypedDict):
        """`freed`, `free`: bytes."""

        removed: list[Removed]
        freed: int
        free: int


# The share of the disk that is to be free: below it, things are removed before their time.
FREE_SHARE = 0.1


def collect_garbage(root: str, needed: int = 0, now: float | None = None) -> Result:
    """Removes whatever is past its time, and more until `needed` bytes and a tenth of the disk are
    free.

    Never removes anything of an active run, nor, for a month, a run that is not saved. Of several
    processes that call it at once, one does the work; the others return at once. `now`: seconds
    since the epoch.
    """
    result: Result = {"removed": [], "freed": 0, "free": 0}
    descriptor = os.open(
        os.path.join(root, "garbage.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600
    )
    try:
        if shared_cache.take(descriptor, fcntl.LOCK_EX):
            trash = Trash(root)
            trash.empty()
            garbage = Garbage(root, time.time() if now is None else now)
            Collector(root, needed, trash, removed=result["removed"]).collect(garbage.items())
            result["freed"] = trash.freed
    finally:
        os.close(descriptor)
    result["free"] = disk_space(root)[0]
    return result


def is_nearly_full(root: str, needed: int = 0) -> bool:
    """Whether less than a tenth of the disk, or less than `needed` bytes, is free."""
    free, total = disk_space(root)
    return free < max(total * FREE_SHARE, needed)


def disk_space(root: str) -> tuple[int, int]:
    """(free for the training user, all), bytes."""
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


class Collector:
    """`removed` gets what was removed."""

    def __init__(self, root: str, needed: int, trash: Trash, *, removed: list[Removed]) -> None:
        self.root, self.needed, self.trash, self.removed = root, needed, trash, removed

    def collect(self, items: list[Item]) -> None:
        for item in items:
            if item.due:
                self._remove(item)
        for item in items:
            if not is_nearly_full(self.root, self.needed):
                return
            if item.early and not item.due:
                self._remove(item)

    def _remove(self, item: Item) -> None:
        """Moves it into the trash and deletes it, unless it is in use, or gone."""
        taken: list[int] = []
        try:
            for path in item.locks:
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
                except FileNotFoundError:
                    continue
                taken.append(descriptor)
                if not shared_cache.take(descriptor, fcntl.LOCK_EX):
                    return
            if self.trash.take(item.path):
                path = os.path.relpath(item.path, self.root)
                self.removed.append({"path": path, "why": item.why})
        finally:
            for descriptor in taken:
                os.close(descriptor)
        self.trash.empty()
