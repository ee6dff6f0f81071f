"""Decides when an instance is to end, and why, by its activity and its watchdog's configuration."""

from __future__ import annotations

from . import activity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection

    from ..fleet.boot_loader import WatchdogConfig
    from .activity import Run
    from .idle import Idle
    from .launch_time import LaunchTime


# These rules shut down whatever is active; the others only if nothing is.
FORCED = ("lifetime", "cost", "deadline")


class ShutdownRules:
    """`boot` tells this boot; `idle` is None where no rule asks for it."""

    runs: list[Run]
    hung: list[Run]
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
        # Whether a run began in this boot; since when nothing is active or works, by the
        # clock.
        self.began = False
        self.free = None

    @property
    def active(self) -> list[Run]:
        return [run for run in self.runs if run.is_active]

    @property
    def trainings(self) -> list[Run]:
        """Those that began in this boot."""
        since = self.wall() - self.clock()
        return [run for run in self.runs if run.training and run.began(self.boot, since)]

    def poll(self) -> str | None:
        """Why the instance is to end; None: it is not. The runs that hang are in `hung`."""
        now = self.clock()
        self.hung = []
        self.runs = activity.runs(self.root)
        if self.launch.age() >= self.config["lifetime"]:
            return self.config["because"]
        deadline = self.config["deadline"]
        if deadline is not None and self.launch.now() * 1000 >= deadline:
            return "deadline"
        trainings = self.trainings
        self.began = self.began or bool(trainings)
        active = self.active
        works = bool(active) or activity.syncing(self.root) or any(run.reports for run in self.runs)
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

    def restore_state(self, since: float | None) -> None:
        """What another watchdog saw in this boot: idle since then, by the clock."""
        self.free = since
        if self.idle:
            self.idle.since = since

    def _find_hung(self, active: Collection[Run], quiet: float | None, now: float) -> None:
        limit = self.config["idle"]
        self.silence.forget_but({run.id for run in active})
        for run in active:
            silent = self.silence.since(run)
            if (
                quiet is not None
                and limit is not None
                and not run.queued
                and now - max(quiet, silent) >= limit
            ):
                self.hung.append(run)

    def _finished(self, trainings: Collection[Run]) -> bool:
        """Whether the last run's time to be kept is over. No run is active."""
        finish = self.config["finish"]
        settled = [since for since in (run.settled() for run in trainings) if since is not None]
        if not finish or not trainings or len(settled) < len(trainings):
            return False
        last = max(trainings, key=lambda run: run.ended)
        kept = finish["success" if last.succeeded else "failure"]
        if kept is None or self.free is None:
            return False
        # The time of day may have been set back since.
        waited = self.clock() - self.free
        return waited >= max(kept, activity.GIVEN_UP_TIMEOUT_S) or self.wall() >= max(
            [last.ended + kept] + settled
        )
