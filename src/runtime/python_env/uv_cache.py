"""uv's cache, kept from one set-up to the next of the same caller. docs/reference/formats.md,
"Environments"; docs/explanation/trust.md, "Users on the instance".

Where the training user is not root, the cache is root's. A set-up gets a copy that is the user's,
in which unpacked packages and compiled modules are hard links to root's files. What the set-up adds
becomes root's when it ends, and the copy takes the cache's place.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile

from ..disk import shared_cache
from ..disk.trash import remove_tree
from ..system import account as accounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable

# Compiled modules, bytecode.py's, lie beside what uv keeps.
BYTECODE = "nx-ec2-bytecode"
# What is read only: uv's directories of unpacked packages, whose names begin so, and compiled
# modules.
READ_ONLY = ("archive-", BYTECODE + os.sep)
# Between two attempts to take a lock.
LOCK_POLL_S = 0.2


def place(root: str, caller: str | None, account: pwd.struct_passwd) -> str:
    """The directory of a caller's cache."""
    words = json.dumps([caller, account.pw_name, account.pw_uid])
    return os.path.join(root, "cache", hashlib.sha256(words.encode()).hexdigest()[:32])


class Cache:
    """In a `with` statement: `path` is what uv gets as its cache. `guarded`: the cache is root's,
    and the set-up gets a copy.
    """

    def __init__(
        self,
        root: str,
        home: str,
        *,
        caller: str | None,
        account: pwd.struct_passwd,
        guarded: bool,
        pause: Callable[[float], object],
    ) -> None:
        self.directory = place(root, caller, account)
        self.home, self.account, self.guarded, self.pause = home, account, guarded, pause
        self.tree = os.path.join(self.directory, "tree")
        # Nothing in it is root's: the account can make hard links to all of it.
        self.is_new = True
        self.path = os.path.join(home, "uv-cache") if guarded else self.tree
        self.bytecode = os.path.join(self.path, BYTECODE)

    def __enter__(self) -> Cache:
        self.lock = self._take_lock()
        try:
            if self.guarded:
                remove_tree(self.path)
                with self._exclusive():
                    self.is_new = not os.path.isdir(self.tree)
                    self._copy()
            else:
                os.makedirs(self.tree, exist_ok=True)
        except BaseException:
            os.close(self.lock)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.guarded:
                self._adopt()
        finally:
            os.close(self.lock)

    def _take_lock(self) -> int:
        """A descriptor: as long as it is open, nothing removes the cache."""
        while True:
            os.makedirs(self.directory, exist_ok=True)
            path = os.path.join(self.directory, "lock")
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:
                continue
            is_taken = shared_cache.take(descriptor, fcntl.LOCK_SH)
            if is_taken and shared_cache.is_the_lock_of(self.directory, descriptor):
                shared_cache.touch(self.directory)
                return descriptor
            os.close(descriptor)
            self.pause(LOCK_POLL_S)

    def _exclusive(self) -> Exclusive:
        return Exclusive(os.path.join(self.directory, "swap"), self.pause)

    def _copy(self) -> None:
        """Makes the set-up's copy where only root can enter, and then puts it in place."""
        with tempfile.TemporaryDirectory(prefix="uv-cache-", dir=self.home) as private:
            made = os.path.join(private, "made")
            os.mkdir(made, 0o700)
            if os.path.isdir(self.tree):
                copy_tree(self.tree, made, self.account)
            accounts.own(made, self.account)
            os.rename(made, self.path)

    def _adopt(self) -> None:
        """Makes what the set-up left root's, and puts it in the cache's place."""
        try:
            # Writable for its owner, root: uv gives a file's mode to its copies, and then writes to
            # some of them.
            accounts.guard(self.path, self.account, 0o200)
            os.chmod(self.path, 0o700)
        except OSError:
            # The account has removed or exchanged it.
            remove_tree(self.path)
            return
        old = self.path + "-old"
        with self._exclusive():
            if os.path.isdir(self.tree):
                os.rename(self.tree, old)
            os.rename(self.path, self.tree)
        remove_tree(old)


class Exclusive:
    """In a `with` statement: a lock that one process has at a time."""

    def __init__(self, path: str, pause: Callable[[float], object]) -> None:
        self.path, self.pause = path, pause

    def __enter__(self) -> None:
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not shared_cache.take(self.descriptor, fcntl.LOCK_EX):
                self.pause(LOCK_POLL_S)
        except BaseException:
            os.close(self.descriptor)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


def copy_tree(source: str, target: str, account: pwd.struct_passwd) -> None:
    """Copies a cache for the account. Files that are read only become hard links; symbolic links
    that lead out of the tree are left out.
    """
    waiting = [""]
    while waiting:
        at = waiting.pop()
        for entry in os.scandir(os.path.join(source, at)):
            path = os.path.join(at, entry.name)
            to = os.path.join(target, path)
            if entry.is_symlink():
                if stays_inside(path, os.readlink(entry.path)):
                    os.symlink(os.readlink(entry.path), to)
            elif entry.is_dir(follow_symlinks=False):
                os.mkdir(to, 0o755)
                accounts.own(to, account)
                waiting.append(path)
            elif path.startswith(READ_ONLY):
                os.link(entry.path, to, follow_symlinks=False)
            elif entry.is_file(follow_symlinks=False):
                shutil.copyfile(entry.path, to)
                os.chmod(to, 0o755 if entry.stat().st_mode & 0o111 else 0o644)
                accounts.own(to, account)


def stays_inside(path: str, target: str) -> bool:
    """Whether a link at a path of a tree leads to a path of the tree, by its text alone."""
    joined = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return not os.path.isabs(target) and joined != ".." and not joined.startswith("../")
