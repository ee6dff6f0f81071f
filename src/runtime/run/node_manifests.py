"""What nodes of a run have saved of the checkpoint that all resume from. The first node puts it
together for the others, which read that and what they have saved themselves instead of what each
node has.
"""

from __future__ import annotations

import hashlib
import json

from ..checkpoints.checkpoint_source import MAX_MANIFEST_BYTES
from ..report.node_records import node_bucket
from ..system import bounded
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from ..checkpoints.checkpoint_restore import Manifest
    from ..checkpoints.whole_checkpoint import WholeCheckpoint
    from ..system.documents import RunRecordNodeCheckpointsItem, SavedCheckpoint
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun


class NodeManifests:
    """What the nodes of a run have saved. `chosen`: what all resume from."""

    def __init__(self, run: SupervisedRun, stops: StopCheck) -> None:
        self.run, self.stops = run, stops
        node = run.spec["node"]
        assert node
        self.rank = node["rank"]

    def read(self, rank: int, saved: SavedCheckpoint | RunRecordNodeCheckpointsItem) -> Manifest:
        from ..checkpoints.checkpoint_restore import read

        self.stops.check()
        name = "checkpoint/%d.json" % saved["n"]
        data = node_bucket(self.run.spec, rank).get(name, limit=MAX_MANIFEST_BYTES)
        if data is None:
            how = "the checkpoint %d of node %d is not in the store" % (saved["n"], rank)
            raise Failure("RESTORE_FAILED", how)
        return read(bytes(data), saved["sha256"])

    def publish(self, chosen: Sequence[RunRecordNodeCheckpointsItem]) -> str | None:
        """Of the first node: saves what several nodes have as one checkpoint. Returns its hash;
        None where it could not: then each node reads what each other one has.
        """
        if len(chosen) < 2:
            return None
        try:
            whole = self._combined(chosen)
            found = {"v": 1, "manifest": whole.manifest, "places": whole.places}
            data = json.dumps(found).encode()
            if len(data) > MAX_MANIFEST_BYTES:
                return None
            node_bucket(self.run.spec, 0).put(self._name(), data)
        except Failure:
            return None
        return hashlib.sha256(data).hexdigest()

    def whole(
        self, chosen: Sequence[RunRecordNodeCheckpointsItem], sha256: str | None
    ) -> WholeCheckpoint:
        """The files of all nodes, as this one gets them. `sha256`: of what was published."""
        published = self._published(sha256) if sha256 else None
        if published:
            own = next((each for each in chosen if each["rank"] == self.rank), None)
            found = published.under(self.rank, self.read(self.rank, own)) if own else published
            if found:
                return found
        return self._combined(chosen)

    def _combined(self, chosen: Sequence[RunRecordNodeCheckpointsItem]) -> WholeCheckpoint:
        from ..checkpoints.whole_checkpoint import combined

        manifests = {each["rank"]: self.read(each["rank"], each) for each in chosen}
        return combined(manifests, self.rank)

    def _published(self, sha256: str) -> WholeCheckpoint | None:
        """None where another object is in its place."""
        from ..checkpoints.whole_checkpoint import WholeCheckpoint

        data = node_bucket(self.run.spec, 0).get(self._name(), limit=MAX_MANIFEST_BYTES)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            return None
        found: Any = bounded.parse(bytes(data))
        return WholeCheckpoint(found["manifest"], found["places"])

    def _name(self) -> str:
        return "checkpoint/resume-%d.json" % self.run.record["attempt"]
