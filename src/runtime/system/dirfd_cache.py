"""The directories below one root, each opened once, from its parent's descriptor, never through a
symbolic link.
"""

from __future__ import annotations

import errno
import os

from . import account as accounts
from .errors import Failure, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd


OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# How many stay open at once.
MAX_OPEN = 200


class Blocked(Exception):
    """A path can not be reached through directories alone."""

    def __init__(self, path: bytes) -> None:
        super().__init__(path)
        self.path = path


class Directories:
    """A descriptor that was given out may be closed when the next is asked for. `root` can be
    exchanged by nobody but root.
    """

    def __init__(self, root: str, account: pwd.struct_passwd) -> None:
        self.account = account
        self.opened = {b"": os.open(root, OPEN)}

    def get(self, path: bytes) -> int | None:
        """The descriptor of a directory; None where there is none, or where something else is in
        the way.
        """
        found = self.opened.get(path)
        if found is not None:
            return found
        try:
            return self._walk(path, make=False)
        except Blocked:
            return None

    def make(self, path: bytes) -> int:
        """The descriptor of a directory, made where it lacks. PATH_BLOCKED where something else is
        in the way.
        """
        found = self.opened.get(path)
        if found is not None:
            return found
        try:
            return self._walk(path, make=True)
        except Blocked as blocked:
            where = text(blocked.path)
            message = "something that is not a directory is in the way"
            raise Failure("PATH_BLOCKED", message, path=where)

    def of(self, path: bytes) -> tuple[int | None, bytes]:
        """(descriptor of the directory that a path lies in, its last component)"""
        parent, _, name = path.rpartition(b"/")
        return self.get(parent), name

    def lstat(self, path: bytes) -> os.stat_result | None:
        """What lstat says; None where nothing is there that is reached without a symbolic link."""
        parent, name = self.of(path)
        if parent is None:
            return None
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _walk(self, path: bytes, make: bool) -> int:
        at = path
        missing: list[bytes] = []
        while at not in self.opened:
            at, _, name = at.rpartition(b"/")
            missing.append(name)
        parent = self.opened[at]
        for name in reversed(missing):
            if len(self.opened) > MAX_OPEN:
                self._trim(at)
            at = at + b"/" + name if at else name
            try:
                parent = self._open(name, parent, make)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.ENOENT):
                    raise
                raise Blocked(at)
            self.opened[at] = parent
        return parent

    def _open(self, name: bytes, parent: int, make: bool) -> int:
        try:
            return os.open(name, OPEN, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            # Made by another meanwhile, who owns it.
            return os.open(name, OPEN, dir_fd=parent)
        descriptor = os.open(name, OPEN, dir_fd=parent)
        # Whoever owns the parent can put another one there by now: only an empty one of root's is
        # given away.
        if os.fstat(descriptor).st_uid == os.geteuid() and not os.listdir(descriptor):
            accounts.own(descriptor, self.account)
        return descriptor

    def _trim(self, keep: bytes) -> None:
        for path in [path for path in self.opened if path not in (b"", keep)]:
            os.close(self.opened.pop(path))

    def forget(self, path: bytes) -> None:
        """To be called before a directory is removed or moved: it, and what is below it, is opened
        anew.
        """
        for each in [each for each in self.opened if each == path or each.startswith(path + b"/")]:
            os.close(self.opened.pop(each))

    def close(self) -> None:
        for descriptor in self.opened.values():
            os.close(descriptor)
        self.opened = {}
