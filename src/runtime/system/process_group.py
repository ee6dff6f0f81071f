"""Ends processes together: all that descends from one, or that bears a mark, and what it forks
meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

from . import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Collection

    from .cgroup import Cgroup


TICK_S = 0.05
# How long processes that can't be killed at once are tried again, and how long of that `chase` runs
# at a time.
KILL_TIMEOUT_S, CHASE_S = 10.0, 0.2
# A chase ends after this many looks that find no process.
QUIET_LOOKS = 20
# PR_SET_CHILD_SUBREAPER of Linux.
SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Has the orphans of what we start become our children, so that they can be found and ended
    (Linux, prctl(2)).
    """
    try:
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        pass


def children() -> list[int]:
    """Our children, also those that have ended. One that is forked at this moment may lack."""
    try:
        found: list[int] = []
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                found += [int(each) for each in file.read().split()]
        return found
    except OSError:
        pairs = (
            processes.proc_pairs(but=())
            if os.path.isdir("/proc/self")
            else processes.listed_pairs()
        )
        return [pid for pid, parent in pairs if parent == os.getpid()]


def has_ended(pid: int) -> bool:
    """Whether a child of ours has ended; it is gone then."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


class Processes:
    """What is ended together. `listed()`: the pids. `group`: the control group that it was started
    in, or None.
    """

    def __init__(self, listed: Callable[[], list[int]], group: Cgroup | None = None) -> None:
        self.listed, self.group = listed, group

    def pids(self) -> list[int]:
        found = self.listed()
        return sorted(set(found).union(self.group.pids())) if self.group else found

    def end(self, grace: float, tick: Callable[[], object] = lambda: None) -> list[int]:
        """SIGTERM, the grace in seconds, then as `kill`. What is left of it."""
        deadline = time.monotonic() + grace
        told: set[int] = set()
        left = self.pids()
        while left and time.monotonic() < deadline:
            for pid in left:
                # Also what was begun meanwhile.
                if pid not in told:
                    told.add(pid)
                    processes.send(pid, signal.SIGTERM)
            tick()
            time.sleep(TICK_S)
            left = self.pids()
        return self.kill(tick)

    def kill(
        self, tick: Callable[[], object] = lambda: None, patience: float = KILL_TIMEOUT_S
    ) -> list[int]:
        """Kills all of it, also what forks faster than it can be listed. What is left after the
        patience, seconds.

        A control group is killed in one step. What is in none is stopped until a look finds no new
        one: what is stopped forks no more.
        """
        deadline = time.monotonic() + patience
        while True:
            if self.group:
                self.group.kill()
            stopped: set[int] = set()
            fresh = set(self.pids())
            while fresh and time.monotonic() < deadline:
                self.signal(fresh, signal.SIGSTOP)
                stopped |= fresh
                fresh = set(self.pids()) - stopped
            self.signal(stopped | fresh, signal.SIGKILL)
            self.chase()
            left = self.pids()
            if not left or time.monotonic() >= deadline:
                return left
            tick()
            time.sleep(TICK_S / 10)

    def signal(self, pids: Collection[int], number: int) -> None:
        for pid in pids:
            processes.send(pid, number)

    def chase(self) -> None:
        pass


class Descendants(Processes):
    """All that descends from us, but for the child `but` and what it began. `awaited`: a child of
    whose end somebody else asks.
    """

    def __init__(
        self, but: int | None = None, awaited: int | None = None, group: Cgroup | None = None
    ) -> None:
        super().__init__(self._list, group)
        self.but, self.awaited = but, awaited

    def _list(self) -> list[int]:
        kept = set(processes.family(self.but)) if self.but else ()
        return [
            pid for pid in processes.family(os.getpid()) if pid != os.getpid() and pid not in kept
        ]

    def reap(self) -> None:
        """Takes leave of the orphans that have ended."""
        for pid in children():
            if pid not in (self.but, self.awaited):
                has_ended(pid)

    def signal(self, pids: Collection[int], number: int) -> None:
        """To whole process groups in one step, which reaches what they fork meanwhile. Each is a
        session's that we began.
        """
        groups = {group_of(pid) for pid in pids} - {os.getpgrp()}
        for group in groups:
            if group is None:
                continue
            try:
                os.killpg(group, number)
            except OSError:
                pass
        super().signal(pids, number)

    def chase(self) -> None:
        """What forks and ends by turns, in a new session each time: it is a child of ours when the
        one before has ended.
        """
        deadline, quiet = time.monotonic() + CHASE_S, 0
        while quiet < QUIET_LOOKS and time.monotonic() < deadline:
            alive = [
                pid
                for pid in children()
                if pid != self.but and (pid == self.awaited or not has_ended(pid))
            ]
            super().signal(alive, signal.SIGKILL)
            quiet = 0 if set(alive) - {self.awaited} else quiet + 1


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
