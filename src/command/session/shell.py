"""A shell where a run has its files and its environment, or else in the project's directory of the tree; tells at the end
how it ended. In the shell's place, it runs a server (request["serve"]) that listens on a port of 127.0.0.1."""
import base64
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import termios
import time

BOOT = "import base64,sys,zlib;exec(zlib.decompress(base64.b64decode(sys.argv[1])))"
RUN_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]{1,40}-[a-z2-7]{6}")
NONCE = "NX_EC2_SHELL_NONCE"
NOT_FOUND = 127
request = json.loads(base64.b64decode(sys.argv[2]))
root = request["root"] or sys.argv[3] or "/var/lib/nx-ec2"


def find_nonce():
    """Everybody on the instance can read the arguments of a process, and only its user and root its environment. sudo
    passes no variable on, but has it itself."""
    own, pid = os.environ.pop(NONCE, None), os.getpid()
    while own is None and pid > 1:
        try:
            with open("/proc/%d/stat" % pid, "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
            with open("/proc/%d/environ" % pid, "rb") as file:
                pairs = dict(each.partition(b"=")[::2] for each in file.read().split(b"\0"))
        except OSError:
            break
        own = os.fsdecode(pairs[os.fsencode(NONCE)]) if os.fsencode(NONCE) in pairs else None
    return own


nonce = find_nonce() or ""


def say(**word):
    text = base64.b64encode(json.dumps(word).encode()).decode()
    sys.stdout.write("\033_nx-ec2 %s %s\033\\" % (nonce, text))
    sys.stdout.flush()


def finish(**how):
    say(**how)
    sys.exit(0)


def fail(code, message):
    finish(error={"code": code, "message": message})


def read(*path):
    try:
        with open(os.path.join(root, *path), encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def become_root():
    """What is below the root belongs to whoever the agent runs commands as, which a session does not run as."""
    try:
        owner = os.stat(root).st_uid
    except FileNotFoundError:
        fail("NOTHING_SYNCED", "no project was synced to this instance: %s does not exist" % root)
    except PermissionError:
        owner = 0
    if os.geteuid() in (0, owner):
        return
    try:
        allowed = subprocess.run(["sudo", "-n", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = allowed.stderr.decode("utf-8", "replace").strip() if allowed.returncode else None
    except OSError as error:
        said = str(error)
    if said is not None:
        fail("NO_SUDO", "%s must become the training user, and may not by sudo: %s" % (pwd.getpwuid(os.geteuid()).pw_name, said))
    os.environ[NONCE] = nonce
    os.execvp("sudo", ["sudo", "-n", sys.executable, "-I", "-S", "-B", "-c", BOOT] + sys.argv[1:])


def runs():
    """The runs that may be meant, newest first."""
    if request["run"] is not None:
        return [request["run"]] if RUN_ID.fullmatch(request["run"]) and read("runs", request["run"], "run.json") else fail("NO_RUN", "there is no run %s on this instance" % request["run"])
    try:
        names = sorted(filter(RUN_ID.fullmatch, os.listdir(os.path.join(root, "runs"))), reverse=True)
    except FileNotFoundError:
        return []
    records = ((name, read("runs", name, "run.json") or {}) for name in names)
    return [name for name, record in records if record.get("tree") == request["tree"] and record.get("project") == request["project"]]


def place():
    """(directory, variables, account, what it is)"""
    for run in runs():
        environment = read("runs", run, "environment.json")
        if environment and os.path.isdir(environment["directory"]):
            hidden = environment.get("withheld")
            what = "run %s%s" % (run, ", without its secrets (%s)" % ", ".join(hidden) if hidden else "")
            return environment["directory"], environment["variables"], account(environment["user"]), what
        work = os.path.join(root, "runs", run, "work", request["projectRoot"])
        if os.path.isdir(work) and request.get("serve"):
            fail("NO_ENVIRONMENT", "run %s has no environment: it is being prepared, or that failed" % run)
        if os.path.isdir(work):
            return work, {}, account(read("runs", run, "run.json")["user"]), "run %s, without its environment" % run
        if request["run"] is not None:
            fail("NO_DIRECTORY", "the files of run %s were removed from this instance" % run)
    files = os.path.join(root, "trees", request["tree"], "files")
    directory = os.path.join(files, request["projectRoot"])
    if not os.path.isdir(directory):
        fail("NOTHING_SYNCED", "%s was never synced to this instance: there is no %s" % (request["project"], directory))
    return directory, {}, request["user"] and account(request["user"]) or pwd.getpwuid(os.stat(files).st_uid), "the synced files"


def account(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        fail("NO_USER", "there is no user %s" % name)


def become(directory, variables, user, shell):
    """Makes this process the user's, in the directory. @returns its environment."""
    if os.geteuid() == 0 and user.pw_uid != 0:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    os.chdir(directory)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
    environment = dict(kept, HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name, SHELL=shell)
    environment.update(variables)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_DFL)
    return environment


def shell_of(user):
    usable = os.access(user.pw_shell or "", os.X_OK) and not user.pw_shell.endswith(("nologin", "false"))
    return user.pw_shell if usable else "/bin/sh"


def run_shell(directory, variables, user):
    shell = shell_of(user)
    environment = become(directory, variables, user, shell)
    os.execve(shell, [os.path.basename(shell)], environment)


def run_server(directory, variables, user, port, token):
    environment = become(directory, variables, user, shell_of(user))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        import ctypes
        # It ends with this program (PR_SET_PDEATHSIG), however that ends.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    except (ImportError, OSError, AttributeError):
        pass
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    serve = request["serve"]
    if token:
        environment[serve["tokenVariable"]] = token
    for program in serve["programs"]:
        argv = [each.replace("{port}", str(port)) for each in program] + (serve["asRoot"] if os.geteuid() == 0 else [])
        try:
            os.execvpe(argv[0], argv, environment)
        except FileNotFoundError:
            pass
    os._exit(NOT_FOUND)


def read_token():
    """The first line of the terminal, which does not show it."""
    settings = termios.tcgetattr(0)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSANOW, settings)
    say(ready=True)
    return sys.stdin.readline(200).strip()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port, user):
    """Whether a process of the user listens on the port: before the server did, anybody could."""
    try:
        with open("/proc/net/tcp") as file:
            sockets = [line.split() for line in file]
    except FileNotFoundError:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    address = "%08X:%04X" % (int.from_bytes(socket.inet_aton("127.0.0.1"), sys.byteorder), port)
    return any(each[1] == address and each[3] == "0A" and each[7] == str(user.pw_uid) for each in sockets)


def serve(directory, variables, user, what):
    token = read_token() if request["serve"]["tokenVariable"] else None
    port = free_port()
    pid = os.fork()
    if pid == 0:
        try:
            run_server(directory, variables, user, port, token)
        except Exception as error:
            sys.stdout.write("the server could not be started: %s\r\n" % error)
            sys.stdout.flush()
        os._exit(126)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: end(pid))
    told = False
    while True:
        ended, status = os.waitpid(pid, 0 if told else os.WNOHANG)
        if ended:
            break
        if listens(port, user):
            say(listening=port)
            told = True
        else:
            time.sleep(0.05)
    if not told and os.WIFEXITED(status) and os.WEXITSTATUS(status) == NOT_FOUND:
        names = " or ".join(program[0] for program in request["serve"]["programs"])
        fail("PROGRAM_MISSING", "there is no %s among the programs of %s" % (names, what))
    return status


def end(pid):
    """The session is over: so is the server, after 5 s by force."""
    for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 1)):
        try:
            os.kill(pid, number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    os._exit(0)
                time.sleep(0.05)
        except OSError:
            break
    os._exit(0)


def check_root():
    """Root believes what is written there: nobody else may be able to exchange it."""
    global root
    root = path = os.path.realpath(root)
    if os.geteuid() != 0 or os.environ.get("NX_EC2_LOCAL_INSTANCE") and path == os.path.realpath(sys.argv[3]):
        return
    while True:
        status = os.stat(path)
        if status.st_uid != 0 or status.st_mode & 0o022 and (path == root or not status.st_mode & 0o1000):
            fail("NO_ROOT", "\"remoteRoot\" is not safe: users other than root can change %s" % path)
        if path == "/":
            return
        path = os.path.dirname(path)


become_root()
check_root()
directory, variables, user, what = place()
sys.stdout.write("%s: %s, as %s\r\n" % (what, directory, user.pw_name))
sys.stdout.flush()
# They are for the shell and what runs in it.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU):
    signal.signal(number, signal.SIG_IGN)


def shell():
    pid = os.fork()
    if pid == 0:
        try:
            run_shell(directory, variables, user)
        except Exception as error:
            sys.stdout.write("the shell could not be started: %s\r\n" % error)
            sys.stdout.flush()
        os._exit(126)
    return os.waitpid(pid, 0)[1]


status = serve(directory, variables, user, what) if request.get("serve") else shell()
finish(exit=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
