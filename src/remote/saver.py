"""What a run leaves, on its way to the store beside the log and the record: checkpoints while it trains, artifacts after it."""
import os
import threading

from . import files
from .failure import Failure


class Saver:
    """Its work is done by a thread, so that a large checkpoint holds up no record. `look` is called by the reporter alone.

    `settled`: what so many attempts, which have ended, have left is saved."""

    def __init__(self, home, part, bucket):
        from .checkpoints import Checkpoints
        from .parts import Parts

        self.home, self.part, self.bucket = home, part, bucket
        self.project = os.path.join(home, "work", part["projectRoot"])
        self.parts = Parts(bucket, os.path.join(home, "parts.json"))
        wish = part["checkpoints"]
        self.saved = Checkpoints(os.path.join(home, "checkpoints"), home, self.parts, bucket, wish["keep"], wish["every"])
        self.artifacts, self.checkpoints, self.trouble = None, list(self.saved.kept), None
        self.settled, self.done = 0, False
        self.thread, self.failure = None, None

    def look(self, record, ended):
        """Goes on with what is to be done; raises what the store refused."""
        if self.thread is not None and self.thread.is_alive():
            return
        self.thread = None
        self.checkpoints = list(self.saved.kept)
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
            over = len(record["attempts"])
            if ended or over > self.settled:
                died = record["stop"] is not None or (over and record["attempts"][-1]["signal"] is not None)
                self.saved.look(max(1, over), final=True, died=bool(died))
                self.settled = over
            else:
                self.saved.look(record["attempt"])
            self.checkpoints = list(self.saved.kept)
            if ended:
                self._save_artifacts()
                self.done = True
        except Failure as failure:
            self.failure = failure
        except OSError as error:
            self.failure = Failure("SAVE_FAILED", str(error))

    def _save_artifacts(self):
        from .artifacts import save_artifacts

        if not os.path.isdir(os.path.join(self.project, self.part["outputDir"])):
            return
        try:
            self.artifacts = dict(save_artifacts(self.part, self.project, self.parts, self.bucket), error=None)
        except Failure as failure:
            if failure.code in ("UPLOAD_FAILED", "EXPIRED", "ACCESS_DENIED", "NO_ROLE"):
                raise
            # What the run has left is not what may be kept: to ask again changes nothing.
            self.artifacts = {"state": "failed", "sha256": None, "files": 0, "bytes": 0, "error": failure.data()}
