"""What a run leaves, on its way to the store beside the log and the record: checkpoints while it trains, artifacts after it."""
import os
import threading
import traceback

from ..system import atomic_files, safe_walk
from ..system.errors import Failure
from .fencing import Superseded


class Saver:
    """Its work is done by a thread, so that a large checkpoint holds up no record. `look` is called by the reporter alone.

    `trouble`: what can not be saved, and why. `settled`: what so many attempts, which have ended, have left is saved, or was on
    another instance."""

    def __init__(self, home, part, bucket, settled=0, account=None):
        from ..checkpoints.part_upload import Parts
        from ..checkpoints.project_checkpoints import Project

        self.home, self.part, self.bucket, self.account = home, part, bucket, account
        self.parts = Parts(bucket, os.path.join(home, "parts.json"), account)
        self.project = Project(home, part, account)
        self.saved = None
        self.artifacts, self.checkpoints, self.trouble = None, (atomic_files.read_json(os.path.join(home, "checkpoints.json")) or {}).get("kept", []), None
        self.settled, self.done = settled, False
        self.thread, self.failure = None, None

    def look(self, record, ended):
        """Goes on with what is to be done; raises what the store refused."""
        if self.thread is not None and self.thread.is_alive():
            return
        self.thread = None
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        if not self.done:
            self.thread = threading.Thread(target=self._work, args=(record, ended), daemon=True)
            self.thread.start()
            # What is quick, and most of it is, is told with this very record.
            self.thread.join(0.05)

    def _work(self, record, ended):
        try:
            try:
                self._save_checkpoints(record)
            except (Failure, Superseded, OSError):
                raise
            except Exception as error:
                # A defect: another try meets it again. The artifacts do not wait for it.
                self.trouble = "checkpoints can not be saved: %s" % described(error)
            if ended:
                self._save_artifacts()
                self.done = True
        except (Failure, Superseded) as failure:
            self.failure = failure
        except OSError as error:
            self.failure = Failure("SAVE_FAILED", str(error))

    def _save_checkpoints(self, record):
        """What the attempt that goes on has left so far, or the last one that is over, once and for all.

        Before the first attempt starts, the directory holds at most what is being restored: the supervisor notes it as saved."""
        attempts = record["attempts"]
        if len(attempts) <= self.settled and not record.get("since"):
            return
        if len(attempts) > self.settled:
            last = attempts[-1]
            self._checkpoints(last["n"]).look(final=True, cut=last["cut"], ended=last["endedAt"] / 1000.0)
            self.settled = len(attempts)
        else:
            # A run that was lost has an attempt that nobody saw the end of.
            self._checkpoints(record["attempt"]).look()
        self.checkpoints = list(self.saved.kept)
        self.trouble = "; ".join("a checkpoint can not be saved: %s" % why for _, why in sorted(self.saved.unfit.items())) or None

    def _checkpoints(self, attempt):
        from ..checkpoints.checkpoints import Checkpoints

        if self.saved is None or self.saved.attempt != attempt:
            policy = self.part["checkpoints"]
            self.saved = Checkpoints(
                os.path.join(self.home, "checkpoints"), self.home, self.parts, self.bucket, policy["keep"], policy["every"], attempt,
                account=self.account, project=self.project,
            )
        return self.saved

    def _save_artifacts(self):
        from ..run_dir.written_files import Inputs
        from .artifacts import save_artifacts

        try:
            try:
                work = safe_walk.open_directory(os.path.join(self.home, "work"))
            except FileNotFoundError:
                return
            try:
                self._check_directories(work)
                self.artifacts = save_artifacts(self.part, work, Inputs(self.home), self.parts, self.bucket, account=self.account, checkpoints=self.project.paths())
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno not in safe_walk.GONE:
                    raise
                path = self.part["outputDir"]
                raise Failure("UNSAFE_PATH", "the output directory %s is, or is in, a symbolic link or a file: nothing of it is saved" % path, path=path)
            finally:
                os.close(work)
        except Failure as failure:
            if failure.code in ("UPLOAD_FAILED", "EXPIRED", "ACCESS_DENIED", "KEY_REFUSED", "NO_ROLE"):
                raise
            # What the run has left is not what may be kept: to ask again changes nothing.
            self._no_artifacts(failure)
        except (Superseded, OSError):
            raise
        except Exception as error:
            # A defect: another try meets it again.
            self._no_artifacts(Failure("SAVE_FAILED", "the artifacts can not be saved: %s" % described(error)))

    def _no_artifacts(self, failure):
        self.artifacts = {"state": "failed", "sha256": None, "files": 0, "bytes": 0, "extra": None, "error": failure.data()}

    def _check_directories(self, work):
        """OSError of GONE where the project's directory, or an output directory that is there, is not one; FileNotFoundError without a project."""
        os.close(safe_walk.open_directory(work, self.part["projectRoot"]))
        try:
            os.close(safe_walk.open_directory(work, "%s/%s" % (self.part["projectRoot"], self.part["outputDir"])))
        except FileNotFoundError:
            pass


def described(error):
    """An exception that nothing expects, in a line; its traceback goes to the reporter's log."""
    traceback.print_exc()
    return "%s: %s" % (type(error).__name__, error)
