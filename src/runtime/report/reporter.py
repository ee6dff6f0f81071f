"""The process that makes the store equal to a run's directory, while the run lives and once more
after its end.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time

from ..run_dir import stop_request
from ..system import atomic_files
from ..system.crash_log import log_crash
from ..system.errors import Failure
from ..system.file_lock import held
from ..system.wall_clock import now_ms
from . import node_records, spot_notice
from .fencing import Superseded
from .held_turn import HeldTurn
from .lost_run import end_lost_run
from .other_ends import OtherEnds
from .record_upload import RecordUpload
from .report_file import ReportFile
from .retries import NEW_FORM_TIMEOUT_S
from .store_connection import StoreConnection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..system.documents import RunSpec
    from .fencing import Fenced
    from .uploads import Saver


# Between two rounds, each of which uploads what is due.
TICK_S = 0.2
# Between two samples of the machine, and between two uploads of the metrics.
SAMPLE_INTERVAL_S = 10
# Time limit for reading the rest of the event files after the log has been uploaded.
READING_TIMEOUT_S = 60


def fork(run_dir: str, lock: int) -> int:
    """Starts it as a child of the supervisor, and returns its process id. `lock` is the
    supervisor's own and not inherited.
    """
    child = os.fork()
    if child:
        return child
    try:
        os.close(lock)
        begin()
        Reporter(run_dir).run()
    except BaseException:
        log_crash(run_dir)
    finally:
        os._exit(0)


def start(run_dir: str) -> None:
    """Starts it from a command, where the run has none."""
    from ..system.daemonize import detached

    def work() -> None:
        begin()
        Reporter(run_dir).run()

    if not held(os.path.join(run_dir, "report.lock")):
        detached(work)


def begin() -> None:
    if os.getsid(0) != os.getpid():
        os.setsid()
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # The machine may go down, or the unit: what can still be uploaded is uploaded.
        signal.signal(each, signal.SIG_IGN)


def lock_report(run_dir: str) -> bool:
    """Locks the run's report for as long as this process lives; False where another process has."""
    descriptor = os.open(
        os.path.join(run_dir, "report.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class Reporter:
    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.spec: RunSpec = atomic_files.read_json(os.path.join(run_dir, "plan.json"))
        # When the run's end, and the end of its log's upload, was seen.
        self.ended: float | None = None
        self.log_done: float | None = None
        self.sampled = self.measured = 0.0
        self.all_measured = False
        self.saver: Saver | None = None
        self.others = OtherEnds(run_dir, self.spec)

    def run(self) -> None:
        """Uploads until the run has ended and all of it is saved, another instance has taken it
        over, or the store has refused it for too long. Returns at once if the run has a reporter.
        """
        if not lock_report(self.run_dir):
            return
        self._open()
        spot_notice.watch(self.run_dir, self.spec["gracePeriod"])
        while True:
            record = self._read_record()
            if record["state"] == "ended" and self.ended is None:
                self.ended = time.monotonic()
            self._sample()
            try:
                if self._upload(record):
                    return
            except Superseded:
                stop_request.ask(self.run_dir, "superseded", self.spec["gracePeriod"])
                self.report.save(superseded=True, trouble="another instance has resumed the run")
                return
            except Failure as failure:
                self.store.failed(failure)
            if self._is_refused_for_good():
                self.report.save(gaveUp=now_ms())
                return
            time.sleep(TICK_S)

    def _open(self) -> None:
        from ..system.account import training_user
        from .log_upload import LogUpload
        from .run_metrics import RunMetrics

        self.report = ReportFile(self.run_dir)
        self.report.save(gaveUp=None)
        self.store = StoreConnection(self.run_dir, self.spec, self.report)
        user = atomic_files.read_json(os.path.join(self.run_dir, "run.json"))["user"]
        self.account = training_user(user)
        self.metrics = RunMetrics(
            self.run_dir,
            self.spec,
            os.path.dirname(os.path.dirname(self.run_dir)),
            account=self.account,
        )
        self.held_turn = HeldTurn(self.run_dir, self.report)
        self.log = LogUpload(self.run_dir)
        self.nodes = node_records.watch(self.run_dir, self.spec)
        self.record = RecordUpload(
            self.spec, self.report, log=self.log, metrics=self.metrics, nodes=self.nodes
        )

    def _read_record(self) -> dict[str, Any]:
        """The run's record. Ends a run whose supervisor is gone."""
        path = os.path.join(self.run_dir, "run.json")
        record = atomic_files.read_json(path)
        if record["state"] == "ended" or held(os.path.join(self.run_dir, "lock")):
            return record
        end_lost_run(self.run_dir)
        return atomic_files.read_json(path)

    def _sample(self) -> None:
        if self.ended is None and time.monotonic() - self.sampled > SAMPLE_INTERVAL_S:
            self.sampled = time.monotonic()
            self.metrics.sample()
            self.metrics.warn(self.nodes.link_warning() if self.nodes else None)

    def _upload(self, record: dict[str, Any]) -> bool:
        """Uploads what is due. Returns whether all of the run is saved. @raises Failure"""
        store = self.store
        store.refresh()
        if store.bucket is None or not store.is_due():
            return False
        is_finished = self._upload_state(store.bucket, record)
        store.succeeded()
        if is_finished:
            assert self.saver
            self.saver.parts.close()
            self.report.save(saved=True, unsaved=self.saver.unsaved)
        return is_finished

    def _upload_state(self, bucket: Fenced, record: dict[str, Any]) -> bool:
        has_ended = self.ended is not None
        bucket.attempt = record["attempt"]
        saver = self._saver_of(bucket)
        state = "saving" if has_ended else record["state"]

        def write() -> int:
            self.record.upload(record, state, bucket=bucket, saver=saver, at_once=True)
            return self.record.heartbeat

        if self.held_turn.serve(bucket, write, has_ended):
            return False
        bucket.make_sure()
        if bucket.must_claim():
            write()
        self.log.look(bucket, self.metrics.feed, has_ended)
        if self.log_done is None and has_ended and self.log.done:
            self.log_done = time.monotonic()
        self._upload_metrics(bucket)
        self._save_files(saver, record)
        others_saved = has_ended and self.others.have_saved(record)
        is_finished = others_saved and self.log.done and self.all_measured and saver.done
        state = "saving" if has_ended and not is_finished else record["state"]
        self.record.upload(record, state, bucket=bucket, saver=saver, at_once=is_finished)
        return is_finished

    def _upload_metrics(self, bucket: Fenced) -> None:
        has_ended = self.ended is not None
        is_due = time.monotonic() - self.measured > SAMPLE_INTERVAL_S
        if not is_due and not (has_ended and self.log.done and not self.all_measured):
            return
        self.measured = time.monotonic()
        all_read = self.metrics.read_files(has_ended)
        self.all_measured = self.log_done is not None and (
            all_read or self.measured - self.log_done > READING_TIMEOUT_S
        )
        self.metrics.save(bucket)

    def _saver_of(self, bucket: Fenced) -> Saver:
        if self.saver is None:
            from .uploads import Saver

            self.saver = Saver(
                self.run_dir,
                self.spec,
                bucket,
                settled=self.report.values["settled"],
                account=self.account,
            )
        return self.saver

    def _save_files(self, saver: Saver, record: dict[str, Any]) -> None:
        """Has a thread save the checkpoints and artifacts."""
        saver.look(record, self.ended)
        if saver.settled != self.report.values["settled"]:
            self.report.save(settled=saver.settled)

    def _is_refused_for_good(self) -> bool:
        """Whether the store has refused a run that has ended for so long that it is given up."""
        return self.ended is not None and self.store.have_failed_for(NEW_FORM_TIMEOUT_S, self.ended)
