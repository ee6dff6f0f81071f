"""One command of a run, from its start to its end: its output into the log, its limits, its stop."""
import fcntl
import os
import resource
import select
import shutil
import signal
import subprocess
import time

from ..system import account as accounts
from ..system import process_group, processes
from ..system.leader import LAUNCHERS, Leaders, program
from ..system.left_processes import Left

TICK = 0.1
# Seconds that other processes get to end by themselves when the one that they belong to has ended.
FOLLOW = 1.0
# Seconds between two looks whether the command has become a launcher, at most; at first they are closer.
LAUNCHER_POLL = 5.0
# Between two looks at how much memory is used, seconds.
WEIGH = 0.5
# What holds the output open after all processes that are known have ended is not waited for longer, seconds.
DRAIN = 2.0
READ = 1024 * 1024
# Seconds that a command which was killed has until the system tells of its end.
AWAITED = 5.0
# F_SETPIPE_SZ of Linux.
SET_PIPE_SIZE = 1031


class CanNotStart(Exception):
    pass


class Child:
    """`requested_stop()` tells whether it is to stop: None, or (reason, grace in seconds). `but`: a child of ours that is none of its.

    `cut`: a signal ended one of its processes that did not handle it, or a launcher failed: a file may be half written.
    `left`: the processes that still ran a second after the command had ended by itself. `unkilled`: those that SIGKILL did not end.
    `group`: the control group that it is started in, or None."""

    def __init__(self, line, variables, directory, account, log, mask, limits, requested_stop, but, group=None):
        self.line, self.log, self.mask, self.limits, self.requested_stop, self.but = line, log, mask, limits, requested_stop, but
        self.stopped, self.over = None, False
        self.cut, self.left, self.unkilled = False, Left(), Left()
        self.program = shutil.which(line[0], path=variables.get("PATH")) or line[0]
        self.output, writing = os.pipe()
        try:
            fcntl.fcntl(self.output, SET_PIPE_SIZE, READ)
        except OSError:
            pass
        os.set_blocking(self.output, False)
        try:
            self.process = subprocess.Popen(
                line, executable=self.program, env=variables, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
                start_new_session=True, preexec_fn=lambda: begin(account, directory, limits, group),
            )
        except subprocess.SubprocessError:
            os.close(self.output)
            raise CanNotStart("%s can't be run as the user %s in %s" % (line[0], account.pw_name, directory))
        except (OSError, ValueError) as error:
            os.close(self.output)
            raise CanNotStart("%s can't be run: %s" % (line[0], error))
        finally:
            os.close(writing)
        self.processes = process_group.Descendants(but, self.process.pid, group)

    @property
    def pid(self):
        return self.process.pid

    def wait(self):
        """Its return code, negative for a signal. What it began and left is ended too."""
        weighed = looked = time.monotonic()
        # A command that ends before the first look may be one as well.
        launcher, every = program(self.line) in LAUNCHERS, min(TICK, LAUNCHER_POLL)
        while self.process.poll() is None:
            self.pump(TICK)
            stop = self.requested_stop()
            if stop:
                self.stop(stop)
                break
            now = time.monotonic()
            if self.limits["memory"] and now - weighed > WEIGH:
                weighed = now
                if self._is_over():
                    break
            self.processes.reap()
            if not launcher and now - looked >= every:
                looked, every, launcher = now, min(every * 2, LAUNCHER_POLL), Leaders(self.pid).launcher
        code = self._code()
        if not self.stopped and not self.over:
            self._look_for_missed_shutdown(code, launcher)
        if not self.stopped and not self.over:
            self._wait_until(lambda: not self.members(), time.monotonic() + FOLLOW)
            self.left = Left(self.members(), self.mask)
            self.cut = bool(self.left) or was_cut_off(code, launcher)
        self.unkilled = Left(self.processes.end(1.0, self.pump), self.mask)
        self.drain()
        return code

    def _look_for_missed_shutdown(self, code, launcher):
        """When the instance shuts down, all its processes get SIGTERM at once: the command can end before the
        supervisor has seen its own."""
        stop = self.requested_stop()
        if stop and stop[0] == "shutdown":
            self.stopped, self.cut = stop, was_cut_off(code, launcher)

    def stop(self, stop):
        """SIGTERM for the leaders; for what is left when they have ended; SIGKILL when the grace is over."""
        self.stopped = stop
        deadline = time.monotonic() + stop[1]
        leaders = Leaders(self.pid)
        self.cut = not leaders.handled
        self._signal(leaders.pids)
        # Whoever is stopped, by a debugger or a shell, takes the signal when it goes on.
        for pid in self.members():
            processes.send(pid, signal.SIGCONT)
        self._wait_until(lambda: not set(leaders.pids) & set(self.members()), deadline)
        self._wait_until(lambda: not self.members(), min(deadline, time.monotonic() + FOLLOW))
        told = set()

        def ended():
            members = self.members()
            # Parents first: a shell whose child ends before it would begin its next step.
            self._signal([pid for pid in members if pid not in told])
            told.update(members)
            return not members

        if not self._wait_until(ended, deadline):
            self.cut = True
        self.kill()

    def members(self):
        """The processes of the command that live, also those that it has left to us."""
        self.process.poll()
        self.processes.reap()
        return self.processes.pids()

    def kill(self):
        self.processes.kill(self.pump)

    def _code(self):
        """Its return code; that of SIGKILL where the system does not tell of its end."""
        try:
            return self.process.wait(AWAITED)
        except subprocess.TimeoutExpired:
            # A process of another run, or of none, traces it: only that one is told.
            return -signal.SIGKILL

    def _signal(self, pids):
        for pid in pids:
            processes.send(pid, signal.SIGTERM)

    def _wait_until(self, holds, deadline):
        """Whether `holds()` became true before the deadline."""
        while not holds():
            if time.monotonic() >= deadline:
                return False
            self.pump(TICK)
        return True

    def _is_over(self):
        used = processes.resident(self.processes.pids())
        if used <= self.limits["memory"]:
            return False
        self.over = self.cut = True
        self.kill()
        return True

    def pump(self, timeout=0.0):
        """Takes what was printed into the log, waiting so long for it; False at its end."""
        if self.output is None:
            if timeout:
                time.sleep(timeout)
            return False
        if self.log.backlog:
            self.log.flush()
        ready, _, _ = select.select([self.output], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self.output, READ)
        except BlockingIOError:
            return True
        if not data:
            self._close()
            return False
        self.log.write(self.mask.feed(data) if self.mask else data)
        return True

    def drain(self):
        deadline = time.monotonic() + DRAIN
        while self.pump(TICK) and time.monotonic() < deadline:
            pass
        if self.output is not None:
            self._close()

    def _close(self):
        os.close(self.output)
        self.output = None
        if self.mask:
            self.log.write(self.mask.flush())


def was_cut_off(code, launcher):
    """Whether a signal ended the command, or something below it: of that, a shell tells by 128 and the signal's
    number."""
    return code < 0 or 128 < code < 160 or (launcher and code != 0)


def begin(account, directory, limits, group):
    """In the child, before it becomes what it is to be."""
    if group:
        group.enter()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    if limits["cores"] and hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, usable[: limits["cores"]])
    allow_open_files()
    accounts.enter(account, directory)


def allow_open_files():
    """Raises the limit of open files to the hard one: the agent's soft limit of 1,024 is too low for data loaders."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # macOS takes no more than OPEN_MAX.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(10240, hard)) if hard != resource.RLIM_INFINITY else max(soft, 10240), hard))
