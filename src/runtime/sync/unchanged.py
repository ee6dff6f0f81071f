"""A sync that changes nothing, which is most of them: it is found out in one pass that keeps
nothing.
"""

from __future__ import annotations

import os
import stat

from .tree import MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import SyncSpec
    from .tree import Tree


def is_unchanged(tree: Tree, spec: SyncSpec) -> bool:
    """Whether the tree holds the snapshot wanted, and nothing was interrupted: then `compare` would
    find all up to date. False if only `compare` can tell.
    """
    name = spec["snapshot"]
    if (
        tree.head != name
        or spec.get("base") != name
        or tree.pending is not None
        or os.path.exists(os.path.join(tree.directory, "stage"))
    ):
        return False
    numbers, limits = tree.read_stat_numbers(), spec["limits"]
    if numbers is None or len(numbers) > 4 * limits["entries"]:
        return False
    if sum(numbers[::4]) > limits["bytes"]:
        return False
    try:
        return is_as_recorded(tree, numbers)
    except (FileNotFoundError, IndexError):
        return False


def is_as_recorded(tree: Tree, numbers: list[int]) -> bool:
    """Whether lstat knows every entry of the head, whose hash says that it is whole."""
    fields = tree.data.split(b"\0")
    lstat, get_directory = os.stat, tree.directories.get
    plain, executable = MODES[False], MODES[True]
    last, parent, status = None, None, None
    at, row = 1, 0
    while at < len(fields) - 1:
        field = fields[at]
        at += 1
        is_file = field.startswith(b"f ")
        directory, _, name = (field.split(b" ", 4)[4] if is_file else field[2:]).rpartition(b"/")
        # Asked for again and again: the directory at hand is the one of most paths.
        if directory != last:
            last, parent = directory, get_directory(directory)
        if parent is None:
            return False
        status = lstat(name, dir_fd=parent, follow_symlinks=False)
        if is_file:
            modes = executable if field.startswith(b"f x") else plain
            if (
                status.st_mode not in modes
                or status.st_size != numbers[row]
                or status.st_mtime_ns != numbers[row + 1]
                or status.st_ino != numbers[row + 2]
                or (
                    status.st_ctime_ns != numbers[row + 3]
                    and tree.stat_key(status)[3] != numbers[row + 3]
                )
            ):
                return False
        elif field.startswith(b"l "):
            if not stat.S_ISLNK(status.st_mode) or os.readlink(name, dir_fd=parent) != fields[at]:
                return False
            at += 1
        elif not stat.S_ISDIR(status.st_mode):
            return False
        row += 4
    return row == len(numbers)
