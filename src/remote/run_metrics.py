"""A run's metrics, as its reporter keeps them: of the machine, and of what the training says."""
import os
import time

from . import files
from .host import HostSampler, IdleWatch
from .metrics import MetricsLog, TrainingMetrics

# So many of the warnings are told.
WARNINGS = 20


class RunMetrics:
    """`part`: the run's part of the plan; `account`: the training's. `feed` gets the log's bytes in their order."""

    def __init__(self, home, part, root, account=None):
        wish, self.work, self.account = part["metrics"], os.path.join(home, "work"), account
        self.path = os.path.join(home, "metrics.json")
        kept = files.read_json(self.path) or {}
        self.fed = kept.get("fed", 0)
        self.training = TrainingMetrics(kept.get("position"))
        self.file = wish["file"] and "%s/%s" % (part["projectRoot"], wish["file"])
        self.host, self.idle, self.log = HostSampler(root), IdleWatch(wish["idle"]), MetricsLog(home)
        self.now = {"host": None, "gpus": None}
        self.warnings = kept.get("warnings", [])

    def sample(self):
        """Looks at the machine, and at the file that the training writes metrics to."""
        self.now = self.host.sample()
        at = int(time.time() * 1000)
        self.log.add(dict({"t": at}, **self.now))
        warning = self.idle.look(self.now["gpus"])
        if warning:
            self.warnings = (self.warnings + [warning])[-WARNINGS:]
        self.read_file()

    def read_file(self):
        if self.file:
            self.training.read_file(self.work, self.file, int(time.time() * 1000), self.account)
        self._take()

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
        files.write_json(self.path, {"fed": self.fed, "position": self.training.position(), "warnings": self.warnings})

    def latest(self):
        """As the record has them."""
        return dict(self.now, training=self.training.latest, segments=self.log.segments, warnings=self.warnings)
