"""The checkpoint that a run on several nodes resumes from. Nodes share no file system: each gets
the files that all of them have saved under one name. What attempts of different numbers of nodes
have saved is never put together: the shards of one number are no checkpoint with those of another.
"""

from __future__ import annotations

import hashlib
import json
import os

from ..checkpoints.checkpoint_source import MAX_MANIFEST_BYTES, MAX_PART_BYTES
from ..report.node_records import node_path, run_prefix
from ..report.signed_record import RECORD, SigningKey
from ..system.errors import Failure
from .supervised_run import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

    from ..aws.bucket import Bucket
    from ..checkpoints.checkpoint_restore import Manifest
    from ..system.documents import RunRecord, SavedCheckpoint
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
        self.rank, self.count = node["rank"], node["count"]

    def restore(self) -> None:
        """Before an attempt that continues an earlier one: puts the newest checkpoint in place that
        all nodes have saved. Failed where it can't be fetched.
        """
        run = self.run
        try:
            records = self._records()
            kept = saved_before(records, run.record["attempt"])
            chosen = choose(kept, self._nodes_of_attempts(records[0]))
            if chosen is None:
                if kept[0]:
                    run.log.say(
                        "no checkpoint was saved by all nodes that save any: none is restored"
                    )
                return
            self._restore(chosen, kept)
        except Failure as failure:
            raise Failed(
                "RESTORE_FAILED",
                "the last checkpoint of the nodes can't be restored, and the training would start "
                "from the beginning: %s" % failure.message,
            )

    def _bucket(self, rank: int) -> Bucket:
        from ..aws import bucket

        access = self.run.spec["store"].copy()
        access["prefix"] = run_prefix(self.run.spec) + node_path(rank)
        return bucket.role_bucket(access)

    def _records(self) -> list[RunRecord]:
        """The records of all nodes, by their ranks, with those that earlier attempts had more."""
        found = [self._record(rank) for rank in range(self.count)]
        most = max(self._nodes_of_attempts(found[0]).values(), default=0)
        return found + [self._record(rank) for rank in range(self.count, most)]

    def _nodes_of_attempts(self, first: RunRecord) -> dict[int, int]:
        """How many nodes each earlier attempt had. The first node's record may not be in the store
        yet as the first node has it.
        """
        record: Mapping[str, Any] = first if self.rank else self.run.record
        # Records of older clients do not say it.
        return {each["n"]: each.get("nodes") or self.count for each in record["attempts"]}

    def _record(self, rank: int) -> RunRecord:
        self.stops.check()
        _, record = SigningKey(self.run.spec).of_node(rank).read(self._bucket(rank), RECORD)
        if record is None or record["id"] != self.run.spec["id"]:
            raise Failure("RECORD_UNVERIFIED", "the record of node %d can't be read" % rank)
        return record

    def _restore(self, chosen: Sequence[SavedCheckpoint | None], kept: Any) -> None:
        from ..checkpoints.checkpoint_restore import restore

        run = self.run
        own = chosen[self.rank] if self.rank < len(chosen) else None
        manifests = self._manifests(chosen)
        manifest, places = combined(manifests, self.rank)
        is_own = manifest == manifests.get(self.rank)
        if is_own and own is not None and own["n"] == kept[self.rank][-1]["n"]:
            # It was restored, or stands, as on one node.
            return
        self._move_later_aside(own, kept[self.rank], manifest)
        data = json.dumps(manifest).encode()
        buckets = {rank: self._bucket(rank) for rank in set(places.values())}

        def get_part(sha256: str) -> bytes | bytearray | None:
            self.stops.raise_if_requested()
            return buckets[places[sha256]].get("part/" + sha256, limit=MAX_PART_BYTES)

        restore(
            data,
            hashlib.sha256(data).hexdigest(),
            os.path.join(run.run_dir, "checkpoints"),
            get_part=get_part,
            account=run.account,
            project=run.project_files(),
        )
        self.checkpoints.resume_checkpoint.mark_saved(manifest)
        first = chosen[0]
        assert first
        unit = manifest["unit"]
        run.save(restoredFrom={"run": run.spec["id"], "n": first["n"], "unit": unit})
        others = sorted(set(places.values()) - {self.rank})
        if others:
            names = ", ".join(map(str, others))
            run.log.say("resumes from %s, with the files that node %s saved" % (unit, names))

    def _manifests(self, chosen: Sequence[SavedCheckpoint | None]) -> dict[int, Manifest]:
        """By rank, what the nodes have saved."""
        from ..checkpoints.checkpoint_restore import read

        found: dict[int, Manifest] = {}
        for rank, each in enumerate(chosen):
            if each is None:
                continue
            self.stops.check()
            name = "checkpoint/%d.json" % each["n"]
            data = self._bucket(rank).get(name, limit=MAX_MANIFEST_BYTES)
            if data is None:
                how = "the checkpoint %d of node %d is not in the store" % (each["n"], rank)
                raise Failure("RESTORE_FAILED", how)
            found[rank] = read(bytes(data), each["sha256"])
        return found

    def _move_later_aside(
        self,
        own: SavedCheckpoint | None,
        kept: Sequence[SavedCheckpoint],
        manifest: Manifest,
    ) -> None:
        """Moves what this node has saved after the chosen checkpoint: not all nodes have it."""
        later = [each for each in kept if own is None or each["n"] > own["n"]]
        stay = {each["name"] for each in manifest["names"]}
        for each in later:
            listed = self._manifests([None] * self.rank + [each])
            for name in (each["name"] for each in listed[self.rank]["names"]):
                if name not in stay:
                    self.checkpoints.move_aside(name)


def saved_before(records: Sequence[RunRecord], attempt: int) -> list[list[SavedCheckpoint]]:
    """By rank, the checkpoints that were saved in earlier attempts, oldest first."""
    return [
        [each for each in record["checkpoints"] if each["attempt"] < attempt] for record in records
    ]


def choose(
    kept: Sequence[Sequence[SavedCheckpoint]], nodes: Mapping[int, int]
) -> list[SavedCheckpoint | None] | None:
    """The newest checkpoint of the first node that each node has which has saved any, as each of
    them has it, among those of attempts with as many nodes. None: there is none. `nodes`: of each
    attempt.
    """
    for wanted in reversed(kept[0]):
        count = nodes.get(wanted["attempt"])
        alike = [
            [each for each in saved if nodes.get(each["attempt"]) == count]
            for saved in kept[:count]
        ]
        found = [newest_named(each, wanted["unit"]) for each in alike]
        if all(mine or not each for mine, each in zip(found, alike)):
            return found
    return None


def newest_named(kept: Sequence[SavedCheckpoint], unit: str) -> SavedCheckpoint | None:
    return next((each for each in reversed(kept) if each["unit"] == unit), None)


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
