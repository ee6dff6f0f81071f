"""The user that trains, and the environment that its login shell gives."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import time

from .errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, TypeVar

    T = TypeVar("T")


# How long a login shell may take, and how long it has to end after SIGTERM, seconds.
LOGIN_TIMEOUT_S = 15
# What it prints is the account's variables.
MAX_LOGIN_BYTES = 4 * 1024 * 1024
LOGIN_GRACE_S = 3
# How long processes that it leaves have to end after SIGTERM, seconds, and the variable by which
# they are found.
LEFT_GRACE_S, LOGIN_MARK = 2, "NX_EC2_LOGIN"
# How long a process that acts as the account may use no processor time, and how often a stop is
# looked for meanwhile, seconds.
ACT_TIMEOUT_S, ACT_POLL_S = 120.0, 0.2
# Of what it returns.
MAX_ACT_BYTES = 256 * 1024 * 1024
# Called while such a process is waited for; what one raises ends the process.
while_waiting: list[Callable[[], object]] = []
LOGIN_USERS = (
    "ubuntu",
    "ec2-user",
    "admin",
    "debian",
    "rocky",
    "almalinux",
    "centos",
    "fedora",
    "core",
    "bitnami",
    "cloud-user",
)
# Where uv, poetry and conda install themselves: their installers put it into files that a login
# shell may not read.
TOOL_DIRECTORIES = (
    "~/.local/bin",
    "~/.cargo/bin",
    "/opt/conda/bin",
    "~/miniconda3/bin",
    "~/miniforge3/bin",
)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def training_user(wanted: str | None) -> pwd.struct_passwd:
    """The account that work is done as: the configured one, a login user that is found, or the one
    we are.
    """
    own = pwd.getpwuid(os.geteuid())
    if wanted:
        try:
            account = pwd.getpwnam(wanted)
        except KeyError:
            raise Failure("NO_USER", f"there is no user {wanted}", user=wanted)
        if os.geteuid() != 0 and account.pw_uid != own.pw_uid:
            raise Failure(
                "NO_USER",
                f"the agent runs as {own.pw_name} and can't act as {wanted}",
                user=wanted,
            )
        return account
    if os.geteuid() == 0:
        for name in LOGIN_USERS:
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
    return own


def become(account: pwd.struct_passwd) -> None:
    """For a child of ours, after the fork: gives up root for the account."""
    if os.geteuid() == 0 and account.pw_uid != 0:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def enter(account: pwd.struct_passwd, directory: str) -> None:
    """For a child of ours, after the fork: gives up root, and only then goes to a directory that
    the account may have exchanged for a link.
    """
    become(account)
    os.chdir(directory)


def own(path: str | bytes | int, account: pwd.struct_passwd) -> None:
    """Gives a file (by its path or its descriptor) to the account."""
    if os.geteuid() != 0 or account.pw_uid == 0:
        return
    if isinstance(path, int):
        os.fchown(path, account.pw_uid, account.pw_gid)
    else:
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def guard(directory: str, account: pwd.struct_passwd, writable: int = 0) -> None:
    """Makes all of the account's that is in a directory root's, for everybody to read; `writable`:
    more bits of a file's mode. What is root's stays as it is: names of other files that the account
    put there are no reason to show these to everybody. Raises OSError where a file would not be
    root's alone: another user has it, or a process has it open for writing.
    """
    from . import safe_walk

    descriptor = safe_walk.open_directory(directory)
    try:
        _guard(descriptor, account, writable)
    finally:
        os.close(descriptor)


def _guard(descriptor: int, account: pwd.struct_passwd, writable: int) -> None:
    if not _is_accounts(os.fstat(descriptor), account):
        return
    from . import safe_walk

    # First the directory: what is in it can't be exchanged then.
    os.fchown(descriptor, 0, 0)
    os.fchmod(descriptor, 0o755)
    for name in os.listdir(descriptor):
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            inner = safe_walk.open_directory(descriptor, name)
            try:
                _guard(inner, account, writable)
            finally:
                os.close(inner)
        elif _is_accounts(status, account):
            os.chown(name, 0, 0, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                os.chmod(
                    name, (0o555 if status.st_mode & 0o111 else 0o444) | writable, dir_fd=descriptor
                )
                _assert_not_written(name, descriptor)


def _is_accounts(status: os.stat_result, account: pwd.struct_passwd) -> bool:
    """False: root's. The account has more user ids (/etc/subuid), as whose it can change files."""
    if status.st_uid not in (0, account.pw_uid):
        raise OSError(errno.EPERM, "user %d has a file of it" % status.st_uid)
    return status.st_uid == account.pw_uid


def _assert_not_written(name: str, directory: int) -> None:
    """The kernel gives a read lease only on a file that nobody has open or mapped for writing:
    neither owner nor mode keeps such a process from changing it.
    """
    import fcntl

    if not hasattr(fcntl, "F_SETLEASE"):
        return
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        # Other errors are those of file systems without leases.
        if error.errno == errno.EAGAIN:
            raise OSError(errno.EBUSY, "a process has a file of it open for writing", name)
    finally:
        os.close(descriptor)


def act(account: pwd.struct_passwd, work: Callable[[], T]) -> T:
    """What `work()` returns, as JSON has it, done by a process of the account's: for what lies
    where the account can write.
    """
    import json
    import signal

    if os.geteuid() != 0 or account.pw_uid == 0:
        return json.loads(json.dumps(work()))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _reset_signals()
            os.close(reader)
            become(account)
            said = {"value": work()}
        except BaseException as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        try:
            with open(writer, "w") as file:
                json.dump(said, file)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        data = _read_all(reader, child)
    finally:
        # Where a stop request or the limit has ended the wait, it may be stopped or hang.
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if data is None:
        raise OSError(
            errno.ETIMEDOUT,
            "a process of the user %s that reads or writes files of this user did nothing for "
            "%d s: a file is a named pipe, or the process was stopped"
            % (account.pw_name, ACT_TIMEOUT_S),
        )
    said = json.loads(data or b'{"error": "it was killed"}')
    if "error" in said:
        raise OSError("as %s: %s" % (account.pw_name, said["error"]))
    return said["value"]


def _reset_signals() -> None:
    import signal

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _read_all(reader: int, child: int) -> bytes | None:
    """What the child writes until it ends; None where it has done nothing for too long. Raises what
    a check of `while_waiting` raises.
    """
    import select

    data, worked, deadline = b"", -1, 0.0
    while True:
        for check in while_waiting:
            check()
        now, before = time.monotonic(), worked
        worked = _processor_ticks(child)
        if worked != before:
            deadline = now + ACT_TIMEOUT_S
        elif now >= deadline:
            return None
        if select.select([reader], [], [], ACT_POLL_S)[0]:
            block = os.read(reader, 1 << 16)
            if not block:
                return data
            data += block
            if len(data) > MAX_ACT_BYTES:
                raise OSError(
                    errno.EFBIG, "a process of the user wrote more than %d bytes" % MAX_ACT_BYTES
                )


def _processor_ticks(pid: int) -> int:
    """The processor time of a process: a large copy takes some all the time, a named pipe none."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):
        return 0


def login_environment(
    account: pwd.struct_passwd, say: Callable[[str], object] | None = None
) -> dict[str, str]:
    """The variables that a login shell of the account would have; a small set where the shell does
    not answer in time, which `say` is told.
    """
    import subprocess

    base = {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": account.pw_shell or "/bin/sh",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }
    seed = dict(base, PATH=os.environ.get("PATH") or DEFAULT_PATH)
    shell = (
        account.pw_shell
        if os.access(account.pw_shell or "", os.X_OK)
        and not account.pw_shell.endswith(("nologin", "false"))
        else "/bin/sh"
    )
    try:
        printed = _run_login_shell(shell, seed, account)
    except subprocess.TimeoutExpired:
        if say is not None:
            say(
                "the login shell of %s did not end within %d s: its variables are not used"
                % (account.pw_name, LOGIN_TIMEOUT_S)
            )
        return with_tools(seed, account)
    except (OSError, subprocess.SubprocessError):
        return with_tools(seed, account)
    if len(printed) == MAX_LOGIN_BYTES and say is not None:
        say(
            "the login shell of %s printed more than %d bytes: not all of its variables are used"
            % (account.pw_name, MAX_LOGIN_BYTES)
        )
    listed = printed.partition(b"NX_EC2_ENV")[2].split(b"\0")
    found = dict(os.fsdecode(each).split("=", 1) for each in listed if b"=" in each)
    for name in ("PWD", "OLDPWD", "SHLVL", "_", LOGIN_MARK):
        found.pop(name, None)
    return with_tools(dict(seed, **found), account)


def _run_login_shell(shell: str, variables: dict[str, str], account: pwd.struct_passwd) -> bytes:
    """What it prints. One that takes too long is ended with all that its profile has started: by
    SIGTERM first, since a program such as `pyenv rehash` removes its lock then. A lock that is left
    makes every later login of the account wait for it.
    """
    import signal
    import subprocess

    from .program_output import read_output

    mark = os.urandom(12).hex()
    process = subprocess.Popen(
        [shell, "-l", "-c", "printf NX_EC2_ENV; env -0"],
        env=dict(variables, **{LOGIN_MARK: mark}),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: become(account),
    )
    with process:
        try:
            return read_output(process, limit=MAX_LOGIN_BYTES, timeout=LOGIN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGTERM)
            try:
                read_output(process, limit=0, timeout=LOGIN_GRACE_S)
            except subprocess.TimeoutExpired:
                pass
            _signal_group(process.pid, signal.SIGKILL)
            raise
        finally:
            _end_marked("%s=%s" % (LOGIN_MARK, mark))


def _end_marked(mark: str) -> None:
    """Ends what the profile has left running, such as an ssh-agent, also in a session of its own:
    otherwise it would count as left by the training's command, and one more would stay for each
    login.
    """
    import signal

    from . import processes

    number, deadline = signal.SIGTERM, time.monotonic() + LEFT_GRACE_S
    end = deadline + LEFT_GRACE_S
    while time.monotonic() < end:
        left = processes.marked(mark)
        if not left:
            return
        if time.monotonic() >= deadline:
            number = signal.SIGKILL
        for pid in left:
            processes.send(pid, number)
        time.sleep(0.02)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def with_tools(variables: dict[str, str], account: pwd.struct_passwd) -> dict[str, str]:
    path = variables["PATH"].split(os.pathsep)
    for directory in TOOL_DIRECTORIES:
        directory = directory.replace("~", account.pw_dir)
        if directory not in path and os.path.isdir(directory):
            path.append(directory)
    # On local AWS, `shutdown` must not be this machine's. A login shell may have set another PATH.
    own = os.environ.get("NX_EC2_LOCAL_INSTANCE") and os.environ.get("NX_EC2_LOCAL_BIN")
    if own:
        path = [own, *(directory for directory in path if directory != own)]
    return dict(variables, PATH=os.pathsep.join(path))
