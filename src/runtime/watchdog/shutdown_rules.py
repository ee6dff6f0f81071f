"""Decides when an instance is to end, and why, by its activity and its watchdog's configuration."""

from __future__ import annotations

from ..system import used_roots
from . import activity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection

    from ..fleet.boot_loader import WatchdogConfig
    from .activity import Run
    from .idle import Idle
    from .launch_time import LaunchTime


# How long an instance whose run was interrupted on another node is kept for the next attempt, at
# least, seconds: for a client that is still connected.
NEXT_ATTEMPT_S = 600
# These rules shut down whatever is active; the others only if nothing is.
FORCED = ("lifetime", "cost", "deadline")


class ShutdownRules:
    """`boot` tells this boot; `idle` is None where no rule asks for it."""

    runs: list[Run]
    hung: list[Run]
    ended: dict[str, float]
    free: float | None

    def __init__(
        self,
        config: WatchdogConfig,
        root: str,
        *,
        boot: str | None,
        launch: LaunchTime,
        idle: Idle | None,
    ) -> None:
        self.config, self.root, self.boot = config, root, boot
        self.launch, self.idle = launch, idle
        self.clock, self.wall = launch.clock, launch.wall
        self.silence = activity.Silence(self.clock)
        self.runs, self.hung = [], []
        # Whether a run began in this boot; by run, when it ended; when the runs were last looked
        # at; since when nothing is active or works. All by the clock.
        self.began = False
        self.ended = {}
        self.polled = self.clock()
        self.free = None

    @property
    def active(self) -> list[Run]:
        return [run for run in self.runs if run.is_active]

    @property
    def trainings(self) -> list[Run]:
        """Those that began in this boot."""
        return [run for run in self.runs if run.training and run.began(self.boot)]

    def poll(self) -> str | None:
        """Why the instance is to end; None: it is not. The runs that hang are in `hung`."""
        now, roots = self.clock(), used_roots.with_used(self.root)
        self.hung = []
        self.runs = activity.runs(*roots)
        if self.launch.age() >= self.config["lifetime"]:
            return self.config["because"]
        deadline = self.config["deadline"]
        if deadline is not None and self.launch.now() * 1000 >= deadline:
            return "deadline"
        trainings = self.trainings
        self._find_ended(trainings, now)
        self.began = self.began or bool(trainings)
        active = self.active
        works = bool(active) or activity.syncing(*roots) or any(run.reports for run in self.runs)
        works = works or activity.awaits_run(self.root)
        quiet = self.idle.poll() if self.idle else None
        self.free = None if works else now if self.free is None else self.free
        if self.idle:
            self._find_hung(active, quiet, now)
        if works:
            return None
        if self.config["start"] is not None and not self.began and now >= self.config["start"]:
            return "start"
        if self._finished(trainings):
            return "finish"
        free, limit = self.free, self.config["idle"]
        if quiet is not None and free is not None and limit is not None:
            return "idle" if now - max(quiet, free) >= limit else None
        return None

    def idle_since(self) -> float | None:
        """Since when, by the clock, it is idle; None: it is not."""
        since = self.idle.since if self.idle else None
        return None if since is None or self.free is None else max(since, self.free)

    def restore_state(self, since: float) -> None:
        """What another watchdog saw in this boot: idle since then, by the clock."""
        self.free = since
        if self.idle:
            self.idle.since = since

    def _find_ended(self, trainings: Collection[Run], now: float) -> None:
        ended: dict[str, float] = {}
        for run in trainings:
            # One that is being saved has not ended: the files that it can't save are to be fetched.
            if not run.is_active and not run.reports:
                # Since the last look. When exactly, the run says, if its clock was not set since.
                at = max(self.polled, min(now, now - (self.wall() - run.ended)))
                ended[run.id] = self.ended.get(run.id, at)
        self.ended, self.polled = ended, now

    def _find_hung(self, active: Collection[Run], quiet: float | None, now: float) -> None:
        limit = self.config["idle"]
        self.silence.forget_but({run.id for run in active})
        for run in active:
            silent = self.silence.since(run)
            if (
                quiet is not None
                and limit is not None
                and not run.waits
                and now - max(quiet, silent) >= limit
            ):
                self.hung.append(run)

    def _finished(self, trainings: Collection[Run]) -> bool:
        """Whether the last run's time to be kept is over. No run is active."""
        finish = self.config["finish"]
        if not finish or not trainings:
            return False
        last = max(trainings, key=lambda run: (self.ended[run.id], run.ended))
        due = 0.0
        for run in trainings:
            times = [run.settles()]
            # The last run decides, and each of which files are on this instance alone.
            awaits_next = run is last and run.awaits_next_attempt
            if awaits_next:
                times.append(NEXT_ATTEMPT_S)
            if not run.all_saved or (run is last and not awaits_next):
                times.append(finish["success" if run.succeeded and run.all_saved else "failure"])
            for each in times:
                if each is None:
                    return False
                due = max(due, self.ended[run.id] + each)
        return self.clock() >= due
