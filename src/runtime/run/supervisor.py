"""The process that lasts: has the tree frozen for its run, waits its turn, sets up, trains, and writes down the end."""
import errno
import fcntl
import os
import signal
import time

from ..python_env import environment
from ..run_dir import written_files
from ..run_dir.log_writer import LogFile
from ..system import account as accounts
from ..system import atomic_files, cgroup, process_group, processes, safe_walk
from ..system.crash_log import log_crash
from ..system.daemonize import detached
from ..system.errors import Failure
from . import failure_cause, training_variables
from .child_process import CanNotStart, Child
from .resource_queue import Claims

# Between two looks whether it is a waiting run's turn, seconds.
TURN = 0.25
# How long the next attempt waits for what the last one left to be saved, seconds.
SAVING = 60
# How long it waits for the reporter to find out what the last one left half, seconds: a large upload comes first.
JUDGING = 900
NO_LIMITS = {"memory": None, "cores": None}


def spawn(home, record, part, tree, account, lock):
    """Starts the supervisor in a session of its own, holding no stream of ours. It inherits the tree's lock."""
    descriptor = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    atomic_files.write_json(os.path.join(home, "run.json"), record)
    root = os.path.dirname(os.path.dirname(home))
    with Claims(root, record["totalGpus"]) as claims:
        claims.join(record["id"], part["resources"])

    def supervise():
        try:
            Supervisor(home, record, part, tree, account, descriptor).supervise(lock)
        except BaseException:
            log_crash(home)

    detached(supervise)
    os.close(descriptor)


class Stopped(Exception):
    pass


class Failed(Exception):
    def __init__(self, code, message, exit_code=None):
        super().__init__(message)
        self.data = {"code": code, "message": message, "exitCode": exit_code}


class Supervisor:
    def __init__(self, home, record, part, tree, account, lock):
        self.home, self.record, self.tree, self.account, self.lock = home, record, tree, account, lock
        self.root = os.path.dirname(os.path.dirname(home))
        self.work = os.path.join(home, "work")
        self.project = os.path.join(self.work, part["projectRoot"])
        self.part = training_variables.expanded(part, home, self.project)
        self.deadline = None
        self.shutdown = False
        self.reporter = None
        self.mask = None
        self.log = None
        # As long as it is there, nobody removes the environment that it names.
        self.environment = None
        # The control group of what the run starts.
        self.group = None

    def save(self, **changes):
        self.record.update(changes)
        try:
            atomic_files.write_json(os.path.join(self.home, "run.json"), self.record)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or self.log is None:
                raise
            self.log.full = True
            self.log.release()
            atomic_files.write_json(os.path.join(self.home, "run.json"), self.record)

    def supervise(self, lock):
        signal.signal(signal.SIGTERM, self.on_shutdown)
        for each in (signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        process_group.adopt_orphans()
        self.log = LogFile(self.home)
        self.save(supervisor=os.getpid())
        try:
            self.freeze(lock)
            self.report()
            self.take_scope()
            self.wait_for_turn()
            self.keep_room()
            self.train()
        except Stopped:
            pass
        except Failed as failure:
            self.save(failure=failure.data)
        except Failure as failure:
            self.save(failure={"code": failure.code, "message": failure.message, "exitCode": None})
        except Exception as error:
            code = "NO_SPACE" if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) else "START_FAILED"
            self.save(failure={"code": code, "message": "%s: %s" % (type(error).__name__, error), "exitCode": None})
            log_crash(self.home)
        process_group.Descendants(self.reporter, group=self.group).end(1.0)
        if self.group:
            self.group.remove()
        self.log.close()
        self.save(state="ended", endedAt=now(), outcome=self.outcome(), truncated=self.log.lost > 0)
        # Others may wait for what it held: that is free from here on, and room is made for them.
        os.close(self.lock)
        self.make_room()

    def freeze(self, lock):
        """The tree is the run's own from here on, and is free for others again."""
        from ..sync.workdir_copy import FreezeFailed, freeze

        lock.own()
        written_files.keep_sent(self.home, self.tree.entries)
        try:
            freeze(self.tree, self.work, lock.progress)
        except FreezeFailed as failure:
            raise Failed("FREEZE_FAILED", str(failure))
        self.tree.close()
        self.tree = None
        os.close(lock.descriptor)

    def report(self):
        """Starts the process that tells the store of the run, or starts it again. A run without a store has none."""
        from ..report import reporter

        if self.part["store"] and not (self.reporter and alive(self.reporter)):
            self.reporter = reporter.fork(self.home, self.lock)

    def take_scope(self):
        from .systemd_scope import enter

        why = enter(self.record["id"], self.part["limits"])
        self.save(scope=why is None)
        self.group = cgroup.create(self.home)

    def wait_for_turn(self):
        with Claims(self.root, self.record["totalGpus"]) as claims:
            granted = claims.take(self.record["id"])
            place = None if granted is not None else claims.place(self.record["id"])
        if place:
            self.log.say("waits for %s" % ", ".join(place["holders"]))
        while granted is None:
            if self.record["queue"] != place:
                self.save(state="queued", queue=place)
            time.sleep(TURN)
            self.look_after()
            with Claims(self.root, self.record["totalGpus"]) as claims:
                granted = claims.take(self.record["id"])
                place = None if granted is not None else claims.place(self.record["id"])
        self.save(queue=None, gpus=granted)

    def look_after(self, *_):
        """To be called while waiting for something: raises where the run is to stop."""
        self.report()
        stop = self.requested_stop()
        if stop:
            self.save(stop={"reason": stop[0], "at": now()})
            raise Stopped()

    def pause(self, seconds):
        time.sleep(seconds)
        self.look_after()

    def keep_room(self):
        """Where there is little room, some is made before anything is set up."""
        from ..disk import garbage_collector

        if garbage_collector.is_short(self.root):
            self.log.say("the disk is nearly full: freeing space")
            self.make_room()

    def make_room(self):
        from ..disk import garbage_collector

        try:
            garbage_collector.make_room(self.root)
        except OSError:
            log_crash(self.home)

    def outcome(self):
        record = self.record
        if record["stop"]:
            return failure_cause.STOPPED.get(record["stop"]["reason"], "interrupted")
        if record["failure"]:
            return "setup-failed" if record["failure"]["code"] in SETUP else "failed"
        return "succeeded" if record["exitCode"] == 0 and record["signal"] is None else "failed"

    def on_shutdown(self, *_):
        self.shutdown = True

    def train(self):
        part = self.part
        self.prepare()
        variables = dict(accounts.login_environment(self.account, self.log.say), **part["env"])
        secrets = self.secrets()
        if part["timeout"]:
            from .take_over import trained

            self.deadline = time.monotonic() + part["timeout"] - trained(self.record["attempts"])
        self.fetch_data()
        command, variables = self.set_up(dict(variables, **secrets))
        # Before anything is restored: what is put back into the project counts as written by the run.
        written_files.keep_baseline(self.home, part, self.environment.has_steps())
        self.restore()
        while True:
            ours, others = training_variables.variables_of(part, self.record, self.home, self.project)
            whole = dict(dict(others, **variables), **ours)
            whole = training_variables.in_local_instance(whole)
            words = command + (part["resumeArgs"] if self.goes_on() else [])
            if not self.attempt(words, whole):
                return

    def prepare(self):
        """Makes the directories that the training writes to, those below its own by a process of its user."""
        part, output = self.part, os.path.join(self.project, self.part["outputDir"])

        def make():
            os.makedirs(output, exist_ok=True)
            for path in part["artifacts"]["numbered"]:
                try:
                    os.makedirs(os.path.join(self.project, path), exist_ok=True)
                except (FileExistsError, NotADirectoryError):
                    # A file that was sent is in its place.
                    pass
            return part["script"] is None or os.path.isfile(os.path.join(self.project, part["script"]))

        if not accounts.act(self.account, make):
            raise Failed("NO_SCRIPT", "the script %s is not among the synced files" % part["script"])
        try:
            os.close(safe_walk.open_directory(self.work, "%s/%s" % (part["projectRoot"], part["outputDir"])))
        except OSError as error:
            if error.errno not in safe_walk.GONE:
                raise
            raise Failed("PATH_BLOCKED", "the output directory %s is, or is in, a symbolic link: nothing of it could be saved" % part["outputDir"])
        checkpoints = os.path.join(self.home, "checkpoints")
        if not os.path.isdir(checkpoints):
            os.mkdir(checkpoints)
            accounts.own(checkpoints, self.account)

    def secrets(self):
        """The values that the training gets, and a mask for all that are secret."""
        found, masked = {}, [self.part["env"][name] for name in self.part["mask"] if name in self.part["env"]]
        if self.part["secrets"]:
            from .secrets import read_secrets

            found = read_secrets(self.part)
        from ..python_env.package_index import secrets as in_url

        masked += list(found.values()) + list(in_url(self.part["packageIndex"]))
        if masked:
            from .masking import Mask

            self.mask = Mask(masked)
        return found

    def fetch_data(self):
        if not self.part["datasets"]:
            return
        from ..datasets.datasets import fetch_data, link_data

        self.log.say("fetching %s" % ", ".join(each["source"] for each in self.part["datasets"]))
        self.save(state="setup")
        entries = fetch_data(self.part, self.root, account=self.account, progress=self.look_after)
        link_data(entries, self.project, self.account)
        self.save(datasets=[{name: entry[name] for name in ("source", "path", "version", "files", "bytes")} for entry in entries])

    def set_up(self, variables):
        def process(line, variables, directory, look):
            child = self.child(line, variables, directory, NO_LIMITS, "SETUP_FAILED", look)
            code = child.wait()
            self.refuse_stopped(child)
            return code

        self.environment = setup = environment.Setup(self.root, self.home, self.part, project=self.project, work=self.work, account=self.account, variables=variables)
        try:
            if setup.has_steps():
                self.save(state="setup")
            return setup.run(process, self.log.say, self.pause)
        except environment.ToolMissing as missing:
            raise Failed("TOOL_MISSING", str(missing))
        except environment.SetupFailed as failed:
            raise Failed("SETUP_FAILED", str(failed), failed.code)

    def restore(self):
        """Restores the checkpoint to resume from: the newest of the run itself if an earlier attempt ran on another instance."""
        sources, resumed = [self.part["resumeFrom"]] if self.part["resumeFrom"] else [], self.record["takenOver"]
        if resumed:
            from .take_over import own_checkpoints

            sources = own_checkpoints(self.home, self.part) or sources
            how = "" if sources else ": nothing was saved to resume from, so the training starts from the beginning"
            self.log.say("attempt %d, on %s after %s%s" % (self.record["attempt"], self.record["instance"], resumed["from"], how))
        manifest = self.restore_newest(sources)
        if manifest and self.record["restoredFrom"]["run"] != self.part["id"]:
            from ..checkpoints.checkpoints import Checkpoints

            # The store has it below the other run: it is uploaded only where the training changes it.
            policy = self.part["checkpoints"]
            directory = os.path.join(self.home, "checkpoints")
            saved = Checkpoints(directory, self.home, parts=None, bucket=None, keep=policy["keep"], every=policy["every"], attempt=self.record["attempt"], account=self.account)
            saved.restored(manifest)

    def restore_newest(self, sources):
        """The manifest of what was put in place; None where nothing was to be."""
        while sources:
            source = sources.pop(0)
            try:
                return self.restore_one(source)
            except Failure as failure:
                # A checkpoint that is damaged or gone in the store is skipped; one that could not be fetched may still be there.
                if not sources or failure.detail.get("why") not in ("ABSENT", "CHECKPOINT_MISMATCH", "PART_MISMATCH"):
                    raise
                self.log.say("can't resume from the checkpoint %d: %s" % (source["n"], failure.message))
        return None

    def restore_one(self, source):
        from ..checkpoints.checkpoint_source import restore_from

        try:
            manifest = restore_from(source, self.part["store"], self.home, account=self.account, before=self.refuse_stop, project=self.checkpoints())
        except Stopped:
            self.look_after()
            raise
        self.save(restoredFrom={"run": source["run"], "n": source["n"], "unit": manifest["unit"]})
        self.log.say("resumes from %s, the checkpoint %d of %s" % (manifest["unit"], source["n"], source["run"]))
        return manifest

    def refuse_stop(self):
        if self.requested_stop():
            raise Stopped()

    def goes_on(self):
        """Whether the training is told that it does: where there is, or may be, a checkpoint."""
        return bool(self.record["restoredFrom"]) or self.record["attempt"] > (self.part.get("nextAttempt") or {"attempt": 1})["attempt"]

    def child(self, line, variables, directory, limits, code, look=None):
        def requested_stop():
            if look:
                look()
            return self.requested_stop()

        try:
            return Child(line, variables, directory, self.account, self.log, self.mask, limits, requested_stop, self.reporter, self.group)
        except CanNotStart as error:
            raise Failed(code, str(error))

    def attempt(self, line, variables):
        """Trains once; whether it is to be tried again."""
        record, part = self.record, self.part
        started = now()
        kills = failure_cause.oom_kills()
        training_variables.write_down(self.home, self.project, variables, list(part["secrets"]) + part["mask"], self.account)
        written_down = os.stat(os.path.join(self.home, "environment.json")).st_ctime_ns
        if record["training"] is None:
            record["training"] = self.log.size
        begun = self.log.size
        child = self.child(line, variables, self.project, part["limits"], "START_FAILED")
        self.save(state="running", pid=child.pid, startedAt=record["startedAt"] or started, since=started)
        code = child.wait()
        exit_code, died = (code, None) if code >= 0 else (None, processes.name_of(-code))
        failure = failure_cause.failure_of(child, code, kills, self.log, self.home) if not child.stopped else None
        if child.left:
            self.log.say(child.left.warning())
            failure = failure or failure_cause.unfinished(child.left, code, self.home, part, written_down, self.account)
        # Interruptions are none.
        failures = 1 + sum(1 for each in record["attempts"] if each["exitCode"] is not None and not each["stopped"])
        again = (
            not child.stopped and code in part["retry"]["exitCodes"] and failures < part["retry"]["attempts"]
            and not (failure and failure["code"] == "NO_SPACE")
        )
        ended = {
            "n": record["attempt"], "instance": record["instance"], "startedAt": started, "endedAt": now(), "exitCode": exit_code, "signal": died,
            "stopped": child.stopped is not None, "cut": child.cut or failure_cause.was_out_of_memory(kills), "why": "it exited with %d" % code if again else None,
        }
        record["attempts"].append(ended)
        if not again:
            hint = failure_cause.missing_module(self.log.path, begun, part) if code and not child.stopped else None
            if hint:
                self.log.say(hint)
            warnings = [child.left.warning()] if child.left and not failure else []
            if child.unkilled:
                self.log.say(child.unkilled.unkilled())
                warnings.append(child.unkilled.unkilled())
            self.save(pid=None, exitCode=exit_code, signal=died, failure=failure, warnings=warnings)
            self.refuse_stopped(child)
            return False
        self.save(pid=None, attempt=record["attempt"] + 1)
        self.settle_checkpoints()
        self.log.say("exited with %d, attempt %d of %d begins" % (code, failures + 1, part["retry"]["attempts"]))
        return True

    def checkpoints(self):
        """Those in the project."""
        from ..checkpoints.project_checkpoints import Project

        return Project(self.home, self.part, self.account)

    def settle_checkpoints(self):
        """Before another attempt: what the last one left is saved, as far as the store takes it, and what is half is moved aside."""
        from ..checkpoints.checkpoint_restore import in_project

        last, began = self.record["attempts"][-1], time.monotonic()
        while self.part["store"]:
            self.look_after()
            report = atomic_files.read_json(os.path.join(self.home, "report.json")) or {}
            if report.get("settled", 0) >= len(self.record["attempts"]):
                break
            waited = time.monotonic() - began
            if waited > SAVING and (not last["cut"] or self.saved().get("judged") == last["n"]):
                break
            if waited > JUDGING:
                raise Failed("RESTORE_FAILED", "it is not known which checkpoints of attempt %d are complete: the reporter has not checked them" % last["n"])
            time.sleep(TURN)
        refused = self.saved().get("refused", {})
        for name in sorted(name for each in refused.values() for name in each["names"]):
            aside = os.path.join(self.home, "half", str(self.record["attempt"] - 1))
            if in_project(name):
                aside = os.path.join(aside, "project")
                if not self.checkpoints().move_aside(name, aside):
                    continue
            else:
                os.makedirs(aside, exist_ok=True)
                try:
                    os.rename(os.path.join(self.home, "checkpoints", name), os.path.join(aside, name))
                except FileNotFoundError:
                    continue
            self.log.say("the checkpoint %s may be incomplete and is not resumed from: it was moved to %s" % (name, aside))
        if refused:
            self.restore_last()

    def saved(self):
        """What the reporter has noted of the checkpoints."""
        return atomic_files.read_json(os.path.join(self.home, "checkpoints.json")) or {}

    def restore_last(self):
        """Makes the last whole set stand in the directory, from which names were moved aside. Failed where it can't be fetched: the
        training would find a part of it, or nothing, and begin anew."""
        from ..checkpoints.checkpoint_restore import lacking
        from .take_over import own_checkpoints

        directory, last = os.path.join(self.home, "checkpoints"), self.saved().get("last")
        if last and last["own"] and not lacking(last, directory, self.account, project=self.checkpoints()):
            self.log.say("the checkpoint %d is complete in its place" % self.saved()["kept"][-1]["n"])
            return
        sources = own_checkpoints(self.home, self.part) or ([self.part["resumeFrom"]] if self.part["resumeFrom"] else [])
        if not sources:
            self.log.say("no complete checkpoint was saved before: the training starts from the beginning")
        try:
            self.restore_newest(sources)
        except Failure as failure:
            raise Failed("RESTORE_FAILED", "the last complete checkpoint can't be restored, and the training would start from the beginning: %s" % failure.message)

    def refuse_stopped(self, child):
        if child.stopped:
            self.save(stop={"reason": child.stopped[0], "at": now()})
            raise Stopped()

    def requested_stop(self):
        """(reason, grace in seconds) where the run is to stop."""
        if self.shutdown:
            return "shutdown", self.part["gracePeriod"]
        stop = atomic_files.read_json(os.path.join(self.home, "stop.json"))
        if stop:
            return stop["reason"], stop["gracePeriod"]
        if self.deadline and time.monotonic() > self.deadline:
            return "timeout", self.part["gracePeriod"]
        return None


# What fails before the training has begun.
SETUP = ("SETUP_FAILED", "TOOL_MISSING", "SECRET_FAILED", "DATA_FAILED", "NO_ROLE", "CLAIM_IMPOSSIBLE", "RESTORE_FAILED")


def alive(pid):
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        try:
            os.kill(pid, 0)
            return True
        except OSError:
            return False


def now():
    return int(time.time() * 1000)
