"""Decides when an instance is to end, and why: its activity against its watchdog's configuration."""
from . import activity

# These end it whatever goes on; the others only where nothing does.
HARD = ("lifetime", "cost", "deadline")


class Guards:
    """`boot` tells this boot; `clock` counts seconds from it on, `wall` from the epoch on; `idle` is None where it is no guard."""

    def __init__(self, config, root, boot, clock, wall, idle):
        self.config, self.root, self.boot, self.clock, self.wall, self.idle = config, root, boot, clock, wall, idle
        self.silence = activity.Silence(clock)
        self.runs, self.hung = [], []
        # Whether a run began in this boot; since when nothing goes on and nothing works, by the clock.
        self.began = False
        self.free = None

    @property
    def going(self):
        return [run for run in self.runs if run.goes_on]

    @property
    def trainings(self):
        """Those that began in this boot."""
        since = self.wall() - self.clock()
        return [run for run in self.runs if run.training and run.began(self.boot, since)]

    def look(self):
        """Why the instance is to end; None: it is not. The runs that hang are in `hung`."""
        now = self.clock()
        self.hung = []
        if now >= self.config["lifetime"]:
            self.runs = activity.runs(self.root)
            return self.config["because"]
        if self.config["deadline"] is not None and self.wall() * 1000 >= self.config["deadline"]:
            self.runs = activity.runs(self.root)
            return "deadline"
        self.runs = activity.runs(self.root)
        trainings = self.trainings
        self.began = self.began or bool(trainings)
        going = self.going
        works = bool(going) or activity.syncing(self.root) or any(run.reports for run in self.runs)
        quiet = self.idle.look() if self.idle else None
        self.free = None if works else self.free if self.free is not None else now
        if self.idle:
            self._find_hung(going, quiet, now)
        if works:
            return None
        if self.config["start"] is not None and not self.began and now >= self.config["start"]:
            return "start"
        if self._finished(trainings):
            return "finish"
        if self.idle and quiet is not None and now - max(quiet, self.free) >= self.config["idle"]:
            return "idle"
        return None

    def idle_since(self):
        """Since when, by the clock, it is idle; None: it is not."""
        since = self.idle.since if self.idle else None
        return None if since is None or self.free is None else max(since, self.free)

    def go_on(self, since):
        """What another watchdog saw in this boot: idle since then, by the clock."""
        self.free = since
        if self.idle:
            self.idle.since = since

    def _find_hung(self, going, quiet, now):
        self.silence.forget_but({run.id for run in going})
        for run in going:
            silent = self.silence.since(run)
            if quiet is not None and not run.queued and now - max(quiet, silent) >= self.config["idle"]:
                self.hung.append(run)

    def _finished(self, trainings):
        """Whether the last run's time to be kept is over. Nothing goes on."""
        finish = self.config["finish"]
        settled = [run.settled() for run in trainings]
        if not finish or not trainings or None in settled:
            return False
        last = max(trainings, key=lambda run: run.ended)
        kept = finish["success" if last.succeeded else "failure"]
        return kept is not None and self.wall() >= max([last.ended + kept] + settled)
