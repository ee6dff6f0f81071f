"""Removing so that nothing is ever half there: moved to `<root>/trash` at once, deleted afterwards,
by this one or the next.
"""

from __future__ import annotations

import errno
import os
import stat

from ..system.safe_walk import DIRECTORY


class Trash:
    """To be used under one lock. `freed`: bytes of what was deleted and had no other name."""

    def __init__(self, root: str) -> None:
        self.at = os.path.join(root, "trash")
        self.freed = 0
        self.count = 0
        try:
            os.mkdir(self.at, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(self.at).st_mode):
                raise

    def take(self, path: str) -> bool:
        """Whether it was moved away. What lies on another disk, or is gone, stays as it is."""
        while True:
            self.count += 1
            target = os.path.join(self.at, "%d-%d" % (os.getpid(), self.count))
            if not os.path.lexists(target):
                break
        try:
            os.rename(path, target)
            return True
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EXDEV, errno.EBUSY):
                raise
            return False

    def empty(self) -> None:
        descriptor = os.open(self.at, DIRECTORY)
        try:
            for name in os.listdir(descriptor):
                self.freed += remove(descriptor, name)
        finally:
            os.close(descriptor)


def remove_tree(path: str) -> None:
    """Removes what is at a path, if anything is, from a directory that is root's alone."""
    parent = os.open(os.path.dirname(path), DIRECTORY)
    try:
        remove(parent, os.path.basename(path))
    finally:
        os.close(parent)


def remove(parent: int, top: str) -> int:
    """Removes a file, or a directory and all below it, from a directory that is root's alone; the
    bytes on the disk that this freed.

    A directory in a directory is moved beside it first: so one is open at a time, however deep they
    are. What can't be deleted, or is still written to, is left to the next one.
    """
    freed, count, waiting = 0, 0, [top]
    while waiting:
        name = waiting.pop()
        try:
            descriptor = os.open(name, DIRECTORY, dir_fd=parent)
        except OSError:
            freed += _unlink(name, parent)
            continue
        try:
            for each in os.listdir(descriptor):
                if not _is_directory(each, descriptor):
                    freed += _unlink(each, descriptor)
                    continue
                count += 1
                beside = "%s.%d-%d" % (top, os.getpid(), count)
                try:
                    os.rename(each, beside, src_dir_fd=descriptor, dst_dir_fd=parent)
                    waiting.append(beside)
                except OSError:
                    continue
        finally:
            os.close(descriptor)
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError:
            continue
    return freed


def _is_directory(name: str, parent: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _unlink(name: str, parent: int) -> int:
    """The bytes on the disk that removing a name freed; what has another name elsewhere frees
    nothing.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        os.unlink(name, dir_fd=parent)
    except OSError:
        return 0
    return status.st_blocks * 512 if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0
