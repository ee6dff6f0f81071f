"""Restores the checkpoint that a run's training resumes from."""

from __future__ import annotations

import os

from ..system import atomic_files
from ..system.errors import Failure
from .stop_check import Stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..checkpoints.checkpoint_restore import Manifest
    from ..system.documents import ResumeSource, RunSpec, SavedCheckpoint
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun

# Why a checkpoint in the store can't be restored, now or later.
UNRESTORABLE = ("ABSENT", "UNREADABLE", "CHECKPOINT_MISMATCH", "PART_MISMATCH")


class ResumeCheckpoint:
    def __init__(self, run: SupervisedRun, stops: StopCheck) -> None:
        self.run, self.stops = run, stops

    def restore(self) -> None:
        """Restores it before the first attempt on this instance: the newest of the run itself if an
        earlier attempt ran on another instance.
        """
        run = self.run
        sources = self.sources()
        previous = run.record["takenOver"]
        if previous:
            sources = own_checkpoints(run.run_dir, run.spec) or sources
            how = ": nothing was saved to resume from, so the training starts from the beginning"
            here, before = run.record["instance"], previous["from"]
            # A node that was not lost stays on its instance.
            moved = "" if here == before else " after %s" % before
            shown = (run.record["attempt"], here, moved, "" if sources else how)
            run.log.say("attempt %d, on %s%s%s" % shown)
        manifest = self.restore_newest(sources)
        if manifest and run.record["restoredFrom"]["run"] != run.spec["id"]:
            self.mark_saved(manifest)

    def sources(self) -> list[ResumeSource]:
        """The checkpoint of another run that the plan names."""
        source = self.run.spec["resumeFrom"]
        return [source] if source else []

    def restore_newest(self, sources: list[ResumeSource]) -> Manifest | None:
        """Restores the first of these checkpoints that can be. Returns its manifest; None without a
        source.
        """
        for number, source in enumerate(sources, 1):
            try:
                return self.restore_one(source)
            except Failure as failure:
                # A checkpoint that is damaged or missing in the store is skipped; one that could
                # not be fetched may still be stored.
                is_last = number == len(sources)
                if is_last or failure.detail.get("why") not in UNRESTORABLE:
                    raise
                shown = (source["n"], failure.message)
                self.run.log.say("can't resume from the checkpoint %d: %s" % shown)
        return None

    def restore_one(self, source: ResumeSource) -> Manifest:
        from ..checkpoints.checkpoint_source import restore_from

        run = self.run
        try:
            manifest = restore_from(
                source,
                run.spec["store"],
                run.run_dir,
                account=run.account,
                before=self.stops.raise_if_requested,
                project=run.project_files(),
                rank=(run.spec.get("node") or {"rank": 0})["rank"],
            )
        except Stopped:
            self.stops.check()
            raise
        unit = manifest["unit"]
        run.save(restoredFrom={"run": source["run"], "n": source["n"], "unit": unit})
        shown = (unit, source["n"], source["run"])
        run.log.say("resumes from %s, the checkpoint %d of %s" % shown)
        return manifest

    def mark_saved(self, manifest: Manifest) -> None:
        """Counts a checkpoint that another run, or another node, has saved as saved: it is uploaded
        only where the training changes it.
        """
        from ..checkpoints.checkpoints import Checkpoints

        run = self.run
        saved = Checkpoints(
            os.path.join(run.run_dir, "checkpoints"),
            run.run_dir,
            parts=None,
            bucket=None,
            keep=run.spec["checkpoints"]["keep"],
            every=run.spec["checkpoints"]["every"],
            attempt=run.record["attempt"],
            account=run.account,
        )
        saved.restored(manifest)


def own_checkpoints(run_dir: str, spec: RunSpec) -> list[ResumeSource]:
    """The checkpoints that an attempt may resume from, newest first, as a plan's `resumeFrom`."""
    return [
        {
            "run": spec["id"],
            "n": each["n"],
            "sha256": each["sha256"],
            "prefix": spec["store"]["prefix"],
            "urls": None,
            "nodes": [],
        }
        for each in reversed(kept_checkpoints(run_dir))
    ]


def kept_checkpoints(run_dir: str) -> list[SavedCheckpoint]:
    """What is saved of this run, or of this node of it, oldest first."""
    stored: dict[str, Any] = atomic_files.read_object(os.path.join(run_dir, "checkpoints.json"))
    return stored.get("kept", [])
