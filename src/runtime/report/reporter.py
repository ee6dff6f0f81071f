"""The process that makes the store equal to a run's directory, while the run lives and once more after its end."""
import fcntl
import os
import signal
import time

from ..run_dir import stop_request
from ..system import atomic_files, cgroup, process_group, processes
from ..system.boot_clock import boot
from ..system.crash_log import note
from ..system.errors import Failure
from ..system.file_lock import held
from ..system.left_processes import Left
from . import spot_notice
from .fencing import Fenced, Superseded
from .signed_record import RecordKey

TICK = 0.2
# A record is written at each change of the run's state, and so often else, seconds.
BEAT = 10
# Between two samples of the machine, seconds.
SAMPLE = 10
# Time limit for reading the rest of the event files after the log has been sent, seconds.
READING = 60
# Without a way into the store, once the run has ended, it is waited for a new form so long, seconds.
PATIENCE = 600
# The pause after a failure of the store: it doubles up to the last, seconds.
PAUSES = (1, 30)


def fork(home, lock):
    """Starts it as a child of the supervisor, which is told its number; `lock` is the supervisor's own and not inherited."""
    child = os.fork()
    if child:
        return child
    try:
        os.close(lock)
        begin()
        Reporter(home).run()
    except BaseException:
        note(home)
    finally:
        os._exit(0)


def start(home):
    """Starts it from a command, where the run has none."""
    from ..system.daemonize import detached

    def work():
        begin()
        Reporter(home).run()

    if not held(os.path.join(home, "report.lock")):
        detached(work)


def begin():
    os.setsid() if os.getsid(0) != os.getpid() else None
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # The machine may go down, or the unit: what can still be told is told.
        signal.signal(each, signal.SIG_IGN)


class Reporter:
    def __init__(self, home):
        self.home = home
        self.part = atomic_files.read_json(os.path.join(home, "plan.json"))
        self.bucket, self.access_seen = None, None
        self.trouble, self.trouble_since = None, None
        self.pause, self.due = PAUSES[0], 0.0
        self.seen, self.written, self.heartbeat = None, 0.0, 0
        self.sampled, self.measured, self.all_measured = 0.0, 0.0, False
        self.log_done = None
        self.saver = None

    def run(self):
        descriptor = os.open(os.path.join(self.home, "report.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        from ..system.account import training_user
        from .log_upload import LogUpload
        from .run_metrics import RunMetrics

        fresh = not os.path.exists(os.path.join(self.home, "report.json"))
        self.report = dict({"saved": False, "settled": 0, "heartbeat": 0}, **(atomic_files.read_json(os.path.join(self.home, "report.json")) or {}))
        self.heartbeat, self.fresh = self.report["heartbeat"], fresh
        self.keep()
        self.account = training_user(atomic_files.read_json(os.path.join(self.home, "run.json"))["user"])
        self.metrics = RunMetrics(self.home, self.part, os.path.dirname(os.path.dirname(self.home)), self.account)
        self.log = LogUpload(self.home)
        spot_notice.watch(self.home, self.part["gracePeriod"])
        ended = None
        while True:
            record = self.record()
            if record["state"] == "ended" and ended is None:
                ended = time.monotonic()
            self.sample(ended is not None)
            try:
                self.access()
                if self.bucket is not None and time.monotonic() >= self.due:
                    done = self.tell(record, ended is not None)
                    self.trouble, self.trouble_since, self.pause = None, None, PAUSES[0]
                    if done:
                        self.saver.parts.close()
                        self.keep(saved=True)
                        return
            except Superseded:
                stop_request.ask(self.home, "superseded", self.part["gracePeriod"])
                self.keep(superseded=True, trouble="another instance has resumed the run")
                return
            except Failure as failure:
                self.troubled(failure)
            if ended is not None and self.trouble and time.monotonic() - max(ended, self.trouble_since) > PATIENCE:
                return
            time.sleep(TICK)

    def record(self):
        """The run's record; one whose supervisor is gone is ended here, with all that it began."""
        path = os.path.join(self.home, "run.json")
        record = atomic_files.read_json(path)
        if record["state"] == "ended" or held(os.path.join(self.home, "lock")):
            return record
        settle(self.home)
        return atomic_files.read_json(path)

    def access(self):
        """The way into the store, as the plan names it or as it was renewed since."""
        path = os.path.join(self.home, "access.json")
        try:
            changed = os.stat(path).st_mtime_ns
        except FileNotFoundError:
            changed = 0
        if changed == self.access_seen:
            return
        from ..aws.bucket import open_bucket

        access = atomic_files.read_json(path) or self.part["store"]
        if self.bucket is None:
            if time.monotonic() < self.due:
                return
            record = atomic_files.read_json(os.path.join(self.home, "run.json"))
            key = RecordKey(self.part)
            etag, version = self.report.get("etag"), self.report.get("version")
            self.bucket = Fenced(open_bucket(access), key, record["instance"], record["attempt"], etag, version, self.fresh)
        else:
            self.bucket.renew(access)
        self.access_seen = changed
        self.due = 0.0

    def troubled(self, failure):
        text = failure.with_aws()
        if self.trouble is None:
            self.trouble_since = time.monotonic()
        self.trouble = text
        self.due = time.monotonic() + self.pause
        self.pause = min(PAUSES[1], self.pause * 2)
        self.keep(trouble=text)

    def keep(self, **changes):
        self.report.update(changes)
        try:
            atomic_files.write_json(os.path.join(self.home, "report.json"), self.report)
        except OSError:
            # A full disk: the store is told all the same.
            pass

    def sample(self, ended):
        if not ended and time.monotonic() - self.sampled > SAMPLE:
            self.sampled = time.monotonic()
            self.metrics.sample()

    def tell(self, record, ended):
        """Brings the store a step nearer to what is here; True where nothing is left to be done."""
        self.bucket.attempt = record["attempt"]
        self.bucket.make_sure()
        self.log.look(self.bucket, self.metrics.feed, ended)
        if self.log_done is None and ended and self.log.done:
            self.log_done = time.monotonic()
        if time.monotonic() - self.measured > SAMPLE or (ended and self.log.done and not self.all_measured):
            self.measured = time.monotonic()
            all_read = self.metrics.read_files(ended)
            self.all_measured = self.log_done is not None and (all_read or self.measured - self.log_done > READING)
            self.metrics.save(self.bucket)
        if self.saver is None:
            from .uploads import Saver

            self.saver = Saver(self.home, self.part, self.bucket, self.report["settled"], self.account)
        self.saver.look(record, ended)
        if self.saver.settled != self.report["settled"]:
            self.keep(settled=self.saver.settled)
        finished = ended and self.log.done and self.all_measured and self.saver.done
        whole = self.compose(record, ended, finished)
        shape = {name: value for name, value in whole.items() if name not in ("heartbeat", "log", "metrics")}
        if shape != self.seen or time.monotonic() - self.written > BEAT or finished:
            self.put(whole)
            self.seen, self.written = shape, time.monotonic()
        return finished

    def put(self, whole):
        self.heartbeat += 1
        # Before it is written: after a restart, no other record gets this number.
        self.keep(heartbeat=self.heartbeat)
        self.bucket.put_record(dict(whole, heartbeat=self.heartbeat))
        self.keep(etag=self.bucket.etag, version=self.bucket.version, trouble=None)

    def compose(self, record, ended, finished):
        """docs/reference/formats.md, "Runs in the store"."""
        part = self.part
        state = record["state"] if not ended or finished else "saving"
        whole = {name: record[name] for name in TAKEN}
        whole.update({
            "v": 1, "caller": part["caller"], "identity": part["identity"], "state": state, "outcome": record["outcome"], "since": record.get("since"), "takenOver": record.get("takenOver"),
            "log": {"size": self.log.size, "training": record["training"], "truncated": record.get("truncated", False), "hashes": self.log.manifest()},
            "metrics": self.metrics.latest(), "checkpoints": self.saver.checkpoints, "artifacts": self.saver.artifacts,
            "metadata": part["metadata"], "access": self.bucket.way, "trouble": self.saver.trouble,
        })
        return whole


# What all that a run began has in its environment.
MARKS = {"training": "NX_EC2_RUN_ID", "exec": "NX_EC2_EXEC_ID"}

# What a record in the store takes of the run's own.
TAKEN = (
    "id", "runKey", "project", "tree", "snapshot", "instance", "user", "directory", "exitCode", "signal", "stop", "failure", "pid",
    "createdAt", "startedAt", "endedAt", "attempt", "attempts", "queue", "resources", "gpus", "datasets", "restoredFrom", "warnings",
)


def settle(home):
    """Ends a run whose supervisor is gone: what it began is killed, and its record says that it is lost."""
    descriptor = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return
    try:
        path = os.path.join(home, "run.json")
        record = atomic_files.read_json(path)
        if record["state"] == "ended":
            return
        mark = "%s=%s" % (MARKS[record["kind"]], record["id"])
        rebooted = record.get("boot") != boot()
        group = None if rebooted else cgroup.of_run(home)
        unkilled = Left(process_group.Processes(lambda: processes.marked(mark), group).end(2.0))
        if group:
            group.remove()
        record.update(
            state="ended", endedAt=int(time.time() * 1000), outcome="lost",
            failure={
                "code": "REBOOTED" if rebooted else "SUPERVISOR_LOST", "exitCode": None,
                "message": "the instance was restarted" if rebooted else "its supervisor is gone: it was killed, or the instance was restarted",
            },
        )
        if unkilled:
            record["warnings"] = record.get("warnings", []) + [unkilled.unkilled()]
        atomic_files.write_json(path, record)
    finally:
        os.close(descriptor)
