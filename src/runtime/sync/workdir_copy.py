"""A run's own copy of a tree, that no later sync touches: clones, files shared by hard link,
verified copies.
"""

from __future__ import annotations

import errno
import hashlib
import os

from ..system import account as accounts
from ..system.dirfd_cache import Directories
from ..system.errors import text
from ..system.file_hash import hash_file
from .staging import can_clone, clone, copy_range, write_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .snapshot import FileEntry
    from .tree import Tree

    Progress = Callable[[], object]


# Below that a copy costs no more than a clone.
SMALL_FILE_BYTES = 64 * 1024
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FreezeFailed(Exception):
    pass


def freeze(tree: Tree, work: str, progress: Progress) -> None:
    """Makes the directory `work` what the tree's head says. The tree was just compared, and its
    lock is held.
    """
    # Nobody else can enter it before it is done, and so exchange what root makes in it.
    os.mkdir(work, 0o700)
    Freezer(tree, work).freeze(progress)
    os.chmod(work, 0o755)
    accounts.own(work, tree.account)


class Freezer:
    def __init__(self, tree: Tree, work: str) -> None:
        self.tree = tree
        self.source, self.target = tree.directories, Directories(work, tree.account)
        self.clones = can_clone(self.target.opened[b""], ".nx-ec2")

    def freeze(self, progress: Progress) -> None:
        last, parent, origin = None, self.target.make(b""), None
        tree, share = self.tree, self.tree.can_share
        try:
            for path, entry in tree.entries.items():
                directory, _, name = path.rpartition(b"/")
                if directory != last:
                    last, parent = directory, self.target.make(directory)
                    origin = self.source.get(directory)
                    progress()
                if entry[0] == "directory":
                    self.target.make(path)
                    last = None
                elif entry[0] == "link":
                    os.symlink(entry[1], name, dir_fd=parent)
                    if share:
                        os.chown(
                            name,
                            tree.account.pw_uid,
                            tree.account.pw_gid,
                            dir_fd=parent,
                            follow_symlinks=False,
                        )
                elif not (
                    share
                    and origin is not None
                    and self.link(path, entry, name=name, origin=origin, parent=parent)
                ):
                    self.copy(path, entry, name=name, parent=parent)
                    # The copy may have come from another directory.
                    last = None
        finally:
            self.target.close()

    def link(self, path: bytes, entry: FileEntry, *, name: bytes, origin: int, parent: int) -> bool:
        """Shares a file that only root can change; whether it is one, and the one that was
        written.
        """
        known = self.tree.stat_keys.get(path)
        if known is None or known[3] != 0 or (self.clones and entry[2] > SMALL_FILE_BYTES):
            return False
        try:
            os.link(name, name, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)
        except OSError:
            # Gone meanwhile, or linked too often.
            return False
        # What was linked is looked at, not what was there before.
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if self.tree.is_shared(status) and self.tree.is_known(path, entry, status):
            return True
        os.unlink(name, dir_fd=parent)
        return False

    def copy(self, path: bytes, entry: FileEntry, *, name: bytes, parent: int) -> None:
        """A file of the run's own, from its path or, where that was changed meanwhile, from any
        other of the same content.
        """
        if self.copy_from(path, path, entry, name=name, parent=parent):
            return
        for other, each in self.tree.entries.items():
            if each[0] == "file" and each[3] == entry[3] and other != path:
                parent = self.target.make(path.rpartition(b"/")[0])
                if self.copy_from(other, path, entry, name=name, parent=parent):
                    return
        raise FreezeFailed(
            "%s was changed in the tree while it was frozen for the run: start it again, "
            "the sync brings the file back" % text(path)
        )

    def copy_from(
        self, origin: bytes, path: bytes, entry: FileEntry, *, name: bytes, parent: int
    ) -> bool:
        try:
            source = self.tree.open(origin)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
                return False
            raise
        try:
            target = os.open(name, CREATE, 0o755 if entry[1] else 0o644, dir_fd=parent)
            try:
                if self.fill(source, target, origin=origin, entry=entry):
                    accounts.own(target, self.tree.account)
                    return True
            finally:
                os.close(target)
        finally:
            os.close(source)
        os.unlink(name, dir_fd=parent)
        return False

    def fill(self, source: int, target: int, *, origin: bytes, entry: FileEntry) -> bool:
        """Whether the content that the entry names was copied."""
        size = entry[2]
        if self.clones and size > SMALL_FILE_BYTES and clone(source, target):
            if self.tree.is_known(origin, entry, os.fstat(source)):
                return True
        elif size <= SMALL_FILE_BYTES:
            data = os.read(source, size + 1)
            write_at(target, data, 0)
            return hashlib.sha256(data).hexdigest() == entry[3]
        else:
            copy_range(source, target, source_offset=0, target_offset=0, count=size)
        return hash_file(target) == entry[3]
