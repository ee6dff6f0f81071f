"""The stage: contents on their way in, beside the tree and on its file system, each a file as it
will stand in the tree.
"""

from __future__ import annotations

import fcntl
import os
import time

from ..system import account as accounts
from ..system.file_hash import BLOCK_BYTES, hash_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    from .tree import Tree

    # The name of a file of the stage, and whether it is executable.
    Target = Tuple[str, bool]


CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FICLONE = 0x40049409
# Up to this many files are flushed to the disk one by one; more, by flushing the file system.
MAX_SINGLE_FLUSHES = 64


class Stage:
    """A name begins with the content's, so that the stage of a killed sync can be made use of."""

    left: dict[str, str]
    written: list[str]

    def __init__(self, tree: Tree, count: int) -> None:
        self.tree, self.count = tree, count
        path = os.path.join(tree.directory, "stage")
        os.makedirs(path, mode=0o700, exist_ok=True)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.left = {}
        for name in os.listdir(self.descriptor):
            if tree.pending is None:
                os.unlink(name, dir_fd=self.descriptor)
            else:
                self.left[name[:64]] = name
        self.token = "%x" % time.time_ns()
        self.written = []
        # Once the tree changes, what is staged may be the only copy.
        self.keep = False
        # Whether files become the training user's by being given to him.
        self.gives = tree.can_share
        self.clones = tree.can_share and can_clone(self.descriptor, "-" + self.token)
        self.masked = self._is_masked()

    def name(self, content: str, number: int) -> str:
        return "%s-%s-%d" % (content, self.token, number)

    def create(self, name: str, executable: bool, size: int) -> int:
        """A descriptor of a new file with its final owner and mode."""
        mode, shared = self._mode_of(executable, size)
        try:
            descriptor = os.open(name, CREATE, mode, dir_fd=self.descriptor)
        except FileExistsError:
            # Begun before, from somewhere that had not all of it.
            os.unlink(name, dir_fd=self.descriptor)
            descriptor = os.open(name, CREATE, mode, dir_fd=self.descriptor)
        self.written.append(name)
        if self.gives and not shared:
            accounts.own(descriptor, self.tree.account)
        if self.masked:
            os.fchmod(descriptor, mode)
        return descriptor

    def _mode_of(self, executable: bool, size: int) -> tuple[int, bool]:
        """(mode, whether the file is to be shared with runs) of a file."""
        if self.tree.should_hardlink(size, self.count, self.clones):
            return 0o555 if executable else 0o444, True
        return 0o755 if executable else 0o644, False

    def receive(self) -> tuple[str, int]:
        """(name, descriptor) of a file of which is not known yet what it will be."""
        name = self.name("incoming", len(self.written))
        return name, os.open(name, CREATE, 0o600, dir_fd=self.descriptor)

    def adopt(self, incoming: str, descriptor: int, target: Target, *, size: int) -> None:
        """Makes what was received one of the contents."""
        name, executable = target
        mode, shared = self._mode_of(executable, size)
        if not shared:
            accounts.own(descriptor, self.tree.account)
        os.fchmod(descriptor, mode)
        os.rename(incoming, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        self.written.append(name)

    def open(self, name: str, access: int = os.O_RDONLY) -> int:
        return os.open(name, access | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)

    def write(self, name: str, executable: bool, data: bytes | memoryview) -> None:
        """A whole content."""
        descriptor = self.create(name, executable, len(data))
        try:
            if os.pwrite(descriptor, data, 0) != len(data):
                write_at(descriptor, data, 0)
        finally:
            os.close(descriptor)

    def copy(self, source: int, name: str, executable: bool, *, size: int) -> None:
        """A whole content, from a descriptor."""
        descriptor = self.create(name, executable, size)
        try:
            if not clone(source, descriptor):
                copy_range(source, descriptor, source_offset=0, target_offset=0, count=size)
        finally:
            os.close(descriptor)

    def link(self, directory: int, name: bytes, content_name: str) -> None:
        """Gives a file that is about to lose its name another one here."""
        os.link(
            name,
            content_name,
            src_dir_fd=directory,
            dst_dir_fd=self.descriptor,
            follow_symlinks=False,
        )

    def stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def hash(self, name: str) -> str:
        descriptor = self.open(name)
        try:
            return hash_file(descriptor)
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Brings to the disk what was written here."""
        if len(self.written) > MAX_SINGLE_FLUSHES and sync_file_system(self.descriptor):
            return
        for name in self.written:
            descriptor = self.open(name)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def close(self, applied: bool) -> None:
        """Removes what is of no more use. What a killed sync left stays until one has changed the
        tree.
        """
        for name in os.listdir(self.descriptor):
            if applied or (self.token in name and not self.keep):
                os.unlink(name, dir_fd=self.descriptor)
        os.close(self.descriptor)
        try:
            os.rmdir(os.path.join(self.tree.directory, "stage"))
        except OSError:
            pass

    def _is_masked(self) -> bool:
        """Whether a file does not get the mode that it is created with: an umask, an access list of
        the directory.
        """
        descriptor = os.open("masked-" + self.token, CREATE, 0o755, dir_fd=self.descriptor)
        try:
            return os.fstat(descriptor).st_mode & 0o7777 != 0o755
        finally:
            os.close(descriptor)


def can_clone(directory: int, suffix: str) -> bool:
    """Whether the file system of a directory clones files; leaves nothing there."""
    names = ("source" + suffix, "target" + suffix)
    opened: list[int] = []
    try:
        for name in names:
            opened.append(os.open(name, CREATE, 0o600, dir_fd=directory))
        os.pwrite(opened[0], b"x" * 4096, 0)
        return clone(opened[0], opened[1])
    finally:
        for descriptor, name in zip(opened, names):
            os.close(descriptor)
            os.unlink(name, dir_fd=directory)


def clone(source: int, target: int) -> bool:
    """Makes the target a clone of the source where the file system can (Linux, ioctl_ficlone(2)),
    and says whether.
    """
    try:
        fcntl.ioctl(target, FICLONE, source)
        return True
    except OSError:
        return False


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


def copy_range(
    source: int, target: int, *, source_offset: int, target_offset: int, count: int
) -> None:
    """Copies bytes between files, in the kernel where it can."""
    while count and hasattr(os, "copy_file_range"):
        try:
            done = os.copy_file_range(source, target, count, source_offset, target_offset)
        except OSError:
            # Not on this kernel, or not between these two. Where it is the disk that is full, the
            # write says so.
            break
        if not done:
            break
        source_offset, target_offset = source_offset + done, target_offset + done
        count -= done
    while count:
        data = os.pread(source, min(count, BLOCK_BYTES), source_offset)
        if not data:
            # It became shorter meanwhile: the content's hash tells.
            return
        write_at(target, data, target_offset)
        source_offset, target_offset = source_offset + len(data), target_offset + len(data)
        count -= len(data)


def sync_file_system(descriptor: int) -> bool:
    """syncfs(2), which Python has not; whether it was there and went well."""
    import ctypes

    try:
        return ctypes.CDLL(None).syncfs(descriptor) == 0
    except (OSError, AttributeError):
        return False
