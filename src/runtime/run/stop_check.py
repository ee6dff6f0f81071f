"""Whether a run is to stop: by a request, by its time limit, or because the instance shuts down."""

from __future__ import annotations

import time

from ..system.wall_clock import now_ms
from .child_process import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .child_process import Child
    from .reporter_process import ReporterProcess
    from .supervised_run import SupervisedRun


class Stopped(Exception):
    """The run is to stop."""


class StopCheck:
    def __init__(self, run: SupervisedRun, reporter: ReporterProcess) -> None:
        self.run, self.reporter = run, reporter
        self.is_shutting_down = False
        self.deadline: float | None = None

    def on_shutdown(self, *_: object) -> None:
        """Handles SIGTERM, which the supervisor gets when the instance shuts down."""
        self.is_shutting_down = True

    def set_timeout(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def requested(self) -> Stop | None:
        grace_s = self.run.spec["gracePeriod"]
        if self.is_shutting_down:
            return Stop("shutdown", grace_s)
        stop = Stop.read(self.run.run_dir)
        if stop:
            return stop
        if self.deadline and time.monotonic() > self.deadline:
            return Stop("timeout", grace_s)
        return None

    def check(self, *_: object) -> None:
        """To be called while waiting for something: restarts the reporter if it has ended, and
        raises Stopped where the run is to stop.
        """
        self.reporter.ensure()
        stop = self.requested()
        if stop:
            self._record(stop)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)
        self.check()

    def raise_if_requested(self) -> None:
        """Raises Stopped where the run is to stop, and records nothing: for a thread."""
        if self.requested():
            raise Stopped()

    def raise_if_stopped(self, child: Child) -> None:
        """Raises Stopped where a command was ended because the run is to stop."""
        if child.stopped:
            self._record(child.stopped)

    def _record(self, stop: Stop) -> None:
        self.run.save(stop={"reason": stop.reason, "at": now_ms()})
        raise Stopped()
