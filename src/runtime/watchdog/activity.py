"""What is active below the roots, as the watchdog sees it: runs, commands beside them, syncs."""

from __future__ import annotations

import os
import signal

from ..run_dir import saved_run, stop_request
from ..system import atomic_files, processes
from ..system.file_lock import held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Collection


# How long the watchdog waits after the end of a run whose reporter gave up: a client may renew its
# access to the store.
GIVEN_UP_TIMEOUT_S = 900


class Run:
    """A run, or a command beside the trainings, at one moment."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir, self.id = run_dir, os.path.basename(run_dir)
        self.record = atomic_files.read_object(os.path.join(run_dir, "run.json"))
        # By its lock, whatever its record says.
        self.is_active = held(os.path.join(run_dir, "lock"))
        self.reports = held(os.path.join(run_dir, "report.lock"))
        self.report = atomic_files.read_object(os.path.join(run_dir, "report.json"))

    @property
    def training(self) -> bool:
        return self.record.get("kind", "training") == "training"

    @property
    def waits(self) -> bool:
        """Whether it waits for other runs, or for the other nodes of its run."""
        node: dict[str, Any] = self.record.get("node") or {}
        return self.record.get("state") == "queued" or node.get("phase") in ("ready", "exited")

    @property
    def succeeded(self) -> bool:
        return self.record.get("outcome") == "succeeded"

    @property
    def all_saved(self) -> bool:
        """Whether nothing that it wrote is on this instance alone."""
        return saved_run.is_all_saved(self.report) or not self.plan.get("store")

    @property
    def awaits_next_attempt(self) -> bool:
        """Whether it was interrupted on another node, in whose place a client launches one. What
        becomes of a node with a fleet, its fleet's program decides.
        """
        if not self.record.get("node"):
            return False
        metadata: dict[str, Any] = self.plan.get("metadata") or {}
        recovery = metadata.get("recovery")
        stop: dict[str, Any] = self.record.get("stop") or {}
        is_interrupted = self.record.get("outcome") == "interrupted"
        awaits_client = is_interrupted and stop.get("reason") in ("interruption", "growth")
        return recovery == "fleet" or (recovery == "client" and awaits_client)

    @property
    def ended(self) -> float:
        """When it did, seconds since the epoch, by the clock as it was set then."""
        return (self.record.get("endedAt") or 0) / 1000.0 or changed(
            os.path.join(self.run_dir, "run.json")
        )

    @property
    def plan(self) -> dict[str, Any]:
        return atomic_files.read_object(os.path.join(self.run_dir, "plan.json"))

    def began(self, boot: str | None) -> bool:
        """Whether it did in this boot. No time tells that: the clock may have been set since."""
        return self.record["boot"] == boot if "boot" in self.record else self.is_active

    def settles(self) -> float | None:
        """How long after its end nothing more of it is going to be saved, seconds; None: not yet
        known.
        """
        if self.is_active:
            return None
        if self.report.get("saved") or not self.plan.get("store"):
            return 0.0
        # One that gave up, or was killed.
        return None if self.reports else GIVEN_UP_TIMEOUT_S

    def log_size(self) -> int:
        try:
            return os.stat(os.path.join(self.run_dir, "log")).st_size
        except OSError:
            return 0

    def stop(self, reason: str, grace: float) -> bool:
        """Requests the run's stop, once. Where the disk takes no request, sends its supervisor
        SIGTERM, as a shutdown does.
        """
        try:
            return stop_request.ask(self.run_dir, reason, grace)
        except OSError:
            supervisor: int | None = self.record.get("supervisor")
            if supervisor:
                processes.send(supervisor, signal.SIGTERM)
        return True


def changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def runs(*roots: str) -> list[Run]:
    """All that is there, oldest first."""
    found = [run for root in roots for run in _runs(root)]
    return sorted(found, key=lambda run: run.id)


def _runs(root: str) -> list[Run]:
    directory = os.path.join(root, "runs")
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [
        Run(os.path.join(directory, name))
        for name in names
        if os.path.isdir(os.path.join(directory, name))
    ]


def syncing(*roots: str) -> bool:
    """Whether a tree is being brought to a snapshot."""
    return any(_syncing(root) for root in roots)


def _syncing(root: str) -> bool:
    directory = os.path.join(root, "trees")
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    return any(held(os.path.join(directory, name, "lock")) for name in names)


def awaits_run(root: str) -> bool:
    """Whether the program of this instance's fleet says that the run, which trains without it, is
    going to have it: fleet/held.py.
    """
    return held(os.path.join(root, "watchdog", "waiting.lock"))


class Silence:
    """Since when the logs of runs do not grow."""

    seen: dict[str, tuple[int, float]]

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        # By the run's id: the size of its log, and since when it has that.
        self.seen = {}

    def since(self, run: Run) -> float:
        size, now = run.log_size(), self.clock()
        before = self.seen.get(run.id)
        if before is None or before[0] != size or run.waits:
            self.seen[run.id] = (size, now)
        return self.seen[run.id][1]

    def forget_but(self, there: Collection[str]) -> None:
        self.seen = {name: seen for name, seen in self.seen.items() if name in there}
