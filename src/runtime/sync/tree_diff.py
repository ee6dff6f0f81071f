"""Compares a tree as it is with a snapshot: what is missing, what drifted, what is in the way."""

from __future__ import annotations

import os
import stat

from ..system.errors import Failure, text
from .tree import MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection

    from .snapshot import Entries, Entry
    from .tree import StatKey, Tree


class Comparison:
    """The differences between the tree as it is and the snapshot wanted.

    up_to_date     {path: stat key}: files that are as wanted
    missing        paths to be written, in order
    deleted        paths to be removed: syncs brought them, and the snapshot lacks them
    reverted       paths of the head that were changed or deleted here
    blocking       paths where something stands that no sync wrote, and that is in the way
    local_sources  {content: path}: what the tree's files hold
    consumed       paths in `local_sources` that are about to be removed
    index_stale    whether a file was found to be right that the index did not know
    """

    up_to_date: dict[bytes, StatKey]
    missing: list[bytes]
    deleted: list[bytes]
    reverted: list[bytes]
    blocking: list[bytes]
    local_sources: dict[str, bytes]
    consumed: set[bytes]
    index_stale: bool

    def __init__(self) -> None:
        self.up_to_date, self.local_sources, self.consumed = {}, {}, set()
        self.missing, self.deleted, self.reverted, self.blocking = [], [], [], []
        self.index_stale = False


def compare(tree: Tree, wanted: Entries, trust_stat: bool = True) -> Comparison:
    """Compares everything. A file that lstat knows is believed, unless told not to; any other is
    read.
    """
    found = Comparison()
    lstat, head, pending = tree.directories.lstat, tree.entries, tree.pending or set()
    stat_keys, stat_key = tree.stat_keys, tree.stat_key
    last, parent = None, None
    for path, entry in wanted.items():
        directory, _, name = path.rpartition(b"/")
        # Asked for again and again: the directory at hand is the one of most paths.
        if directory != last:
            last, parent = directory, tree.directories.get(directory)
        try:
            status = None if parent is None else os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            status = None
        if status is not None:
            if entry[0] != "file":
                if tree.has(path, entry, status):
                    continue
            elif trust_stat:
                # As `tree.is_known` has it, for most entries.
                key = stat_key(status)
                if (
                    stat_keys.get(path) == key
                    and status.st_mode in MODES[entry[1]]
                    and head.get(path) == entry
                ):
                    found.up_to_date[path] = key
                    continue
        classify_changed(
            tree, found, path, entry=entry, status=status, trust_stat=trust_stat, pending=pending
        )
        parent = tree.directories.get(directory)
    for path in sorted(set(head).union(pending).difference(wanted)):
        found.deleted.append(path)
        status = lstat(path)
        if status is None or stat.S_ISDIR(status.st_mode):
            continue
        if is_as_written(tree, path, status, trust_stat=trust_stat):
            before = head[path]
            if before[0] == "file":
                found.local_sources.setdefault(before[3], path)
                found.consumed.add(path)
        elif path not in pending:
            found.blocking.append(path)
    for path in found.up_to_date:
        entry = wanted[path]
        if entry[0] == "file":
            found.local_sources[entry[3]] = path
    return found


def classify_changed(
    tree: Tree,
    found: Comparison,
    path: bytes,
    *,
    entry: Entry,
    status: os.stat_result | None,
    trust_stat: bool,
    pending: Collection[bytes],
) -> None:
    """Of a path that is not known to be right."""
    before = tree.entries.get(path)
    if status is not None and tree.has(path, entry, status):
        if entry[0] == "file":
            found.local_sources.setdefault(entry[3], path)
            if tree.has_expected_mode(entry, status):
                found.up_to_date[path] = tree.stat_key(status)
                found.index_stale = True
                return
            found.missing.append(path)
            # It may be the snapshot that wants another mode.
            if (
                before is not None
                and path not in pending
                and not (before[0] == "file" and tree.has_expected_mode(before, status))
            ):
                found.reverted.append(path)
        return
    found.missing.append(path)
    ours = path in pending
    if (
        before is not None
        and before != entry
        and is_as_written(tree, path, status, trust_stat=trust_stat)
    ):
        ours = True
        if before[0] == "file":
            found.local_sources.setdefault(before[3], path)
    elif before is not None and not ours:
        found.reverted.append(path)
    if status is not None and not ours and not stat.S_ISDIR(status.st_mode):
        found.blocking.append(path)


def is_as_written(
    tree: Tree, path: bytes, status: os.stat_result | None, *, trust_stat: bool
) -> bool:
    """Whether what stands at a path of the head is what was written for the head."""
    entry = tree.entries.get(path)
    if entry is None or status is None:
        return False
    if trust_stat and entry[0] == "file" and tree.is_known(path, entry, status):
        return True
    return tree.has(path, entry, status)


def check_blocking_paths(
    tree: Tree, wanted: Entries, found: Comparison, *, force: bool
) -> set[bytes]:
    """Everything that is in the way of what lacks and may not be moved is found before the tree is
    touched.

    The paths of what may be moved, or overwritten by force, where a directory belongs.
    """
    gone = set(found.deleted)
    blocking_parents: set[bytes] = set()
    seen: set[bytes] = set()
    for path in found.missing:
        status = tree.directories.lstat(path)
        if status is not None and stat.S_ISDIR(status.st_mode) and wanted[path][0] != "directory":
            check_emptied(tree, path, gone)
        parent = path.rpartition(b"/")[0]
        while status is None and parent and parent not in seen:
            seen.add(parent)
            status = tree.directories.lstat(parent)
            if status is not None and not stat.S_ISDIR(status.st_mode) and parent not in gone:
                if not force:
                    raise Failure(
                        "PATH_BLOCKED",
                        "something that is not a directory is in the way",
                        path=text(parent),
                    )
                blocking_parents.add(parent)
            parent = parent.rpartition(b"/")[0]
    return blocking_parents


def check_emptied(tree: Tree, path: bytes, gone: Collection[bytes]) -> None:
    """Whether a directory will be empty, but for directories, when what is gone is removed."""
    left = [path]
    while left:
        at = left.pop()
        descriptor = tree.directories.get(at)
        for name in os.listdir(descriptor) if descriptor is not None else ():
            each = at + b"/" + os.fsencode(name)
            status = tree.directories.lstat(each)
            if status is not None and stat.S_ISDIR(status.st_mode):
                left.append(each)
            elif each not in gone:
                raise Failure(
                    "PATH_BLOCKED",
                    "a directory that holds other files stands where a file belongs",
                    path=text(path),
                )
