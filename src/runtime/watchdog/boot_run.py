"""Starts the run that an instance starts by itself at its boot, and removes its resources at the
end, each in a process of its own.
"""

from __future__ import annotations

import os
import signal
import time
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..fleet.boot_loader import WatchdogConfig

# Between two tries to start the run.
RETRY_S = 30.0
# Time limit for removing the resources of the run.
FINISH_TIMEOUT_S = 60


class BootRun:
    """`lock`: the watchdog's, which the process that starts the run does not keep; None: none."""

    def __init__(
        self,
        config: WatchdogConfig,
        say: Callable[[str], object],
        *,
        clock: Callable[[], float],
        lock: int | None,
    ) -> None:
        self.config, self.say, self.clock, self.lock = config, say, clock, lock
        self.starter: int | None = None
        self.due = 0.0
        self.has_finished = False

    def start(self) -> None:
        """Starts the run, again where that failed. Returns at once where no try is due."""
        if self.clock() < self.due:
            return
        self.due = self.clock() + RETRY_S
        if self.starter is not None:
            pid, status = os.waitpid(self.starter, os.WNOHANG)
            if pid == 0:
                return
            if status == 0:
                self.due = float("inf")
                return
        self.starter = os.fork()
        if self.starter == 0:
            self._start()

    def finish(self) -> None:
        """Removes the resources of the run, once, within a time limit."""
        if not self.has_finished:
            self.has_finished = True
            in_time(self._finish, FINISH_TIMEOUT_S)

    def _start(self) -> None:
        """Exits with 1 where the start failed, or another watchdog's process is still starting the
        run.
        """
        code = 1
        try:
            os.setsid()
            if self.lock is not None:
                os.close(self.lock)
            reset_oom_score()
            from ..fleet import boot_loader

            boot_loader.start(self.config, self.say)
            code = 0
        except BaseException:
            self.say("the run was not started: %s" % traceback.format_exc())
        finally:
            os._exit(code)

    def _finish(self) -> None:
        from ..fleet import boot_loader

        try:
            boot_loader.finish(self.config, self.say)
        except BaseException:
            self.say("the resources of its run were not removed: %s" % traceback.format_exc())


def in_time(work: Callable[[], object], seconds: float) -> None:
    """Runs `work` in a process of its own, and kills that process after this time."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    deadline = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return
        time.sleep(0.1)


def reset_oom_score() -> None:
    """Lets the kernel kill the training for lack of memory, though not the watchdog, whose score it
    has inherited.
    """
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
    except OSError:
        pass
