"""What is below a directory that others write to: reached from its descriptor, never through a
symbolic link.

`base` is the path of a directory that nobody but root can exchange, or the descriptor of a
directory, which stays open. With an `account`, root reads nothing for it that it could not read
itself.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Iterable, Iterator

    Skip = Callable[[str, str, os.stat_result], bool]


DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A named pipe that somebody put there must not hold us up.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
# Errors of a mounted file system whose server has ended, or that root may not enter, and of a
# damaged disk.
OUT_OF_REACH = (
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENODEV,
    errno.ENOTCONN,
    errno.ESTALE,
    errno.ECONNABORTED,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
)
# The stat result of what can not be looked at; its mode is that of no file.
UNREACHABLE = os.stat_result([0] * 10, {"st_mtime_ns": 0, "st_ctime_ns": 0})
# Why something can't be kept.
LINK, SPECIAL, NOT_UTF8 = "a symbolic link", "a special file", "its name is not UTF-8"
# Directories in each other that are entered.
MAX_DEPTH = 200


def open_file(base: str | int, path: str, account: pwd.struct_passwd | None = None) -> int:
    """The descriptor of a regular file by its path below a directory.

    OSError: of GONE where none can be reached so, EACCES where the account may not read it."""
    parent, _, name = path.rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    directory = open_directory(base, parent)
    try:
        descriptor = os.open(name, FILE, dir_fd=directory)
    finally:
        os.close(directory)
    found = os.fstat(descriptor)
    fault = (
        errno.ENXIO
        if not stat.S_ISREG(found.st_mode)
        else errno.EACCES
        if not may_read(found, account)
        else None
    )
    if fault:
        os.close(descriptor)
        raise OSError(fault, os.strerror(fault), path)
    return descriptor


def open_directory(base: str | int, path: str = "") -> int:
    """The descriptor of a directory; OSError of GONE where it can't be reached so. `..` leads
    nowhere.
    """
    descriptor = (
        os.open(".", DIRECTORY, dir_fd=base) if isinstance(base, int) else os.open(base, DIRECTORY)
    )
    for name in path.split("/"):
        if name in ("", "."):
            continue
        try:
            if name == "..":
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            inner = os.open(name, DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def lstat(base: str | int, path: str) -> os.stat_result:
    """What `os.lstat` says of a path below a directory; OSError of GONE where it can't be reached
    so.
    """
    parent, _, name = path.rpartition("/")
    directory = open_directory(base, parent)
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    finally:
        os.close(directory)


def readlink(base: str | int, path: str) -> str:
    """Where a symbolic link below a directory leads to; OSError where there is none."""
    parent, _, name = path.rpartition("/")
    directory = open_directory(base, parent)
    try:
        return os.readlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def walk(
    base: str | int,
    path: str = "",
    *,
    account: pwd.struct_passwd | None = None,
    skip: Skip | None = None,
) -> Iterator[tuple[str, os.stat_result]]:
    """(path, lstat) of all below a directory, by name, a directory before what is in it. What goes
    meanwhile is left out.

    So is what is in a directory that the account may not read, or that is nested too deep: the
    directory itself is not, and `what_else` tells of it. What can not be looked at has the stat
    result UNREACHABLE; a directory that can not be entered is there once more with it. `skip(path,
    name, lstat)` tells of a directory whether it is left out with all that is in it.
    """
    try:
        descriptor = open_directory(base, path)
    except OSError as error:
        if error.errno in GONE:
            return
        raise
    try:
        yield from _below(descriptor, os.listdir(descriptor), path, account=account, skip=skip)
    finally:
        os.close(descriptor)


def _below(
    descriptor: int,
    names: Iterable[str],
    path: str,
    *,
    account: pwd.struct_passwd | None,
    skip: Skip | None,
) -> Iterator[tuple[str, os.stat_result]]:
    for name in sorted(names):
        inner = path + "/" + name if path else name
        try:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except OSError as error:
            if _is_out_of_reach(error):
                yield inner, UNREACHABLE
            continue
        if skip and stat.S_ISDIR(found.st_mode) and skip(inner, name, found):
            continue
        yield inner, found
        if not stat.S_ISDIR(found.st_mode) or not may_read(found, account) or is_too_deep(inner):
            continue
        try:
            below = os.open(name, DIRECTORY, dir_fd=descriptor)
        except OSError as error:
            if _is_out_of_reach(error):
                yield inner, UNREACHABLE
            continue
        try:
            # Another may stand there by now.
            there = os.listdir(below) if may_read(os.fstat(below), account) else ()
            yield from _below(below, there, inner, account=account, skip=skip)
        except OSError as error:
            if _is_out_of_reach(error):
                yield inner, UNREACHABLE
        finally:
            os.close(below)


def _is_out_of_reach(error: OSError) -> bool:
    """Whether nothing can be told of what is there; False where it is gone. Raises every other
    error.
    """
    if error.errno not in OUT_OF_REACH + GONE:
        raise error
    return error.errno in OUT_OF_REACH


def is_too_deep(path: str) -> bool:
    return path.count("/") >= MAX_DEPTH


def may_read(found: os.stat_result, account: pwd.struct_passwd | None) -> bool:
    """Whether the account can read the file, or list the directory, that a stat result tells of."""
    wanted = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    if account is None or account.pw_uid == 0:
        return True
    if found.st_uid == account.pw_uid:
        # Its own is its own, whatever the mode: root can open it.
        return os.geteuid() == 0 or found.st_mode >> 6 & wanted == wanted
    shift = 3 if found.st_gid in _groups(account.pw_name, account.pw_gid) else 0
    return found.st_mode >> shift & wanted == wanted


_known_groups: dict[tuple[str, int], frozenset[int]] = {}


def _groups(name: str, group: int) -> frozenset[int]:
    found = _known_groups.get((name, group))
    if found is None:
        found = _known_groups[name, group] = frozenset(os.getgrouplist(name, group))
    return found


def what_else(
    path: str, found: os.stat_result, account: pwd.struct_passwd | None = None
) -> str | None:
    """Why something can not be kept under its name; None where it can. A directory can, if it can
    be listed.
    """
    if stat.S_ISLNK(found.st_mode):
        return LINK
    if found.st_mode == UNREACHABLE.st_mode:
        return "it can't be reached"
    if stat.S_ISDIR(found.st_mode) and is_too_deep(path):
        return "directories are nested too deep in it"
    if not stat.S_ISDIR(found.st_mode):
        if not stat.S_ISREG(found.st_mode):
            return SPECIAL
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            return NOT_UTF8
    if account is None or may_read(found, account):
        return None
    return f"the user {account.pw_name} can't read it"


def shown(path: str) -> str:
    """A path as a text that is UTF-8."""
    return path.encode("utf-8", "replace").decode()
