"""A tree: the snapshot that it holds as it was recorded, and what is really there."""

from __future__ import annotations

import errno
import os
import stat

from ..system import account as accounts
from ..system import atomic_files
from ..system.digest import sha256_hex
from ..system.dirfd_cache import Directories
from ..system.errors import Failure
from ..system.file_hash import hash_file
from . import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Dict, Tuple

    from .snapshot import Entries, Entry, FileEntry

    # Of a file: its size, mtime, inode and ctime.
    StatKey = Tuple[int, int, int, int]
    StatKeys = Dict[bytes, StatKey]


# What a file of ours may look like: others of the mode's bits (setuid, say) are never ours.
MODES = {False: (0o100644, 0o100444), True: (0o100755, 0o100555)}
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# A file that is larger than this, and each file of a snapshot of more than this many entries, is
# shared with runs by hard link.
LARGE_FILE_BYTES = 1024 * 1024
MANY_ENTRIES = 5000


class Tree:
    pending: set[bytes] | None
    head: str | None
    _entries: Entries | None
    _stat_keys: StatKeys | None

    def __init__(self, root: str, name: str, account: pwd.struct_passwd) -> None:
        self.directory = os.path.join(root, "trees", name)
        self.files = os.path.join(self.directory, "files")
        self.account = account
        self.agent = os.geteuid()
        # Whether a file of root's is one that the training user can't change.
        self.can_share = self.agent == 0 and account.pw_uid != 0
        try:
            os.mkdir(self.files, 0o755)
            accounts.own(self.files, account)
        except FileExistsError:
            pass
        self.directories = Directories(self.files, account)
        self.pending = self._read_pending()
        self.data = self._read("snapshot")
        self.head = sha256_hex(self.data) if self.data else None
        self._entries, self._stat_keys = None, None

    @property
    def entries(self) -> Entries:
        """Those of the head."""
        if self._entries is None:
            self.load()
        return self._entries or {}

    @property
    def stat_keys(self) -> StatKeys:
        """Of the files, when they were written."""
        if self._stat_keys is None:
            self._stat_keys = self._read_stat_keys()
        return self._stat_keys

    def load(self) -> None:
        """Reads the entries of the head. A damaged one is none."""
        if self._entries is None:
            try:
                self._entries = snapshot.read_verified(self.data, self.head) if self.head else {}
            except Failure:
                self.data, self.head, self._entries = b"", None, {}

    def _read(self, name: str) -> bytes:
        try:
            with open(os.path.join(self.directory, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _read_pending(self) -> set[bytes] | None:
        """Paths that a killed sync may have brought or removed; None where none was killed."""
        path = os.path.join(self.directory, "pending")
        return set(self._read("pending").split(b"\0")[:-1]) if os.path.exists(path) else None

    def _read_stat_keys(self) -> StatKeys:
        """{path: what lstat said of the file after it was written}; empty if the file
        is not of the head.
        """
        numbers = self.read_stat_numbers()
        if numbers is None or len(numbers) != 4 * len(self.entries):
            return {}
        return dict(
            zip(self.entries, zip(numbers[0::4], numbers[1::4], numbers[2::4], numbers[3::4]))
        )

    def read_stat_numbers(self) -> list[int] | None:
        """The stat keys: four numbers of each entry. None if the file is not of the head."""
        data = self._read("stat-keys")
        line = ("%s\n" % self.head).encode()
        if not data.startswith(line) or (len(data) - len(line)) % 32:
            return None
        return memoryview(data[len(line) :]).cast("Q").tolist()

    def record(self, head: str, data: bytes, *, entries: Entries, stat_keys: StatKeys) -> None:
        """The head is recorded last; a kill in between leaves stat keys of another head, or a
        snapshot that is true.
        """
        import struct

        numbers: list[int] = []
        none = (0, 0, 0, 0)
        for path in entries:
            numbers.extend(stat_keys.get(path, none))
        atomic_files.write_atomically(
            os.path.join(self.directory, "stat-keys"),
            ("%s\n" % head).encode() + struct.pack("%dQ" % len(numbers), *numbers),
            durable=False,
        )
        if head != self.head:
            atomic_files.write_atomically(os.path.join(self.directory, "snapshot"), data)
        self.head, self.data, self._entries, self._stat_keys = head, data, entries, stat_keys

    def settle(self) -> None:
        """The head is recorded: nothing is under way any more."""
        if os.path.exists(os.path.join(self.directory, "pending")):
            os.unlink(os.path.join(self.directory, "pending"))
        self.pending = None

    def should_hardlink(self, size: int, count: int, clones: bool) -> bool:
        """Whether a file of a snapshot of so many entries is written for sharing: root's, and
        read-only.

        `clones`: the file system has a better way for large ones.
        """
        return self.can_share and (count > MANY_ENTRIES or (size > LARGE_FILE_BYTES and not clones))

    def is_shared(self, status: os.stat_result) -> bool:
        return self.can_share and status.st_uid == 0 and not status.st_mode & 0o222

    def stat_key(self, status: os.stat_result) -> StatKey:
        """What tells later, by lstat alone, whether the file is unchanged. The ctime of a shared
        file is left out: each new link changes it, and only root can change the file.
        """
        ctime = 0 if self.is_shared(status) else status.st_ctime_ns
        return status.st_size, max(0, status.st_mtime_ns), status.st_ino, max(0, ctime)

    def is_known(self, path: bytes, entry: FileEntry, status: os.stat_result) -> bool:
        """Whether a file is, by lstat alone, the one that was written for this entry."""
        return (
            status.st_mode in MODES[entry[1]]
            and self.stat_keys.get(path) == self.stat_key(status)
            and self.entries.get(path) == entry
        )

    def has_expected_mode(self, entry: FileEntry, status: os.stat_result) -> bool:
        """Whether mode, owner and links of a file are what they should be."""
        if status.st_mode not in MODES[entry[1]]:
            return False
        if self.is_shared(status):
            return True
        return status.st_nlink == 1 and status.st_uid in (self.agent, self.account.pw_uid)

    def has(self, path: bytes, entry: Entry, status: os.stat_result | None) -> bool:
        """Whether an entry's kind and content are there, whatever its mode and owner; a file is
        read and hashed.
        """
        if status is None:
            return False
        if entry[0] == "directory":
            return stat.S_ISDIR(status.st_mode)
        if entry[0] == "link":
            parent, name = self.directories.of(path)
            return stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=parent) == entry[1]
        return (
            stat.S_ISREG(status.st_mode)
            and status.st_size == entry[2]
            and self.hash(path) == entry[3]
        )

    def hash(self, path: bytes) -> str | None:
        try:
            descriptor = self.open(path)
        except OSError:
            return None
        try:
            return hash_file(descriptor)
        finally:
            os.close(descriptor)

    def open(self, path: bytes) -> int:
        """A descriptor to read a regular file by; OSError where there is none."""
        parent, name = self.directories.of(path)
        if parent is None:
            raise FileNotFoundError(path)
        descriptor = os.open(name, READ, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), path)
        return descriptor

    def close(self) -> None:
        self.directories.close()
