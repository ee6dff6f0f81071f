"""Opens a file by a path that may lead anywhere, as the user whose path it is."""

from __future__ import annotations

import array
import errno
import os
import signal
import socket
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd


# How long a file system may take to open a file, seconds.
OPEN_TIMEOUT_S = 60.0


def open_as(account: pwd.struct_passwd | None, path: str) -> int:
    """The descriptor of the regular file that a path leads to, also through symbolic links. A
    process of the account's opens it: what the account can't open, raises the OSError that it gets.
    EISDIR: a directory is there; ENXIO: neither a file nor a directory.
    """
    if account is None or os.geteuid() != 0 or account.pw_uid == 0:
        return _open(path)
    # Before the fork: another thread may hold the locks of the user database.
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    ours, its = socket.socketpair()
    with ours, its:
        child = os.fork()
        if child == 0:
            try:
                # By /proc/self/fd it could open what root has open.
                for name in os.listdir("/proc/self/fd"):
                    if int(name) != its.fileno():
                        _close(int(name))
                os.setgroups(groups)
                os.setgid(account.pw_gid)
                os.setuid(account.pw_uid)
                _answer(its, path)
            finally:
                os._exit(0)
        try:
            its.close()
            return _received(ours, path)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _answer(to: socket.socket, path: str) -> None:
    try:
        descriptors = array.array("i", [_open(path)])
    except OSError as error:
        to.send(str(error.errno).encode())
    else:
        to.sendmsg([b"0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])


def _received(ours: socket.socket, path: str) -> int:
    ours.settimeout(OPEN_TIMEOUT_S)
    try:
        data, more, _, _ = ours.recvmsg(16, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    except socket.timeout:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)
    if data != b"0" or not more:
        number = int(data or errno.EIO)
        raise OSError(number, os.strerror(number), path)
    return int(array.array("i", more[0][2])[0])


def _open(path: str) -> int:
    _check(os.stat(path).st_mode, path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # Another may stand there by now.
        _check(os.fstat(descriptor).st_mode, path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check(mode: int, path: str) -> None:
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO
        raise OSError(number, os.strerror(number), path)


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        # The one that has listed them.
        pass
