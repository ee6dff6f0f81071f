"""The root directory of nx-ec2 on the instance (`remoteRoot`): one that nobody but root, and the
user that the runtime runs as, can exchange or write to.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat

from . import atomic_files
from .errors import Failure

# As many symbolic links as Linux follows in a path.
MAX_LINKS = 40


def prepare(root: str, runtime: tuple[str, bytes] | None = None) -> str:
    """Creates the directory where it is missing, and keeps the runtime in it, a name and its bytes,
    for the commands that come later; the directory's path without symbolic links. NO_ROOT.

    Each directory of the path is examined before anything in it is opened or created: what it holds
    can't be exchanged afterwards.
    """
    try:
        if is_local(root):
            os.makedirs(root, mode=0o755, exist_ok=True)
            path = os.path.realpath(root)
        else:
            path = _walk(root)
        if runtime:
            kept = os.path.join(path, "runtime", runtime[0])
            atomic_files.write_atomically(kept, runtime[1], mode=0o600, durable=False)
        return path
    except OSError as error:
        raise Failure(
            "NO_ROOT",
            "%s could not be written: %s" % (root, error),
            path=root,
            reason=str(error),
        )


def assert_watched(root: str) -> None:
    """Lets the watchdog of the instance, if it has one, look below the root. NO_ROOT."""
    from . import used_roots

    if root in used_roots.with_used():
        return
    # The boot hook creates the file before the program.
    program, file = os.path.join(used_roots.DIRECTORY, "watchdog.py"), used_roots.path()
    is_older = os.path.exists(program) and not os.path.exists(file)
    if is_older and os.path.exists(os.path.join(root, "watchdog", "config.json")):
        return
    reason = "the watchdog of this instance does not look there"
    if not is_older:
        try:
            return used_roots.record(root)
        except OSError as error:
            # Where nothing can create it, no watchdog works: this is not root.
            if not os.path.exists(file):
                return
            reason = "%s could not be written: %s" % (file, error)
    raise Failure(
        "NO_ROOT",
        "%s can't be used: %s, so it could shut the instance down during a run" % (root, reason),
        path=root,
        reason=reason,
        unwatched=True,
    )


def is_local(root: str) -> bool:
    """Whether local AWS has chosen the directory: it lies in the developer's workspace, and no
    configuration names it.
    """
    local = os.environ.get("NX_EC2_LOCAL_INSTANCE") and os.environ.get("NX_EC2_ROOT")
    return bool(local) and os.path.realpath(root) == os.path.realpath(local or "")


def _walk(root: str) -> str:
    path, links = "/", 0
    status = os.stat(path)
    names = [name for name in reversed(root.split("/")) if name not in ("", ".")]
    while names:
        _assert_unchangeable(path, status, root=root, last=False)
        name = names.pop()
        if name == "..":
            path = os.path.dirname(path)
            status = os.lstat(path)
            continue
        inner = os.path.join(path, name)
        try:
            status = os.lstat(inner)
        except FileNotFoundError:
            os.mkdir(inner, 0o755)
            status = os.lstat(inner)
        if not stat.S_ISLNK(status.st_mode):
            path = inner
            continue
        _assert_owner(inner, status, root=root)
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), root)
        target = os.readlink(inner)
        names += [each for each in reversed(target.split("/")) if each not in ("", ".")]
        if target.startswith("/"):
            path = "/"
        status = os.lstat(path)
    _assert_unchangeable(path, status, root=root, last=True)
    return path


def _assert_unchangeable(path: str, status: os.stat_result, *, root: str, last: bool) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    _assert_owner(path, status, root=root)
    writable = status.st_mode & 0o022
    if writable == 0o020 and _is_private_group(status):
        return
    # In a directory with the sticky bit others can't rename what is not theirs, but can create
    # names: in the root itself, those that the runtime is about to use.
    if writable and (last or not status.st_mode & stat.S_ISVTX):
        raise _unsafe(
            path,
            "users other than its owner %s can write to it (mode %04o)"
            % (_name(status.st_uid), stat.S_IMODE(status.st_mode)),
            status=status,
            root=root,
        )


def _assert_owner(path: str, status: os.stat_result, *, root: str) -> None:
    if status.st_uid not in (0, os.geteuid()):
        reason = "it belongs to the user %s, who can change what is in it" % _name(status.st_uid)
        raise _unsafe(path, reason, status=status, root=root)


def _is_private_group(status: os.stat_result) -> bool:
    """Whether the group of a plain user's directory is this user's alone, as systems with a umask
    of 002 have it.
    """
    import grp

    if os.geteuid() == 0 or status.st_uid != os.geteuid():
        return False
    try:
        group, user = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _unsafe(path: str, reason: str, *, status: os.stat_result, root: str) -> Failure:
    named = path if path == root.rstrip("/") else "%s, on the way to %s" % (path, root)
    return Failure(
        "NO_ROOT",
        '"remoteRoot" is not safe: %s: %s' % (named, reason),
        path=root,
        reason=reason,
        unsafe=path,
        owner=_name(status.st_uid),
    )
