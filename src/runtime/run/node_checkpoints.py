"""Restores the checkpoint that a run on several nodes resumes from, as the first node has chosen it
for all (`checkpoint_choice`). Nodes share no file system: each gets the files that all of them have
saved under one name. What attempts of different numbers of nodes have saved is never put together:
the shards of one number are no checkpoint with those of another.
"""

from __future__ import annotations

import hashlib
import json
import os

from ..checkpoints.checkpoint_source import MAX_PART_BYTES
from ..report.node_records import node_bucket
from ..system.errors import Failure
from .checkpoint_choice import before, restore_failed
from .node_manifests import NodeManifests
from .resume_checkpoint import kept_checkpoints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection, Sequence

    from ..checkpoints.whole_checkpoint import WholeCheckpoint
    from ..system.documents import RunRecordNodeCheckpointsItem, SavedCheckpoint
    from .node_variables import Nodes
    from .settled_checkpoints import SettledCheckpoints
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun


class NodeCheckpoints:
    def __init__(
        self, run: SupervisedRun, stops: StopCheck, checkpoints: SettledCheckpoints
    ) -> None:
        self.run, self.stops, self.checkpoints = run, stops, checkpoints
        self.manifests = NodeManifests(run, stops)
        self.rank = self.manifests.rank

    def restore(self, nodes: Nodes) -> None:
        """Before an attempt that continues an earlier one: puts in place what the first node has
        chosen for all. Failed where it can't be fetched.
        """
        chosen = nodes.checkpoints
        kept = before(kept_checkpoints(self.run.run_dir), self.run.record["attempt"])
        try:
            if chosen:
                whole = self.manifests.whole(chosen, nodes.whole_checkpoint)
                self._restore(chosen, kept, whole)
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
        self,
        chosen: Sequence[RunRecordNodeCheckpointsItem],
        kept: Sequence[SavedCheckpoint],
        whole: WholeCheckpoint,
    ) -> None:
        from ..checkpoints.checkpoint_restore import lacking, restore

        run = self.run
        directory = os.path.join(run.run_dir, "checkpoints")
        project = run.project_files()
        manifest, places = whole.manifest, whole.places
        own = next((each["n"] for each in chosen if each["rank"] == self.rank), 0)
        later = [each for each in kept if each["n"] > own]
        if (
            whole.is_own
            and not later
            and not lacking(manifest, directory, run.account, project=project)
        ):
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

    def _move_aside(self, saved: Sequence[SavedCheckpoint], *, stay: Collection[str]) -> None:
        """Moves what this node has saved aside, but for some names: not all nodes have it."""
        for each in saved:
            for name in self.manifests.read(self.rank, each)["names"]:
                if name["name"] not in stay:
                    self.checkpoints.move_aside(name["name"])
