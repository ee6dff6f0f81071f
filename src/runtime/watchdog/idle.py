"""Tells whether the machine does anything: processors, GPUs, network, and shells that are open."""

from __future__ import annotations

import os

from ..system import processes
from ..system.host_stats import BUSY_PERCENT, HostSampler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


# The instance is quiet if CPU use is below this share of all processors and of one processor: on an
# instance with many, a training may use only one.
QUIET_PERCENT, QUIET_PERCENT_OF_ONE = 10.0, 50.0
# Network traffic, in or out, from which on data is being transferred.
QUIET_BYTES_PER_S = 256 * 1024
# The longest window to average over, and the share of the idle time that it is.
WINDOW_S, WINDOW_SHARE = 60.0, 0.25
# The kernel cuts the names of processes to 15 bytes.
SESSION = "ssm-session-worker"[:15]
# How a session begins that only reads a log for somebody who follows it
# (src/command/runtime-program.ts, standaloneProgram).
FOLLOWER = b"exec(base64.b64decode(sys.argv.pop(1)))"


class Idle:
    """Tells since when the machine does nothing. `local`: the mark of a local instance, whose
    processes are all that counts.
    """

    since: float | None
    why: str | None

    def __init__(
        self,
        root: str,
        idle: float,
        *,
        local: str | None,
        clock: Callable[[], float],
        sampler: HostSampler | None = None,
    ) -> None:
        self.local, self.clock = local, clock
        self.window = min(WINDOW_S, idle * WINDOW_SHARE)
        self.sampler = sampler or HostSampler(root, clock=clock)
        # By the clock: when the window began; since when all of them were quiet; None: the last one
        # was not.
        self.began, self.since = clock(), clock()
        self.used, self.why = self._used(), None
        self.sampler.sample()

    def poll(self) -> float | None:
        """Since when it is quiet, by the clock; None where it is not. Why not is in `why`."""
        now = self.clock()
        shell = open_session(self.local)
        if shell:
            self.since, self.why = None, shell
        if now - self.began < self.window:
            return self.since
        why = shell or self._work(now - self.began)
        if why:
            self.since, self.why = None, why
        elif self.since is None:
            # The whole window was quiet.
            self.since, self.why = self.began, None
        self.began = now
        return self.since

    def _work(self, seconds: float) -> str | None:
        """What kept the machine busy since the last look; None: nothing."""
        found = self.sampler.sample()
        host, gpus = found["host"], found["gpus"]
        cores = host["cores"] or 1
        cpu = host["cpu"]
        if self.local:
            used, before = self._used(), self.used
            self.used = used
            cpu = 100.0 * max(0.0, used - before) / seconds / cores
        busy = [gpu["index"] for gpu in gpus or () if (gpu["utilization"] or 0) >= BUSY_PERCENT]
        if busy:
            return "GPU %s at work" % ", ".join(map(str, busy))
        if cpu is not None and cpu >= min(QUIET_PERCENT, QUIET_PERCENT_OF_ONE / cores):
            return "processors at %.1f %%" % cpu
        if (
            not self.local
            and max(host["networkIn"] or 0, host["networkOut"] or 0) >= QUIET_BYTES_PER_S
        ):
            return "network at work"
        return None

    def _used(self) -> float:
        """CPU seconds of the local instance's processes, and of what they began that has ended."""
        if not self.local:
            return 0.0
        ticks = 0
        for pid in processes.marked(self.local) + [os.getpid()]:
            try:
                with open("/proc/%d/stat" % pid, "rb") as file:
                    ticks += sum(
                        int(each) for each in file.read().rpartition(b")")[2].split()[11:15]
                    )
            except (OSError, ValueError):
                continue
        return ticks / float(os.sysconf("SC_CLK_TCK"))

    def close(self) -> None:
        self.sampler.close()


def open_session(local: str | None) -> str | None:
    """A session of Session Manager's that is open, but for those that only follow a log; None where
    there is none.
    """
    ours = set(processes.marked(local)) if local else None
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if not entry.isdigit() or (ours is not None and int(entry) not in ours):
            continue
        try:
            with open("/proc/%s/comm" % entry) as file:
                name = file.read().strip()
        except (OSError, ValueError):
            continue
        if name == SESSION and not follows(int(entry)):
            return "a session is open"
    return None


def follows(worker: int) -> bool:
    """Whether a session's worker runs nothing but our reader of logs."""
    lines: list[bytes] = []
    for pid in processes.family(worker):
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                lines.append(file.read())
        except OSError:
            continue
    return any(FOLLOWER in line for line in lines)
