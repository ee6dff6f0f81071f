"""The user that trains, and the environment that its login shell gives."""
import os
import pwd
import stat

from . import inside
from .failure import Failure

LOGIN_USERS = ("ubuntu", "ec2-user", "admin", "debian", "rocky", "almalinux", "centos", "fedora", "core", "bitnami", "cloud-user")
# Where uv, poetry and conda install themselves: their installers put it into files that a login shell may not read.
TOOL_DIRECTORIES = ("~/.local/bin", "~/.cargo/bin", "/opt/conda/bin", "~/miniconda3/bin", "~/miniforge3/bin")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def training_user(wanted):
    """The account that work is done as: the configured one, a login user that is found, or the one we are."""
    own = pwd.getpwuid(os.geteuid())
    if wanted:
        try:
            account = pwd.getpwnam(wanted)
        except KeyError:
            raise Failure("NO_USER", "there is no user %s" % wanted, user=wanted)
        if os.geteuid() != 0 and account.pw_uid != own.pw_uid:
            raise Failure("NO_USER", "the agent runs as %s and can not act as %s" % (own.pw_name, wanted), user=wanted)
        return account
    if os.geteuid() == 0:
        for name in LOGIN_USERS:
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
    return own


def become(account):
    """For a child of ours, after the fork: gives up root for the account."""
    if os.geteuid() == 0 and account.pw_uid != 0:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def enter(account, directory):
    """For a child of ours, after the fork: gives up root, and only then goes to a directory that the account may have exchanged for a link."""
    become(account)
    os.chdir(directory)


def own(path, account):
    """Gives a file (by its path or its descriptor) to the account."""
    if os.geteuid() != 0 or account.pw_uid == 0:
        return
    if isinstance(path, int):
        os.fchown(path, account.pw_uid, account.pw_gid)
    else:
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def guard(directory, account, writable=0):
    """Makes all of the account's that is in a directory root's, for everybody to read; `writable`: more bits of a file's mode. What is another's stays as it is: names of
    other files that the account put there are no reason to show these to everybody."""
    descriptor = inside.open_directory(directory)
    try:
        _guard(descriptor, account, writable)
    finally:
        os.close(descriptor)


def _guard(descriptor, account, writable):
    if os.fstat(descriptor).st_uid != account.pw_uid:
        return
    # First the directory: what is in it can't be exchanged then.
    os.fchown(descriptor, 0, 0)
    os.fchmod(descriptor, 0o755)
    for name in os.listdir(descriptor):
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            inner = inside.open_directory(descriptor, name)
            try:
                _guard(inner, account, writable)
            finally:
                os.close(inner)
        elif status.st_uid == account.pw_uid:
            os.chown(name, 0, 0, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                os.chmod(name, (0o555 if status.st_mode & 0o111 else 0o444) | writable, dir_fd=descriptor)


def act(account, work):
    """What `work()` returns, as JSON has it, done by a process of the account's: for what lies where the account can write."""
    import json

    if os.geteuid() != 0 or account.pw_uid == 0:
        return json.loads(json.dumps(work()))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(account)
            said = {"value": work()}
        except BaseException as error:
            said = {"error": "%s: %s" % (type(error).__name__, error)}
        try:
            with open(writer, "w") as file:
                json.dump(said, file)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as file:
        said = json.loads(file.read() or '{"error": "it was killed"}')
    os.waitpid(child, 0)
    if "error" in said:
        raise OSError("as %s: %s" % (account.pw_name, said["error"]))
    return said["value"]


def login_environment(account):
    """The variables that a login shell of the account would have; a small set where the shell does not answer in time."""
    import subprocess

    base = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name, "SHELL": account.pw_shell or "/bin/sh", "LANG": os.environ.get("LANG", "C.UTF-8")}
    seed = dict(base, PATH=os.environ.get("PATH") or DEFAULT_PATH)
    shell = account.pw_shell if os.access(account.pw_shell or "", os.X_OK) and not account.pw_shell.endswith(("nologin", "false")) else "/bin/sh"
    try:
        printed = subprocess.run(
            [shell, "-l", "-c", "printf NX_EC2_ENV; env -0"],
            env=seed, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=15,
            preexec_fn=lambda: become(account),
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return with_tools(seed, account)
    listed = printed.partition(b"NX_EC2_ENV")[2].split(b"\0")
    found = dict(os.fsdecode(each).split("=", 1) for each in listed if b"=" in each)
    for name in ("PWD", "OLDPWD", "SHLVL", "_"):
        found.pop(name, None)
    return with_tools(dict(seed, **found), account)


def with_tools(variables, account):
    path = variables["PATH"].split(os.pathsep)
    for directory in TOOL_DIRECTORIES:
        directory = directory.replace("~", account.pw_dir)
        if directory not in path and os.path.isdir(directory):
            path.append(directory)
    return dict(variables, PATH=os.pathsep.join(path))
