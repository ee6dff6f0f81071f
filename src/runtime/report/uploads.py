"""Uploads the files of a run beside its log and record: checkpoints while it trains, artifacts
after its end.
"""

from __future__ import annotations

import os
import threading
import traceback

from ..system import atomic_files, safe_walk
from ..system.errors import Failure
from .fencing import Superseded
from .retries import NEW_FORM_TIMEOUT_S, Retries

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

    from ..checkpoints.checkpoints import Checkpoints
    from ..system.documents import RunRecordArtifacts, RunSpec, SavedCheckpoint
    from .fencing import Fenced


class Saver:
    """Works in a thread, so that a large checkpoint does not delay the record. Only the reporter
    calls `look`.

    `unfit`: what can not be saved, and why. `settled`: how many attempts have ended and are
    saved, or ended on another instance.
    """

    saved: Checkpoints | None
    artifacts: RunRecordArtifacts | None
    checkpoints: list[SavedCheckpoint]
    unfit: str | None
    thread: threading.Thread | None
    failure: Failure | Superseded | None

    def __init__(
        self,
        run_dir: str,
        spec: RunSpec,
        bucket: Fenced,
        *,
        settled: int = 0,
        account: pwd.struct_passwd | None = None,
    ) -> None:
        from ..checkpoints.part_upload import Parts
        from ..checkpoints.project_checkpoints import Project

        self.run_dir, self.spec, self.bucket, self.account = run_dir, spec, bucket, account
        self.parts = Parts(bucket, os.path.join(run_dir, "parts.json"), account)
        self.project = Project(run_dir, spec, account)
        self.saved = None
        self.artifacts, self.unfit = None, None
        self.retries = Retries()
        kept = atomic_files.read_object(os.path.join(run_dir, "checkpoints.json"))
        self.checkpoints = kept.get("kept", [])
        self.settled, self.done = settled, False
        self.thread, self.failure = None, None

    @property
    def unsaved(self) -> bool:
        """Whether the run has left files that can't be saved."""
        found = self.artifacts
        if found is None:
            return False
        extra = found["extra"]
        return (
            found["state"] != "saved"
            or found["unsaved"] > 0
            or (extra is not None and extra["unsaved"] > 0)
        )

    @property
    def trouble(self) -> str | None:
        """What is not saved, and why."""
        failing = self.retries.trouble
        later = [] if self.done or not failing else ["files can't be saved: %s" % failing]
        return "; ".join(later + ([self.unfit] if self.unfit else [])) or None

    def look(self, record: dict[str, Any], ended: float | None) -> None:
        """Continues the uploads, again after a failure. `ended`: since when the run has ended, by
        the monotonic clock; None: it has not.
        """
        if self.thread is not None:
            if self.thread.is_alive():
                return
            self.thread = None
            self._take_result(ended)
        if not self.done and self.retries.is_due():
            self.thread = threading.Thread(
                target=self._work, args=(record, ended is not None), daemon=True
            )
            self.thread.start()
            # Most uploads are quick: the next record has their result already.
            self.thread.join(0.05)

    def _take_result(self, ended: float | None) -> None:
        """Raises Superseded. Gives up what the store refuses for too long after the run's end: it
        is on the instance alone.
        """
        failure, self.failure = self.failure, None
        if failure is None:
            self.retries.succeeded()
            return
        if isinstance(failure, Superseded):
            raise failure
        self.retries.failed(failure)
        if ended is not None and self.retries.have_failed_for(NEW_FORM_TIMEOUT_S, ended):
            self._no_artifacts(failure)
            self.done = True

    def _work(self, record: dict[str, Any], ended: bool) -> None:
        try:
            try:
                self._save_checkpoints(record)
            except (Failure, Superseded, OSError):
                raise
            except Exception as error:
                # A defect: another try meets it again. The artifacts do not wait for it.
                self.unfit = "checkpoints can't be saved: %s" % described(error)
            if ended:
                self._save_artifacts()
                self.done = True
        except (Failure, Superseded) as failure:
            self.failure = failure
        except OSError as error:
            self.failure = Failure("SAVE_FAILED", str(error))

    def _save_checkpoints(self, record: dict[str, Any]) -> None:
        """Saves the checkpoints of the active attempt so far, or finally those of the last one that
        has ended.

        Before the first attempt starts, the directory holds at most a restored checkpoint, which
        the supervisor marks as saved.
        """
        attempts = record["attempts"]
        if len(attempts) <= self.settled and (not record.get("since") or is_before_attempt(record)):
            return
        if len(attempts) > self.settled:
            last = attempts[-1]
            saved = self._checkpoints(last["n"])
            saved.look(final=True, cut=last["cut"], ended=last["endedAt"] / 1000.0)
            self.settled = len(attempts)
        else:
            # The last attempt of a lost run has no recorded end.
            saved = self._checkpoints(record["attempt"])
            saved.look()
        self.checkpoints = list(saved.kept)
        unfit = ["a checkpoint can't be saved: %s" % why for _, why in sorted(saved.unfit.items())]
        self.unfit = "; ".join(unfit) or None

    def _checkpoints(self, attempt: int) -> Checkpoints:
        from ..checkpoints.checkpoints import Checkpoints

        if self.saved is None or self.saved.attempt != attempt:
            policy = self.spec["checkpoints"]
            self.saved = Checkpoints(
                os.path.join(self.run_dir, "checkpoints"),
                self.run_dir,
                parts=self.parts,
                bucket=self.bucket,
                keep=policy["keep"],
                several=bool(self.spec.get("node")),
                every=policy["every"],
                attempt=attempt,
                account=self.account,
                project=self.project,
            )
        return self.saved

    def _save_artifacts(self) -> None:
        from ..run_dir.written_files import Inputs
        from .artifacts import save_artifacts

        try:
            try:
                work = safe_walk.open_directory(os.path.join(self.run_dir, "work"))
            except FileNotFoundError:
                return
            try:
                self._check_directories(work)
                self.artifacts = save_artifacts(
                    self.spec,
                    work,
                    Inputs(self.run_dir),
                    parts=self.parts,
                    bucket=self.bucket,
                    account=self.account,
                    checkpoints=self.project.paths(),
                )
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno not in safe_walk.GONE:
                    raise
                path = self.spec["outputDir"]
                raise Failure(
                    "UNSAFE_PATH",
                    "the output directory %s is, or is in, a symbolic link or a file: "
                    "nothing of it is saved" % path,
                    path=path,
                )
            finally:
                os.close(work)
        except Failure as failure:
            if failure.code in (
                "UPLOAD_FAILED",
                "FETCH_FAILED",
                "CHANGED",
                "EXPIRED",
                "ACCESS_DENIED",
                "KEY_REFUSED",
                "NO_ROLE",
            ):
                raise
            # What the run has left is not what may be kept: to ask again changes nothing.
            self._no_artifacts(failure)
        except (Superseded, OSError):
            raise
        except Exception as error:
            # A defect: another try meets it again.
            self._no_artifacts(
                Failure("SAVE_FAILED", "the artifacts can't be saved: %s" % described(error))
            )

    def _no_artifacts(self, failure: Failure) -> None:
        self.artifacts = {
            "state": "failed",
            "sha256": None,
            "files": 0,
            "bytes": 0,
            "unsaved": 0,
            "extra": None,
            "error": {
                "code": failure.code,
                "message": failure.with_aws(),
                "detail": failure.detail,
            },
        }

    def _check_directories(self, work: int) -> None:
        """OSError of GONE where the project's directory, or an output directory that is there, is
        not one; FileNotFoundError without a project.
        """
        os.close(safe_walk.open_directory(work, self.spec["projectRoot"]))
        try:
            path = "%s/%s" % (self.spec["projectRoot"], self.spec["outputDir"])
            os.close(safe_walk.open_directory(work, path))
        except FileNotFoundError:
            pass


def is_before_attempt(record: dict[str, Any]) -> bool:
    """Whether a node of a run on several may still be restoring a checkpoint of the others, which
    its supervisor then marks as saved.
    """
    node: dict[str, Any] | None = record.get("node")
    return node is not None and node["phase"] in ("preparing", "ready")


def described(error: Exception) -> str:
    """An exception that nothing expects, in a line; its traceback goes to the reporter's log."""
    traceback.print_exc()
    return "%s: %s" % (type(error).__name__, error)
