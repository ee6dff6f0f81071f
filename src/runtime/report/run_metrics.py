"""A run's metrics, as its reporter keeps them: of the machine, and of what the training says."""

from __future__ import annotations

import os
import time

from ..system import atomic_files
from ..system.host_stats import HostSampler
from .efa_watch import WARNING, EfaWatch
from .idle_gpus import IdleWatch
from .metric_files import MetricFiles
from .metrics import MetricsLog, TrainingMetrics

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import TypedDict

    from ..system.documents import GpuSample, HostSample, RunRecordMetrics, RunSpec
    from .fencing import Fenced

    class Latest(TypedDict):
        host: HostSample | None
        gpus: list[GpuSample] | None


# How many warnings the record has, the newest.
MAX_WARNINGS = 20


class RunMetrics:
    """The metrics of one run. `account`: the training's. `feed` gets the log's bytes in their
    order.
    """

    now: Latest
    warnings: list[str]
    fed: int

    def __init__(
        self, run_dir: str, spec: RunSpec, root: str, *, account: pwd.struct_passwd | None = None
    ) -> None:
        config, self.work, self.account = spec["metrics"], os.path.join(run_dir, "work"), account
        self.path = os.path.join(run_dir, "metrics.json")
        kept = atomic_files.read_object(self.path)
        self.fed = kept.get("fed", 0)
        node = spec.get("node")
        self.training = TrainingMetrics(
            kept.get("position"),
            bool(spec.get("launcher")),
            has_rank_0=not (node and node["rank"]),
        )
        self.file = config["file"] and "%s/%s" % (spec["projectRoot"], config["file"])
        self.files = MetricFiles(run_dir, spec, account=account, position=kept.get("files"))
        self.host, self.idle = HostSampler(root), IdleWatch(config["idle"])
        self.log = MetricsLog(run_dir)
        self.now = {"host": None, "gpus": None}
        self.warnings = kept.get("warnings", [])
        self.efa = EfaWatch(spec, has_warned=WARNING in self.warnings)

    def sample(self) -> None:
        """Looks at the machine, and at the files that the training writes metrics to."""
        found = self.host.sample()
        self.now = {"host": found["host"], "gpus": found["gpus"]}
        at = int(time.time() * 1000)
        self.log.add({"t": at, **self.now})
        self.warn(self.idle.look(found["gpus"]))
        self.read_files()

    def warn(self, warning: str | None) -> None:
        """Adds a warning for the user, if there is one."""
        if warning:
            self.warnings = (self.warnings + [warning])[-MAX_WARNINGS:]

    def read_files(self, ended: bool = False) -> bool:
        """Takes what is new in the files of metrics. Returns whether everything was read: one call
        reads a limited amount.
        """
        at, all_read = int(time.time() * 1000), True
        if self.file:
            all_read = self.training.read_file(self.work, self.file, at, account=self.account)
        for kind, text, found in self.files.read(ended, self.training.latest):
            self.training.add(found, at, kind=kind, text=text)
        self._take()
        return all_read and self.files.all_read

    def feed(self, offset: int, data: bytes) -> None:
        """A piece of the log, from an offset on; what was fed before is left out."""
        data = data[max(0, self.fed - offset) :]
        self.training.feed(data, int(time.time() * 1000))
        self.warn(self.efa.look(data))
        self.fed += len(data)
        self._take()

    def _take(self) -> None:
        for at, values in self.training.take():
            self.log.add({"t": at, "training": values})

    def save(self, bucket: Fenced) -> None:
        self.log.save(bucket)
        kept = {
            "fed": self.fed,
            "position": self.training.position(),
            "files": self.files.position(),
            "warnings": self.warnings,
        }
        atomic_files.write_json(self.path, kept)

    def latest(self) -> RunRecordMetrics:
        """As the record has them."""
        return {
            **self.now,
            "training": self.training.latest,
            "progress": self.training.progress.latest(),
            "segments": self.log.segments,
            "sources": self.training.sources.described(),
            "warnings": self.warnings,
        }
