"""Removes files so that nothing is ever removed by half: a path is moved to `<root>/trash` at once,
and deleted there, by this process or the next.
"""

from __future__ import annotations

import errno
import os
import stat

from ..system.safe_walk import DIRECTORY


class Trash:
    """Its users hold one lock. `freed`: the bytes of deleted files that had no other hard link."""

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
        """Moves a path into the trash. Returns False if it is gone, or on another disk."""
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
    """Removes a path, if it exists, from a directory that only root may write to."""
    parent = os.open(os.path.dirname(path), DIRECTORY)
    try:
        remove(parent, os.path.basename(path))
    finally:
        os.close(parent)


def remove(parent: int, top: str) -> int:
    """Removes a file, or a directory with its content, from a directory that only root may write
    to. Returns the bytes that this freed on the disk.

    A directory inside is moved beside its parent first, so that only one is open at a time at any
    depth. Files that can't be deleted, or are still written to, are left to the next call.
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
    """Removes a name. Returns the bytes that this freed: none if the file has another hard link."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        os.unlink(name, dir_fd=parent)
    except OSError:
        return 0
    return status.st_blocks * 512 if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0
