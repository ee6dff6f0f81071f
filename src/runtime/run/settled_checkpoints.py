"""Between two attempts of a run: has the checkpoints of the last one saved, and the incomplete ones
moved aside.
"""

from __future__ import annotations

import os
import time

from ..system import atomic_files
from ..system.errors import Failure
from .resume_checkpoint import own_checkpoints
from .supervised_run import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .resume_checkpoint import ResumeCheckpoint
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun

# How long the next attempt waits until what the last one left is saved.
SAVED_TIMEOUT_S = 60
# How long it waits for the reporter to find out which files of the last one are incomplete: a large
# upload comes first.
JUDGED_TIMEOUT_S = 900
# Between two looks at what the reporter has saved.
REPORT_POLL_S = 0.25


class SettledCheckpoints:
    def __init__(
        self, run: SupervisedRun, stops: StopCheck, resume_checkpoint: ResumeCheckpoint
    ) -> None:
        self.run, self.stops, self.resume_checkpoint = run, stops, resume_checkpoint

    def settle(self) -> None:
        """Waits until what the last attempt left is saved, as far as the store takes it, and moves
        aside what is incomplete.
        """
        self._wait_for_reporter()
        refused = self._saved().get("refused", {})
        for name in sorted(name for each in refused.values() for name in each["names"]):
            aside = self.move_aside(name)
            if aside:
                self.run.log.say(
                    "the checkpoint %s may be incomplete and is not resumed from: it was moved to "
                    "%s" % (name, aside)
                )
        if refused:
            self.restore_last()

    def restore_last(self) -> None:
        """Restores the last complete checkpoint, after files were moved aside. Failed where it
        can't be fetched: the training would find a part of it, or nothing, and start from the
        beginning.
        """
        from ..checkpoints.checkpoint_restore import lacking

        run = self.run
        directory = os.path.join(run.run_dir, "checkpoints")
        saved = self._saved()
        last = saved.get("last")
        if last and last["own"]:
            project = run.project_files()
            if not lacking(last, directory, run.account, project=project):
                number = saved["kept"][-1]["n"]
                run.log.say("the checkpoint %d is complete in its place" % number)
                return
        sources = own_checkpoints(run.run_dir, run.spec) or self.resume_checkpoint.sources()
        if not sources:
            how = "no complete checkpoint was saved before: the training starts from the beginning"
            run.log.say(how)
        try:
            self.resume_checkpoint.restore_newest(sources)
        except Failure as failure:
            raise Failed(
                "RESTORE_FAILED",
                "the last complete checkpoint can't be restored, and the training would start "
                "from the beginning: %s" % failure.message,
            )

    def _wait_for_reporter(self) -> None:
        """Waits until the reporter has saved, or at least checked, the checkpoints of the last
        attempt.
        """
        run = self.run
        last, started = run.record["attempts"][-1], time.monotonic()
        while run.spec["store"]:
            self.stops.check()
            path = os.path.join(run.run_dir, "report.json")
            report: dict[str, Any] = atomic_files.read_json(path) or {}
            if report.get("settled", 0) >= len(run.record["attempts"]):
                return
            waited_s = time.monotonic() - started
            if waited_s > SAVED_TIMEOUT_S:
                is_judged = self._saved().get("judged") == last["n"]
                if is_judged or not last["cut"]:
                    return
            if waited_s > JUDGED_TIMEOUT_S:
                raise Failed(
                    "RESTORE_FAILED",
                    "it is not known which checkpoints of attempt %d are complete: the reporter "
                    "has not checked them" % last["n"],
                )
            time.sleep(REPORT_POLL_S)

    def move_aside(self, name: str) -> str | None:
        """Moves a checkpoint of the last attempt aside. Returns where to; None if it is gone."""
        from ..checkpoints.checkpoint_restore import in_project

        run = self.run
        aside = os.path.join(run.run_dir, "half", str(run.record["attempt"] - 1))
        if in_project(name):
            aside = os.path.join(aside, "project")
            return aside if run.project_files().move_aside(name, aside) else None
        os.makedirs(aside, exist_ok=True)
        try:
            origin = os.path.join(run.run_dir, "checkpoints", name)
            os.rename(origin, os.path.join(aside, name))
        except FileNotFoundError:
            return None
        return aside

    def _saved(self) -> dict[str, Any]:
        """What the reporter has recorded of the checkpoints."""
        return atomic_files.read_json(os.path.join(self.run.run_dir, "checkpoints.json")) or {}
