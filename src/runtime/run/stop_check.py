"""Whether a run is to stop: by a request, by its time limit, or because the instance shuts down."""

from __future__ import annotations

import os
import time

from ..system.wall_clock import now_ms
from .child_process import Stop
from .node_stop import NodeStop, is_of_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .child_process import Child
    from .node_stop import OtherNodes
    from .reporter_process import ReporterProcess
    from .supervised_run import SupervisedRun


class Stopped(Exception):
    """The run is to stop."""


class StopCheck:
    def __init__(self, run: SupervisedRun, reporter: ReporterProcess) -> None:
        self.run, self.reporter = run, reporter
        self.is_shutting_down = False
        self.deadline: float | None = None
        # Of a run on several nodes.
        self.nodes: OtherNodes | None = None

    def on_shutdown(self, *_: object) -> None:
        """Handles SIGTERM, which the supervisor gets when the instance shuts down."""
        self.is_shutting_down = True

    def set_timeout(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def requested(self) -> Stop | None:
        """Why the run, or its attempt, is to stop: for a reason of this node, else of another."""
        return self._requested_here() or (self.nodes.stop_request() if self.nodes else None)

    def _requested_here(self) -> Stop | None:
        grace_s = self.run.spec["gracePeriod"]
        if self.is_shutting_down:
            return Stop("shutdown", grace_s)
        stop = Stop.read(self.run.run_dir)
        if stop:
            return stop
        if not os.path.isdir(self.run.run_dir):
            # Somebody has removed it: nothing of the run can be recorded any more.
            return Stop("shutdown", grace_s)
        if self.deadline and time.monotonic() > self.deadline:
            return Stop("timeout", grace_s)
        return None

    def check(self, *_: object) -> None:
        """To be called while waiting for something: restarts the reporter if it has ended, and
        raises Stopped where the run is to stop.
        """
        self.keep_reporting()
        self._raise_for(self.requested())

    def keep_reporting(self) -> None:
        """Restarts the reporter if it has ended."""
        self.reporter.ensure()

    def announce(self, stop: Stop) -> None:
        """To be called before a command is stopped: tells the other nodes."""
        if self.nodes:
            self.nodes.announce(stop)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)
        self.check()

    def raise_if_requested(self) -> None:
        """Raises Stopped where the run is to stop, and records nothing: for a thread."""
        if is_of_run(self.requested()):
            raise Stopped()

    def raise_if_stopped(self, child: Child) -> None:
        """Raises Stopped where a command was ended because the run is to stop."""
        self._raise_for(child.stopped)

    def _raise_for(self, stop: Stop | None) -> None:
        if stop and is_of_run(stop):
            self.end(stop)

    def end(self, stop: Stop) -> NoReturn:
        """Records that the run is stopped, and raises Stopped."""
        if isinstance(stop, NodeStop):
            self.run.save(**stop.changes)
        else:
            self.run.save(stop={"reason": stop.reason, "at": now_ms()})
        raise Stopped()
