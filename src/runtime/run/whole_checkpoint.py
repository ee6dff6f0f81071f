"""The checkpoint that all nodes of a run on several resume from, as one: with the files of each.
The first node puts it together for the others, which read that and what they have saved themselves
instead of what each node has.
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
    from typing import Any, Mapping, Sequence

    from ..checkpoints.checkpoint_restore import Manifest
    from ..system.documents import RunRecordNodeCheckpointsItem, SavedCheckpoint
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun


class WholeCheckpoint:
    """`places`: by each part's hash the rank of the node that has it. `own`: what the node that
    restores it has of it.
    """

    def __init__(
        self, manifest: Manifest, places: dict[str, int], *, own: Manifest | None = None
    ) -> None:
        self.manifest, self.places, self.own = manifest, places, own

    @property
    def is_own(self) -> bool:
        """Whether the node has all of it."""
        return self.manifest == self.own

    def under(self, rank: int, own: Manifest) -> WholeCheckpoint | None:
        """It as the node of a rank gets it: of one path its own file. None where this node's files
        can't stand beside the others.
        """
        wider = with_more(own, self.manifest)
        if not is_valid(wider):
            return None
        places = dict.fromkeys(parts_of(own), rank)
        return WholeCheckpoint(wider, used({**self.places, **places}, wider), own=own)


def combined(manifests: Mapping[int, Manifest], own: int) -> WholeCheckpoint:
    """The files of all nodes as one checkpoint. Of one path, a node gets its own file, else that of
    the lowest rank. What can't stand beside the others is left out.
    """
    order = sorted(manifests, key=lambda rank: (rank != own, rank))
    whole = manifests[order[0]]
    places = dict.fromkeys(parts_of(whole), order[0])
    for rank in order[1:]:
        wider = with_more(whole, manifests[rank])
        if is_valid(wider):
            whole = wider
            for part in parts_of(manifests[rank]):
                places.setdefault(part, rank)
    return WholeCheckpoint(whole, used(places, whole), own=manifests.get(own))


def with_more(whole: Manifest, more: Manifest) -> Manifest:
    """A checkpoint with the names and files of another that it lacks."""
    kinds = {each["name"]: each["kind"] for each in whole["names"]}
    paths = {entry["path"] for entry in whole["files"]}
    names = [each for each in more["names"] if each["name"] not in kinds]
    files = [entry for entry in more["files"] if entry["path"] not in paths]
    return {**whole, "names": whole["names"] + names, "files": whole["files"] + files}


def is_valid(manifest: Manifest) -> bool:
    from ..checkpoints.checkpoint_restore import read

    data = json.dumps(manifest).encode()
    try:
        read(data, hashlib.sha256(data).hexdigest())
    except Failure:
        return False
    return True


def parts_of(manifest: Manifest) -> list[str]:
    return [part for entry in manifest["files"] for part in entry["parts"]]


def used(places: Mapping[str, int], manifest: Manifest) -> dict[str, int]:
    return {part: places[part] for part in parts_of(manifest)}


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
        manifests = {each["rank"]: self.read(each["rank"], each) for each in chosen}
        return combined(manifests, self.rank)

    def _published(self, sha256: str) -> WholeCheckpoint | None:
        """None where another object is in its place."""
        data = node_bucket(self.run.spec, 0).get(self._name(), limit=MAX_MANIFEST_BYTES)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            return None
        found: Any = bounded.parse(bytes(data))
        return WholeCheckpoint(found["manifest"], found["places"])

    def _name(self) -> str:
        return "resume/%d.json" % self.run.record["attempt"]
