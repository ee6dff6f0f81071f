"""Writes a run's record to the store: docs/reference/formats.md, "Runs in the store"."""

from __future__ import annotations

import time

from .record_limits import within_limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..system.documents import RunSpec
    from .fencing import Fenced
    from .log_upload import LogUpload
    from .node_records import NodeRecords
    from .report_file import ReportFile
    from .run_metrics import RunMetrics
    from .uploads import Saver

# The record is written at each change of the run's state, and this often without a change.
HEARTBEAT_INTERVAL_S = 10
# The same while the connection to another node is broken, which may take this one for lost.
BROKEN_HEARTBEAT_INTERVAL_S = 3
# The fields of the record in the store that change with every sample: they wait for the heartbeat.
CHANGING_FIELDS = ("heartbeat", "log", "metrics")
# The fields that the record in the store has from the run's own record.
COPIED_FIELDS = (
    "id",
    "runKey",
    "project",
    "tree",
    "snapshot",
    "instance",
    "user",
    "directory",
    "exitCode",
    "signal",
    "stop",
    "failure",
    "pid",
    "createdAt",
    "startedAt",
    "endedAt",
    "attempt",
    "attempts",
    "queue",
    "resources",
    "gpus",
    "datasets",
    "restoredFrom",
    "warnings",
)


class RecordUpload:
    def __init__(
        self,
        spec: RunSpec,
        report: ReportFile,
        *,
        log: LogUpload,
        metrics: RunMetrics,
        nodes: NodeRecords | None,
    ) -> None:
        self.spec, self.report, self.log, self.metrics = spec, report, log, metrics
        self.nodes = nodes
        self.heartbeat: int = report.values["heartbeat"]
        # The fields that were written last, without those that change all the time, and when.
        self.written: dict[str, Any] | None = None
        self.written_at = 0.0

    def upload(
        self, record: dict[str, Any], state: str, *, bucket: Fenced, saver: Saver, at_once: bool
    ) -> None:
        """Writes the record if it has changed, if its heartbeat is due, if this instance must claim
        the run, and if it is to be written at once, as at the end.
        """
        whole = self._compose(record, state, bucket=bucket, saver=saver)
        shape = {name: value for name, value in whole.items() if name not in CHANGING_FIELDS}
        is_urgent = self.nodes and self.nodes.is_any_broken
        interval_s = BROKEN_HEARTBEAT_INTERVAL_S if is_urgent else HEARTBEAT_INTERVAL_S
        is_due = time.monotonic() - self.written_at > interval_s
        if shape != self.written or is_due or at_once or bucket.must_claim():
            self._put(bucket, whole)
            self.written, self.written_at = shape, time.monotonic()

    def _put(self, bucket: Fenced, whole: dict[str, Any]) -> None:
        self.heartbeat += 1
        # Before it is written: after a restart, no other record gets this number.
        self.report.save(heartbeat=self.heartbeat)
        record: Any = within_limits(dict(whole, heartbeat=self.heartbeat))
        bucket.put_record(record)
        self.report.save(
            etag=bucket.etag,
            version=bucket.version,
            claimed=bucket.claimed,
            proven=bucket.proven,
            trouble=None,
        )

    def _compose(
        self, record: dict[str, Any], state: str, *, bucket: Fenced, saver: Saver
    ) -> dict[str, Any]:
        spec = self.spec
        whole = {name: record[name] for name in COPIED_FIELDS}
        whole.update({
            "v": 1,
            "caller": spec["caller"],
            "identity": spec["identity"],
            "state": state,
            "outcome": record["outcome"],
            "since": record.get("since"),
            "takenOver": record.get("takenOver"),
            "launcher": record.get("launcher"),
            "node": record.get("node"),
            "heartbeatPort": self.nodes.port if self.nodes else None,
            "nodes": record.get("nodes", []),
            "rendezvous": record.get("rendezvous"),
            "nodeCheckpoints": record.get("nodeCheckpoints", []),
            "wholeCheckpoint": record.get("wholeCheckpoint"),
            "failedNode": record.get("failedNode"),
            "log": {
                "size": self.log.size,
                "training": record["training"],
                "truncated": record.get("truncated", False),
                "hashes": self.log.manifest(),
            },
            "metrics": self.metrics.latest(),
            "checkpoints": saver.checkpoints,
            "artifacts": saver.artifacts,
            "metadata": spec["metadata"],
            "access": bucket.way,
            "trouble": saver.trouble,
        })
        return whole
