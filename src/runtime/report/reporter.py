"""The process that makes the store equal to a run's directory, while the run lives and once more
after its end.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time

from ..run_dir import stop_request
from ..system import atomic_files, cgroup, process_group, processes
from ..system.boot_clock import boot
from ..system.crash_log import log_crash
from ..system.errors import Failure
from ..system.file_lock import held
from ..system.left_processes import Left
from . import spot_notice
from .fencing import Fenced, Superseded
from .signed_record import RecordKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

    from ..system.documents import RunSpec
    from .log_upload import LogUpload
    from .run_metrics import RunMetrics
    from .uploads import Saver


TICK_S = 0.2
# A record is written at each change of the run's state, and so often else, seconds.
HEARTBEAT_S = 10
# Between two samples of the machine, seconds.
SAMPLE_INTERVAL_S = 10
# Time limit for reading the rest of the event files after the log has been sent, seconds.
READING_TIMEOUT_S = 60
# Without a way into the store, once the run has ended, it is waited for a new form so long,
# seconds.
NEW_FORM_TIMEOUT_S = 600
# The pause after a failure of the store: it doubles up to the last, seconds.
PAUSES = (1, 30)


def fork(run_dir: str, lock: int) -> int:
    """Starts it as a child of the supervisor, which is told its number; `lock` is the supervisor's
    own and not inherited.
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
        # The machine may go down, or the unit: what can still be told is told.
        signal.signal(each, signal.SIG_IGN)


class Reporter:
    spec: RunSpec
    bucket: Fenced | None
    access_seen: int | None
    trouble: str | None
    trouble_since: float | None
    seen: dict[str, Any] | None
    log_done: float | None
    saver: Saver | None
    report: dict[str, Any]
    account: pwd.struct_passwd
    metrics: RunMetrics
    log: LogUpload

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.spec = atomic_files.read_json(os.path.join(run_dir, "plan.json"))
        self.bucket, self.access_seen = None, None
        self.trouble, self.trouble_since = None, None
        self.pause, self.due = PAUSES[0], 0.0
        self.seen, self.written, self.heartbeat = None, 0.0, 0
        self.sampled, self.measured, self.all_measured = 0.0, 0.0, False
        self.log_done = None
        self.saver = None

    def run(self) -> None:
        descriptor = os.open(
            os.path.join(self.run_dir, "report.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        from ..system.account import training_user
        from .log_upload import LogUpload
        from .run_metrics import RunMetrics

        fresh = not os.path.exists(os.path.join(self.run_dir, "report.json"))
        self.report = {"saved": False, "settled": 0, "heartbeat": 0}
        self.report.update(atomic_files.read_object(os.path.join(self.run_dir, "report.json")))
        self.heartbeat, self.fresh = self.report["heartbeat"], fresh
        self.keep()
        self.account = training_user(
            atomic_files.read_json(os.path.join(self.run_dir, "run.json"))["user"]
        )
        self.metrics = RunMetrics(
            self.run_dir,
            self.spec,
            os.path.dirname(os.path.dirname(self.run_dir)),
            account=self.account,
        )
        self.log = LogUpload(self.run_dir)
        spot_notice.watch(self.run_dir, self.spec["gracePeriod"])
        ended = None
        while True:
            record = self.record()
            if record["state"] == "ended" and ended is None:
                ended = time.monotonic()
            self.sample(ended is not None)
            try:
                self.access()
                if self.bucket is not None and time.monotonic() >= self.due:
                    done = self.upload_state(record, ended is not None)
                    self.trouble, self.trouble_since, self.pause = None, None, PAUSES[0]
                    if done:
                        if self.saver:
                            self.saver.parts.close()
                        self.keep(saved=True)
                        return
            except Superseded:
                stop_request.ask(self.run_dir, "superseded", self.spec["gracePeriod"])
                self.keep(superseded=True, trouble="another instance has resumed the run")
                return
            except Failure as failure:
                self.troubled(failure)
            if (
                ended is not None
                and self.trouble
                and time.monotonic() - max(ended, self.trouble_since or 0.0) > NEW_FORM_TIMEOUT_S
            ):
                return
            time.sleep(TICK_S)

    def record(self) -> dict[str, Any]:
        """The run's record; one whose supervisor is gone is ended here, with all that it began."""
        path = os.path.join(self.run_dir, "run.json")
        record = atomic_files.read_json(path)
        if record["state"] == "ended" or held(os.path.join(self.run_dir, "lock")):
            return record
        settle(self.run_dir)
        return atomic_files.read_json(path)

    def access(self) -> None:
        """The way into the store, as the plan names it or as it was renewed since."""
        path = os.path.join(self.run_dir, "access.json")
        try:
            changed = os.stat(path).st_mtime_ns
        except FileNotFoundError:
            changed = 0
        if changed == self.access_seen:
            return
        from ..aws.bucket import open_bucket

        access = atomic_files.read_json(path) or self.spec["store"]
        if self.bucket is None:
            if time.monotonic() < self.due:
                return
            record = atomic_files.read_json(os.path.join(self.run_dir, "run.json"))
            key = RecordKey(self.spec)
            self.bucket = Fenced(
                open_bucket(access),
                key,
                instance=record["instance"],
                attempt=record["attempt"],
                etag=self.report.get("etag"),
                version=self.report.get("version"),
                fresh=self.fresh,
            )
        else:
            self.bucket.renew(access)
        self.access_seen = changed
        self.due = 0.0

    def troubled(self, failure: Failure) -> None:
        text = failure.with_aws()
        if self.trouble is None:
            self.trouble_since = time.monotonic()
        self.trouble = text
        self.due = time.monotonic() + self.pause
        self.pause = min(PAUSES[1], self.pause * 2)
        self.keep(trouble=text)

    def keep(self, **changes: Any) -> None:
        self.report.update(changes)
        try:
            atomic_files.write_json(os.path.join(self.run_dir, "report.json"), self.report)
        except OSError:
            # A full disk: the store is told all the same.
            pass

    def sample(self, ended: bool) -> None:
        if not ended and time.monotonic() - self.sampled > SAMPLE_INTERVAL_S:
            self.sampled = time.monotonic()
            self.metrics.sample()

    def upload_state(self, record: dict[str, Any], ended: bool) -> bool:
        """Brings the store a step nearer to what is here; True where nothing is left to be done."""
        bucket, saver = self.bucket, self.saver
        assert bucket
        bucket.attempt = record["attempt"]
        bucket.make_sure()
        self.log.look(bucket, self.metrics.feed, ended)
        if self.log_done is None and ended and self.log.done:
            self.log_done = time.monotonic()
        if time.monotonic() - self.measured > SAMPLE_INTERVAL_S or (
            ended and self.log.done and not self.all_measured
        ):
            self.measured = time.monotonic()
            all_read = self.metrics.read_files(ended)
            self.all_measured = self.log_done is not None and (
                all_read or self.measured - self.log_done > READING_TIMEOUT_S
            )
            self.metrics.save(bucket)
        if saver is None:
            from .uploads import Saver

            saver = self.saver = Saver(
                self.run_dir,
                self.spec,
                bucket,
                settled=self.report["settled"],
                account=self.account,
            )
        saver.look(record, ended)
        if saver.settled != self.report["settled"]:
            self.keep(settled=saver.settled)
        finished = ended and self.log.done and self.all_measured and saver.done
        state = "saving" if ended and not finished else record["state"]
        whole = self.compose(record, bucket=bucket, saver=saver, state=state)
        shape = {
            name: value
            for name, value in whole.items()
            if name not in ("heartbeat", "log", "metrics")
        }
        if shape != self.seen or time.monotonic() - self.written > HEARTBEAT_S or finished:
            self.put(bucket, whole)
            self.seen, self.written = shape, time.monotonic()
        return finished

    def put(self, bucket: Fenced, whole: dict[str, Any]) -> None:
        self.heartbeat += 1
        # Before it is written: after a restart, no other record gets this number.
        self.keep(heartbeat=self.heartbeat)
        record: Any = dict(whole, heartbeat=self.heartbeat)
        bucket.put_record(record)
        self.keep(etag=bucket.etag, version=bucket.version, trouble=None)

    def compose(
        self, record: dict[str, Any], *, bucket: Fenced, saver: Saver, state: str
    ) -> dict[str, Any]:
        """docs/reference/formats.md, "Runs in the store"."""
        spec = self.spec
        whole = {name: record[name] for name in COPIED_FIELDS}
        whole.update({
            "v": 1,
            "caller": spec["caller"],
            "identity": spec["identity"],
            "state": state,
            "outcome": record["outcome"],
            "since": record.get("since"),
            "takenOver": record.get("takenOver"),
            "log": {
                "size": self.log.size,
                "training": record["training"],
                "truncated": record.get("truncated", False),
                "hashes": self.log.manifest(),
            },
            "metrics": self.metrics.latest(),
            "checkpoints": saver.checkpoints,
            "artifacts": saver.artifacts,
            "metadata": spec["metadata"],
            "access": bucket.way,
            "trouble": saver.trouble,
        })
        return whole


# What all that a run began has in its environment.
MARKS = {"training": "NX_EC2_RUN_ID", "exec": "NX_EC2_EXEC_ID"}

# What a record in the store takes of the run's own.
COPIED_FIELDS = (
    "id",
    "runKey",
    "project",
    "tree",
    "snapshot",
    "instance",
    "user",
    "directory",
    "exitCode",
    "signal",
    "stop",
    "failure",
    "pid",
    "createdAt",
    "startedAt",
    "endedAt",
    "attempt",
    "attempts",
    "queue",
    "resources",
    "gpus",
    "datasets",
    "restoredFrom",
    "warnings",
)


def settle(run_dir: str) -> None:
    """Ends a run whose supervisor is gone: what it began is killed, and its record says that it is
    lost.
    """
    descriptor = os.open(
        os.path.join(run_dir, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return
    try:
        path = os.path.join(run_dir, "run.json")
        record = atomic_files.read_json(path)
        if record["state"] == "ended":
            return
        mark = "%s=%s" % (MARKS[record["kind"]], record["id"])
        rebooted = record.get("boot") != boot()
        group = None if rebooted else cgroup.of_run(run_dir)
        unkilled = Left(process_group.Processes(lambda: processes.marked(mark), group).end(2.0))
        if group:
            group.remove()
        record.update(
            state="ended",
            endedAt=int(time.time() * 1000),
            outcome="lost",
            failure={
                "code": "REBOOTED" if rebooted else "SUPERVISOR_LOST",
                "exitCode": None,
                "message": "the instance was restarted"
                if rebooted
                else "its supervisor is gone: it was killed, or the instance was restarted",
            },
        )
        if unkilled:
            record["warnings"] = record.get("warnings", []) + [unkilled.unkilled()]
        atomic_files.write_json(path, record)
    finally:
        os.close(descriptor)
