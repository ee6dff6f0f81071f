"""The process that lasts: has the tree frozen for its run, sets up, trains, stops, and records the end."""
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import time
import traceback

from . import account as accounts, environment, files
from .detached import detached

TICK = 0.1


def spawn(home, record, part, tree, account, lock):
    """Starts the supervisor in a session of its own, holding no stream of ours. It inherits the tree's lock."""
    descriptor = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    files.write_json(os.path.join(home, "run.json"), record)

    def supervise():
        try:
            Supervisor(home, record, part, tree, account).supervise(lock)
        except BaseException:
            with open(os.path.join(home, "supervisor.log"), "a") as file:
                traceback.print_exc(file=file)

    detached(supervise)
    os.close(descriptor)


class Stopped(Exception):
    pass


class Failed(Exception):
    def __init__(self, code, message, exit_code=None):
        super().__init__(message)
        self.code, self.message, self.exit_code = code, message, exit_code


class Supervisor:
    def __init__(self, home, record, part, tree, account):
        self.home, self.record, self.part, self.tree, self.account = home, record, part, tree, account
        self.work = os.path.join(home, "work")
        self.project = os.path.join(self.work, part["projectRoot"])
        self.deadline = None
        self.shutdown = False

    def save(self, **changes):
        self.record.update(changes)
        files.write_json(os.path.join(self.home, "run.json"), self.record)

    def supervise(self, lock):
        signal.signal(signal.SIGTERM, self.on_shutdown)
        for each in (signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        try:
            # Orphans of the training become our children, so that they can be found and ended (Linux, prctl(2)).
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
        except (OSError, AttributeError):
            pass
        self.save(supervisor=os.getpid())
        try:
            self.freeze(lock)
            self.train()
        except Stopped:
            pass
        except Failed as failure:
            self.save(failure={"code": failure.code, "message": failure.message, "exitCode": failure.exit_code})
        except Exception as error:
            code = "NO_SPACE" if isinstance(error, OSError) and error.errno == errno.ENOSPC else "START_FAILED"
            self.save(failure={"code": code, "message": "%s: %s" % (type(error).__name__, error), "exitCode": None})
            with open(os.path.join(self.home, "supervisor.log"), "a") as file:
                traceback.print_exc(file=file)
        self.end_descendants(1.0)
        self.save(state="ended", endedAt=int(time.time() * 1000), outcome=self.outcome())

    def freeze(self, lock):
        """The tree is the run's own from here on, and is free for others again."""
        from .freeze import FreezeFailed, freeze

        lock.own()
        try:
            freeze(self.tree, self.work, lock.progress)
        except FreezeFailed as failure:
            raise Failed("FREEZE_FAILED", str(failure))
        self.tree.close()
        self.tree = None
        os.close(lock.descriptor)

    def outcome(self):
        record = self.record
        if record["stop"]:
            return {"cancelled": "cancelled", "timeout": "timed-out", "shutdown": "interrupted"}[record["stop"]["reason"]]
        if record["failure"]:
            return "setup-failed" if record["failure"]["code"] in ("SETUP_FAILED", "TOOL_MISSING") else "failed"
        return "succeeded" if record["exitCode"] == 0 and record["signal"] is None else "failed"

    def on_shutdown(self, *_):
        self.shutdown = True

    def train(self):
        part = self.part
        if part["script"] is not None and not os.path.isfile(os.path.join(self.project, part["script"])):
            raise Failed("NO_SCRIPT", "the script %s is not among the synced files" % part["script"])
        output = os.path.join(self.project, part["outputDir"])
        at = self.project
        for each in part["outputDir"].split("/"):
            at = os.path.join(at, each)
            if not os.path.isdir(at):
                os.mkdir(at)
                accounts.own(at, self.account)
        variables = dict(accounts.login_environment(self.account), **part["env"])
        variables.setdefault("PYTHONUNBUFFERED", "1")
        variables.update({
            "NX_EC2_RUN_ID": part["id"], "NX_EC2_PROJECT": part["project"], "NX_EC2_ATTEMPT": "1", "NX_EC2_OUTPUT_DIR": output,
        })
        local = os.environ.get("NX_EC2_LOCAL_INSTANCE")
        if local:
            variables["NX_EC2_LOCAL_INSTANCE"] = local
        if part["timeout"]:
            self.deadline = time.monotonic() + part["timeout"]
        setup = environment.Setup(os.path.dirname(os.path.dirname(self.home)), self.home, part, self.project, self.work, self.account, variables)
        if setup.has_steps():
            self.save(state="setup")
        try:
            command, variables = setup.run(lambda line, told, cwd: self.process(line, told, "setup.log", cwd), self.say, self.pause)
        except environment.ToolMissing as missing:
            raise Failed("TOOL_MISSING", str(missing))
        except environment.SetupFailed as failed:
            raise Failed("SETUP_FAILED", str(failed), failed.code)
        code = self.process(command, variables, "training.log")
        self.save(exitCode=code if code >= 0 else None, signal=name(-code) if code < 0 else None)

    def say(self, text):
        with open(os.path.join(self.home, "setup.log"), "ab", buffering=0) as file:
            file.write((text + "\n").encode("utf-8", "replace"))

    def pause(self, seconds):
        stop = self.wish()
        if stop:
            self.save(stop={"reason": stop[0], "at": int(time.time() * 1000)})
            raise Stopped()
        time.sleep(seconds)

    def process(self, line, variables, log, cwd=None):
        """Runs one command to its end, watching for the wish to stop; its return code, negative for a signal."""
        with open(os.path.join(self.home, log), "ab", buffering=0) as file:
            program = shutil.which(line[0], path=variables.get("PATH")) or line[0]
            try:
                child = subprocess.Popen(
                    line, executable=program, cwd=cwd or self.project, env=variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                    start_new_session=True, preexec_fn=self.in_child,
                )
            except (OSError, subprocess.SubprocessError, ValueError) as error:
                raise Failed("SETUP_FAILED" if cwd else "START_FAILED", "%s can not be run: %s" % (line[0], error))
        if cwd is None:
            self.save(state="running", pid=child.pid, startedAt=int(time.time() * 1000))
        while child.poll() is None:
            stop = self.wish()
            if stop:
                self.save(stop={"reason": stop[0], "at": int(time.time() * 1000)})
                self.end(child, stop[1])
                if cwd is None:
                    self.save(exitCode=child.returncode if child.returncode >= 0 else None, signal=name(-child.returncode) if child.returncode < 0 else None)
                raise Stopped()
            time.sleep(TICK)
        return child.returncode

    def in_child(self):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for each in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(each, signal.SIG_DFL)
        accounts.become(self.account)

    def wish(self):
        """(reason, grace in seconds) where the run is to stop."""
        if self.shutdown:
            return "shutdown", self.part["grace"]
        stop = files.read_json(os.path.join(self.home, "stop.json"))
        if stop:
            return stop["reason"], stop["grace"]
        if self.deadline and time.monotonic() > self.deadline:
            return "timeout", self.part["grace"]
        return None

    def end(self, child, grace):
        deadline = time.monotonic() + grace
        for pid in family(child.pid):
            send(pid, signal.SIGTERM)
        while time.monotonic() < deadline and child.poll() is None:
            time.sleep(TICK)
        for pid in family(child.pid):
            send(pid, signal.SIGKILL)
        child.wait()

    def end_descendants(self, grace):
        """What the training left behind is ended, however it was detached, and reaped."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + grace
            left = descendants()
            for pid in left:
                send(pid, sent)
            while left and time.monotonic() < deadline:
                time.sleep(TICK)
                left = descendants()
            reap()
            if not left:
                return


def descendants():
    reap()
    return [pid for pid in family(os.getpid()) if pid != os.getpid()]


def reap():
    """Takes leave of the ended orphans of the training, which are children of ours."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def family(top):
    """A process and all its descendants."""
    try:
        with subprocess.Popen(["ps", "-A", "-o", "pid=,ppid=,stat="], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as lister:
            listed = lister.stdout.read()
        rows = [line.split() for line in listed.decode("ascii", "replace").splitlines()]
        # The lister is a child of ours too, and gone by now: its number must never be signalled.
        pairs = [(int(row[0]), int(row[1])) for row in rows if len(row) == 3 and not row[2].startswith("Z") and int(row[0]) != lister.pid]
    except (OSError, ValueError):
        pairs = list(proc_pairs())
    found = {top}
    grown = True
    while grown:
        grown = False
        for pid, parent in pairs:
            if parent in found and pid not in found:
                found.add(pid)
                grown = True
    alive = {pid for pid, _ in pairs}
    return [pid for pid in found if pid in alive]


def proc_pairs():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry, "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] != b"Z":
                yield int(entry), int(fields[1])


def send(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        pass


def name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number
