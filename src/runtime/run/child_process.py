"""One command of a run, from its start to its end: its output in the log, its limits, its stop."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import shutil
import signal
import subprocess
import time

from ..system import account as accounts
from ..system import atomic_files, process_group, processes
from ..system.leader import LAUNCHERS, Leaders
from ..system.leader import program as program_of
from ..system.left_processes import Left
from ..system.memory_use import resident

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Iterable

    from ..run_dir.log_writer import LogFile
    from ..system.cgroup import Cgroup
    from ..system.documents import RunSpecLimits
    from .masking import Mask

NO_LIMITS: RunSpecLimits = {"memory": None, "cores": None}
TICK_S = 0.1
# How long other processes get to end by themselves when the one that they belong to has ended.
ORPHAN_GRACE_S = 1.0
# Between two looks whether the command has become a launcher, at most; at first they are closer.
LAUNCHER_POLL_S = 5.0
# Between two looks at how much memory is used.
MEMORY_POLL_S = 0.5
# How long to wait for a process that holds the output open after all known processes have ended.
DRAIN_TIMEOUT_S = 2.0
READ_BYTES = 1024 * 1024
# How long the system has to report the end of a command that was killed.
KILL_REPORT_TIMEOUT_S = 5.0
# F_SETPIPE_SZ of Linux.
SET_PIPE_SIZE = 1031


class CanNotStart(Exception):
    pass


class Stop:
    """A request to stop a run: its reason, and how long the run has to end after SIGTERM."""

    def __init__(self, reason: str, grace_s: float) -> None:
        self.reason, self.grace_s = reason, grace_s

    @staticmethod
    def read(run_dir: str) -> Stop | None:
        """The request that was written into a run's directory."""
        found = atomic_files.read_json(os.path.join(run_dir, "stop.json"))
        return Stop(found["reason"], found["gracePeriod"]) if found else None


class Child:
    """`requested_stop()` tells whether it is to stop. `exclude_pid`: a child of this process that
    does not belong to it. `group`: the control group that it is started in, or None.

    `cut`: a signal ended one of its processes that did not handle it, or a launcher failed: a file
    may be half written. `left`: the processes that still ran a second after the command had ended
    by itself. `unkilled`: those that SIGKILL did not end.
    """

    def __init__(
        self,
        line: list[str],
        variables: dict[str, str],
        directory: str,
        *,
        account: pwd.struct_passwd,
        log: LogFile,
        mask: Mask | None,
        limits: RunSpecLimits,
        requested_stop: Callable[[], Stop | None],
        exclude_pid: int | None,
        group: Cgroup | None = None,
    ) -> None:
        self.line, self.log, self.mask, self.limits = line, log, mask, limits
        self.requested_stop = requested_stop
        self.stopped: Stop | None = None
        self.is_over_memory = False
        self.cut, self.left, self.unkilled = False, Left(), Left()
        program = shutil.which(line[0], path=variables.get("PATH")) or line[0]
        # None when it is closed.
        self.output: int | None
        self.output, writing = os.pipe()
        try:
            fcntl.fcntl(self.output, SET_PIPE_SIZE, READ_BYTES)
        except OSError:
            pass
        os.set_blocking(self.output, False)
        try:
            self.process = subprocess.Popen(
                line,
                executable=program,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                preexec_fn=lambda: begin(account, directory, limits=limits, group=group),
            )
        except subprocess.SubprocessError:
            os.close(self.output)
            user = account.pw_name
            raise CanNotStart("%s can't be run as the user %s in %s" % (line[0], user, directory))
        except (OSError, ValueError) as error:
            os.close(self.output)
            raise CanNotStart("%s can't be run: %s" % (line[0], error))
        finally:
            os.close(writing)
        self.processes = process_group.Descendants(exclude_pid, self.process.pid, group)

    @property
    def pid(self) -> int:
        return self.process.pid

    def exclude(self, pid: int | None) -> None:
        """Takes another child of this process for the one that does not belong to it."""
        self.processes.but = pid

    def wait(self) -> int:
        """Waits for its end, and ends what it began and left. Returns its exit code, negative for a
        signal.
        """
        is_launcher = self._watch()
        code = self._code()
        if not self.stopped and not self.is_over_memory:
            self._look_for_missed_shutdown(code, is_launcher)
        if not self.stopped and not self.is_over_memory:
            self._wait_until(lambda: not self.members(), time.monotonic() + ORPHAN_GRACE_S)
            self.left = Left(self.members(), self.mask)
            self.cut = bool(self.left) or was_cut_off(code, is_launcher)
        self.unkilled = Left(self.processes.end(1.0, self.pump), self.mask)
        self.drain()
        return code

    def _watch(self) -> bool:
        """Returns when the command has ended or was ended: whether it was a launcher."""
        weighed = looked = time.monotonic()
        # A command that ends before the first look may be one as well.
        is_launcher = program_of(self.line) in LAUNCHERS
        interval_s = min(TICK_S, LAUNCHER_POLL_S)
        while self.process.poll() is None:
            self.pump(TICK_S)
            stop = self.requested_stop()
            if stop:
                self.stop(stop)
                break
            now = time.monotonic()
            if self.limits["memory"] and now - weighed > MEMORY_POLL_S:
                weighed = now
                if self._kill_over_memory(self.limits["memory"]):
                    break
            self.processes.reap()
            if not is_launcher and now - looked >= interval_s:
                is_launcher = Leaders(self.pid).launcher
                looked, interval_s = now, min(interval_s * 2, LAUNCHER_POLL_S)
        return is_launcher

    def _look_for_missed_shutdown(self, code: int, is_launcher: bool) -> None:
        """When the instance shuts down, all its processes get SIGTERM at once: the command can end
        before the supervisor has seen its own.
        """
        stop = self.requested_stop()
        if stop and stop.reason == "shutdown":
            self.stopped, self.cut = stop, was_cut_off(code, is_launcher)

    def stop(self, stop: Stop) -> None:
        """Sends SIGTERM to the leaders, then to the processes that they leave, and SIGKILL to all
        when the grace period is over.
        """
        self.stopped = stop
        deadline = time.monotonic() + stop.grace_s
        leaders = Leaders(self.pid)
        self.cut = not leaders.handled
        self._signal(leaders.pids)
        # A process that a debugger or a shell has stopped handles the signal when it continues.
        for pid in self.members():
            processes.send(pid, signal.SIGCONT)
        self._wait_until(lambda: not set(leaders.pids) & set(self.members()), deadline)
        self._wait_until(
            lambda: not self.members(), min(deadline, time.monotonic() + ORPHAN_GRACE_S)
        )
        signaled: set[int] = set()

        def have_ended() -> bool:
            members = self.members()
            # Parents first: a shell whose child ends before it would begin its next step.
            self._signal([pid for pid in members if pid not in signaled])
            signaled.update(members)
            return not members

        if not self._wait_until(have_ended, deadline):
            self.cut = True
        self.kill()

    def members(self) -> list[int]:
        """The processes of the command that are alive, also those whose parent is now this one."""
        self.process.poll()
        self.processes.reap()
        return self.processes.pids()

    def kill(self) -> None:
        self.processes.kill(self.pump)

    def _code(self) -> int:
        """Its exit code; that of SIGKILL where the system does not report its end."""
        try:
            return self.process.wait(KILL_REPORT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Another process traces it: the system reports the end to that one alone.
            return -signal.SIGKILL

    def _signal(self, pids: Iterable[int]) -> None:
        for pid in pids:
            processes.send(pid, signal.SIGTERM)

    def _wait_until(self, holds: Callable[[], object], deadline: float) -> bool:
        """Whether `holds()` became true before the deadline."""
        while not holds():
            if time.monotonic() >= deadline:
                return False
            self.pump(TICK_S)
        return True

    def _kill_over_memory(self, limit: int) -> bool:
        """Kills it if it uses more memory than its limit, and returns whether it did."""
        if resident(self.processes.pids()) <= limit:
            return False
        self.is_over_memory = self.cut = True
        self.kill()
        return True

    def pump(self, timeout_s: float = 0.0) -> bool:
        """Writes what was printed to the log, and waits this long for it; False at its end."""
        if self.output is None:
            if timeout_s:
                time.sleep(timeout_s)
            return False
        if self.log.backlog:
            self.log.flush()
        ready, _, _ = select.select([self.output], [], [], timeout_s)
        if not ready:
            return True
        try:
            data = os.read(self.output, READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            self._close()
            return False
        self.log.write(self.mask.feed(data) if self.mask else data)
        return True

    def drain(self) -> None:
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while self.pump(TICK_S) and time.monotonic() < deadline:
            pass
        if self.output is not None:
            self._close()

    def _close(self) -> None:
        if self.output is not None:
            os.close(self.output)
        self.output = None
        if self.mask:
            self.log.write(self.mask.flush())


def was_cut_off(code: int, is_launcher: bool) -> bool:
    """Whether a signal ended the command, or something below it: a shell reports that as 128 plus
    the signal's number.
    """
    return code < 0 or 128 < code < 160 or (is_launcher and code != 0)


def begin(
    account: pwd.struct_passwd, directory: str, *, limits: RunSpecLimits, group: Cgroup | None
) -> None:
    """Prepares the child, before it becomes the command."""
    if group:
        group.enter()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    if limits["cores"] and hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, usable[: int(limits["cores"])])
    allow_open_files()
    allow_locked_memory()
    accounts.enter(account, directory)


def allow_open_files() -> None:
    """Raises the limit of open files to the hard one: the agent's soft limit of 1,024 is too low
    for data loaders.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # macOS takes no more than OPEN_MAX.
        most = 10240 if hard == resource.RLIM_INFINITY else min(10240, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def allow_locked_memory() -> None:
    """Lifts the limit of locked memory, or raises it to the hard one where that is not allowed: EFA
    and NCCL lock the memory that they exchange, and the agent's limit is a few MiB.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    for limit in (resource.RLIM_INFINITY, hard):
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            return
        except (OSError, ValueError):
            pass
