"""What goes on below the root, as the watchdog sees it: runs, commands beside them, syncs."""
import os
import signal

from ..run_dir import stop_request
from ..system import atomic_files, processes
from ..system.file_lock import held

# A reporter that gave up is waited for so long after the end of its run, seconds: a client may bring another way into the store.
GIVEN_UP = 900


class Run:
    """A run, or a command beside the trainings, at one moment."""

    def __init__(self, home):
        self.home, self.id = home, os.path.basename(home)
        self.record = atomic_files.read_json(os.path.join(home, "run.json")) or {}
        # By its lock, whatever its record says.
        self.goes_on = held(os.path.join(home, "lock"))
        self.reports = held(os.path.join(home, "report.lock"))

    @property
    def training(self):
        return self.record.get("kind", "training") == "training"

    @property
    def queued(self):
        return self.record.get("state") == "queued"

    @property
    def succeeded(self):
        return self.record.get("outcome") == "succeeded"

    @property
    def ended(self):
        """When it did, seconds since the epoch, as far as that is known."""
        return (self.record.get("endedAt") or 0) / 1000.0 or changed(os.path.join(self.home, "run.json"))

    @property
    def plan(self):
        return atomic_files.read_json(os.path.join(self.home, "plan.json")) or {}

    def began(self, boot, since):
        """Whether it did in this boot, `since` seconds since the epoch."""
        if self.record.get("boot") not in (boot, None):
            return False
        return changed(os.path.join(self.home, "plan.json")) >= since - 1

    def settled(self):
        """Whether nothing more of it is going to be saved, and since when, seconds since the epoch; None: not yet."""
        if self.goes_on:
            return None
        report = os.path.join(self.home, "report.json")
        if (atomic_files.read_json(report) or {}).get("saved"):
            return changed(report)
        if not self.plan.get("store"):
            return self.ended
        # One that gave up, or was killed.
        return None if self.reports else self.ended + GIVEN_UP

    def log_size(self):
        try:
            return os.stat(os.path.join(self.home, "log")).st_size
        except OSError:
            return 0

    def stop(self, reason, grace):
        """Requests the run's stop, once. Where the disk takes no request, sends its supervisor SIGTERM, as a shutdown does."""
        try:
            return stop_request.ask(self.home, reason, grace)
        except OSError:
            if self.record.get("supervisor"):
                processes.send(self.record["supervisor"], signal.SIGTERM)
        return True


def changed(path):
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def runs(root):
    """All that is there, oldest first."""
    directory = os.path.join(root, "runs")
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    return [Run(os.path.join(directory, name)) for name in names if os.path.isdir(os.path.join(directory, name))]


def syncing(root):
    """Whether a tree is being brought to a snapshot."""
    directory = os.path.join(root, "trees")
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    return any(held(os.path.join(directory, name, "lock")) for name in names)


class Silence:
    """Since when the logs of runs do not grow."""

    def __init__(self, clock):
        self.clock, self.seen = clock, {}

    def since(self, run):
        size, now = run.log_size(), self.clock()
        before = self.seen.get(run.id)
        if before is None or before[0] != size or run.queued:
            self.seen[run.id] = (size, now)
        return self.seen[run.id][1]

    def forget_but(self, there):
        self.seen = {name: seen for name, seen in self.seen.items() if name in there}
