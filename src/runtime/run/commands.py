"""Starts the commands of a run: the steps of its set-up, and the training."""

from __future__ import annotations

from .child_process import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..system.documents import RunSpecLimits
    from .child_process import Stop
    from .reporter_process import ReporterProcess
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun


class Commands:
    def __init__(self, run: SupervisedRun, stops: StopCheck, reporter: ReporterProcess) -> None:
        self.run, self.stops, self.reporter = run, stops, reporter

    def start(
        self,
        line: list[str],
        variables: dict[str, str],
        directory: str,
        *,
        limits: RunSpecLimits,
        look: Callable[[], None] = lambda: None,
    ) -> Child:
        """Starts a command. `look` is called several times a second while it runs."""
        run = self.run

        def requested_stop() -> Stop | None:
            look()
            self.stops.keep_reporting()
            child.exclude(self.reporter.pid)
            stop = self.stops.requested()
            if stop:
                self.stops.announce(stop)
            return stop

        child = Child(
            line,
            variables,
            directory,
            account=run.account,
            log=run.log,
            mask=run.mask,
            limits=limits,
            requested_stop=requested_stop,
            exclude_pid=self.reporter.pid,
            group=run.group,
        )
        return child
