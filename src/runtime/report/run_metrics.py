"""A run's metrics, as its reporter keeps them: of the machine, and of what the training says."""
import os
import time

from ..system import atomic_files
from ..system.host_stats import HostSampler, IdleWatch
from .event_files import EventFiles
from .metrics import MetricsLog, TrainingMetrics

# So many of the warnings are told.
WARNINGS = 20


class RunMetrics:
    """`part`: the run's part of the plan; `account`: the training's. `feed` gets the log's bytes in their order."""

    def __init__(self, home, part, root, account=None):
        config, self.work, self.account = part["metrics"], os.path.join(home, "work"), account
        self.path = os.path.join(home, "metrics.json")
        kept = atomic_files.read_json(self.path) or {}
        self.fed = kept.get("fed", 0)
        self.training = TrainingMetrics(kept.get("position"))
        self.file = config["file"] and "%s/%s" % (part["projectRoot"], config["file"])
        self.events = EventFiles(home, part, account, kept.get("events"))
        self.host, self.idle, self.log = HostSampler(root), IdleWatch(config["idle"]), MetricsLog(home)
        self.now = {"host": None, "gpus": None}
        self.warnings = kept.get("warnings", [])

    def sample(self):
        """Looks at the machine, and at the files that the training writes metrics to."""
        self.now = self.host.sample()
        at = int(time.time() * 1000)
        self.log.add(dict({"t": at}, **self.now))
        warning = self.idle.look(self.now["gpus"])
        if warning:
            self.warnings = (self.warnings + [warning])[-WARNINGS:]
        self.read_files()

    def read_files(self, ended=False):
        """Takes what is new in the files of metrics. Whether that is all there is: one look has its limits."""
        at, all_read = int(time.time() * 1000), True
        if self.file:
            all_read = self.training.read_file(self.work, self.file, at, self.account)
        for found in self.events.read(ended, self.training.latest):
            self.training.add(found, at)
        self._take()
        return all_read and self.events.all_read

    def feed(self, offset, data):
        """A piece of the log, from an offset on; what was fed before is left out."""
        data = data[max(0, self.fed - offset):]
        self.training.feed(data, int(time.time() * 1000))
        self.fed += len(data)
        self._take()

    def _take(self):
        for at, values in self.training.take():
            self.log.add({"t": at, "training": values})

    def save(self, bucket):
        self.log.save(bucket)
        kept = {"fed": self.fed, "position": self.training.position(), "events": self.events.position(), "warnings": self.warnings}
        atomic_files.write_json(self.path, kept)

    def latest(self):
        """As the record has them."""
        return dict(self.now, training=self.training.latest, segments=self.log.segments, warnings=self.warnings)
