"""Restores the checkpoint that a run on several nodes resumes from, as the first node has chosen it
for all (`checkpoint_choice`). Nodes share no file system: each gets the files that all of them have
saved under one name. What attempts of different numbers of nodes
have saved is never put together: the shards of one number are no checkpoint with those of another.
"""

from __future__ import annotations

import hashlib
import json
import os

from ..checkpoints.checkpoint_source import MAX_MANIFEST_BYTES, MAX_PART_BYTES
from ..report.node_records import node_bucket
from ..system.errors import Failure
from .checkpoint_choice import before, restore_failed
from .resume_checkpoint import kept_checkpoints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection, Mapping, Sequence

    from ..checkpoints.checkpoint_restore import Manifest
    from ..system.documents import RunRecordNodeCheckpointsItem, SavedCheckpoint
    from .settled_checkpoints import SettledCheckpoints
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun


class NodeCheckpoints:
    def __init__(
        self, run: SupervisedRun, stops: StopCheck, checkpoints: SettledCheckpoints
    ) -> None:
        self.run, self.stops, self.checkpoints = run, stops, checkpoints
        node = run.spec["node"]
        assert node
        self.rank = node["rank"]

    def restore(self, chosen: Sequence[RunRecordNodeCheckpointsItem]) -> None:
        """Before an attempt that continues an earlier one: puts in place what the first node has
        chosen for all. Failed where it can't be fetched.
        """
        kept = before(kept_checkpoints(self.run.run_dir), self.run.record["attempt"])
        try:
            if chosen:
                self._restore(chosen, kept)
            elif kept:
                self._begin_anew(kept)
        except Failure as failure:
            raise restore_failed(failure)

    def _begin_anew(self, kept: Sequence[SavedCheckpoint]) -> None:
        """The others do not have what this node has saved: as they do, it begins with the
        checkpoint of another run, if there is one.
        """
        run, resume = self.run, self.checkpoints.resume_checkpoint
        run.log.say("what this node has saved is moved aside: not all nodes have it")
        self._move_aside(kept, stay=())
        run.save(restoredFrom=None)
        manifest = resume.restore_newest(resume.sources())
        if manifest:
            resume.mark_saved(manifest)

    def _restore(
        self, chosen: Sequence[RunRecordNodeCheckpointsItem], kept: Sequence[SavedCheckpoint]
    ) -> None:
        from ..checkpoints.checkpoint_restore import lacking, restore

        run = self.run
        directory = os.path.join(run.run_dir, "checkpoints")
        project = run.project_files()
        manifests = {each["rank"]: self._manifest(each["rank"], each) for each in chosen}
        manifest, places = combined(manifests, self.rank)
        own = next((each["n"] for each in chosen if each["rank"] == self.rank), 0)
        is_own = manifest == manifests.get(self.rank)
        later = [each for each in kept if each["n"] > own]
        if is_own and not later and not lacking(manifest, directory, run.account, project=project):
            return
        self._move_aside(later, stay=[each["name"] for each in manifest["names"]])
        data = json.dumps(manifest).encode()
        buckets = {rank: node_bucket(run.spec, rank) for rank in set(places.values())}

        def get_part(sha256: str) -> bytes | bytearray | None:
            self.stops.raise_if_requested()
            return buckets[places[sha256]].get("part/" + sha256, limit=MAX_PART_BYTES)

        restore(
            data,
            hashlib.sha256(data).hexdigest(),
            directory,
            get_part=get_part,
            account=run.account,
            project=project,
        )
        self.checkpoints.resume_checkpoint.mark_saved(manifest)
        unit = manifest["unit"]
        run.save(restoredFrom={"run": run.spec["id"], "n": chosen[0]["n"], "unit": unit})
        others = sorted(set(places.values()) - {self.rank})
        if others:
            names = ", ".join(map(str, others))
            run.log.say("resumes from %s, with the files that node %s saved" % (unit, names))

    def _manifest(
        self, rank: int, saved: SavedCheckpoint | RunRecordNodeCheckpointsItem
    ) -> Manifest:
        """What a node has saved."""
        from ..checkpoints.checkpoint_restore import read

        self.stops.check()
        name = "checkpoint/%d.json" % saved["n"]
        data = node_bucket(self.run.spec, rank).get(name, limit=MAX_MANIFEST_BYTES)
        if data is None:
            how = "the checkpoint %d of node %d is not in the store" % (saved["n"], rank)
            raise Failure("RESTORE_FAILED", how)
        return read(bytes(data), saved["sha256"])

    def _move_aside(self, saved: Sequence[SavedCheckpoint], *, stay: Collection[str]) -> None:
        """Moves what this node has saved aside, but for some names: not all nodes have it."""
        for each in saved:
            for name in self._manifest(self.rank, each)["names"]:
                if name["name"] not in stay:
                    self.checkpoints.move_aside(name["name"])


def combined(manifests: Mapping[int, Manifest], own: int) -> tuple[Manifest, dict[str, int]]:
    """(the files of all nodes as one checkpoint, by each part's hash the rank of the node that has
    it). Of one path, a node gets its own file, else that of the lowest rank. What can't stand
    beside the others is left out.
    """
    from ..checkpoints.checkpoint_restore import read

    order = sorted(manifests, key=lambda rank: (rank != own, rank))
    first = manifests[order[0]]
    whole = dict(first)
    places = {part: order[0] for entry in first["files"] for part in entry["parts"]}
    for rank in order[1:]:
        more = manifests[rank]
        wider = with_more(whole, more)
        data = json.dumps(wider).encode()
        try:
            read(data, hashlib.sha256(data).hexdigest())
        except Failure:
            continue
        whole = wider
        for entry in more["files"]:
            for part in entry["parts"]:
                places.setdefault(part, rank)
    used = {part for entry in whole["files"] for part in entry["parts"]}
    return whole, {part: rank for part, rank in places.items() if part in used}


def with_more(whole: Manifest, more: Manifest) -> Manifest:
    """A checkpoint with the names and files of another that it lacks."""
    kinds = {each["name"]: each["kind"] for each in whole["names"]}
    paths = {entry["path"] for entry in whole["files"]}
    names = [each for each in more["names"] if each["name"] not in kinds]
    files = [entry for entry in more["files"] if entry["path"] not in paths]
    return {**whole, "names": whole["names"] + names, "files": whole["files"] + files}
