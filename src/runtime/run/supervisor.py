"""The process that lasts as long as a run: copies the tree for it, waits for its turn, sets up its
environment, trains, and records the end.
"""

from __future__ import annotations

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
from ..system.wall_clock import now_ms
from . import failure_cause, training_variables
from .child_process import NO_LIMITS, CanNotStart, Child, Stop
from .resource_queue import Claims

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable

    from ..checkpoints.checkpoint_restore import Manifest
    from ..checkpoints.project_checkpoints import Project
    from ..sync.tree import Tree
    from ..sync.tree_lock import TreeLock
    from ..system.documents import (
        ResumeSource,
        RunSpec,
        RunSpecLimits,
        RunStateFailure,
        RunStateQueue,
    )
    from .masking import Mask

# Between two looks whether it is a waiting run's turn.
TURN_POLL_S = 0.25
# How long the next attempt waits until what the last one left is saved.
SAVED_TIMEOUT_S = 60
# How long it waits for the reporter to find out which files of the last one are incomplete: a large
# upload comes first.
JUDGED_TIMEOUT_S = 900
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# The codes of what fails before the training has started.
SETUP_CODES = (
    "SETUP_FAILED",
    "TOOL_MISSING",
    "SECRET_FAILED",
    "DATA_FAILED",
    "NO_ROLE",
    "CLAIM_IMPOSSIBLE",
    "RESTORE_FAILED",
)
# Why a checkpoint in the store can't be restored, now or later.
UNRESTORABLE = ("ABSENT", "CHECKPOINT_MISMATCH", "PART_MISMATCH")


def spawn(
    run_dir: str,
    record: dict[str, Any],
    spec: RunSpec,
    *,
    tree: Tree,
    account: pwd.struct_passwd,
    lock: TreeLock,
) -> None:
    """Starts the supervisor in a process session of its own, which holds no stream of ours. It
    inherits the tree's lock.
    """
    path = os.path.join(run_dir, "lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    atomic_files.write_json(os.path.join(run_dir, "run.json"), record)
    root = os.path.dirname(os.path.dirname(run_dir))
    with Claims(root, record["totalGpus"]) as claims:
        claims.join(record["id"], spec["resources"])

    def supervise() -> None:
        try:
            supervisor = Supervisor(
                run_dir, record, spec, tree=tree, account=account, lock=descriptor
            )
            supervisor.supervise(lock)
        except BaseException:
            log_crash(run_dir)

    detached(supervise)
    os.close(descriptor)


class Stopped(Exception):
    pass


class Failed(Exception):
    def __init__(self, code: str, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.data = failure_cause.failure(code, message, exit_code)


class Supervisor:
    log: LogFile

    def __init__(
        self,
        run_dir: str,
        record: dict[str, Any],
        spec: RunSpec,
        *,
        tree: Tree,
        account: pwd.struct_passwd,
        lock: int,
    ) -> None:
        self.run_dir, self.record, self.account, self.lock = run_dir, record, account, lock
        # None when it was copied.
        self.tree: Tree | None = tree
        self.root = os.path.dirname(os.path.dirname(run_dir))
        self.work = os.path.join(run_dir, "work")
        self.project = os.path.join(self.work, spec["projectRoot"])
        self.spec = training_variables.expanded(spec, run_dir, self.project)
        self.deadline: float | None = None
        self.shutdown = False
        self.reporter: int | None = None
        self.mask: Mask | None = None
        # It holds a lock as long as this process lives: nothing removes the environment.
        self.environment: environment.Setup | None = None
        # The control group of what the run starts.
        self.group: cgroup.Cgroup | None = None

    def save(self, **changes: Any) -> None:
        self.record.update(changes)
        path = os.path.join(self.run_dir, "run.json")
        try:
            atomic_files.write_json(path, self.record)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            self.log.full = True
            self.log.release()
            atomic_files.write_json(path, self.record)

    def supervise(self, lock: TreeLock) -> None:
        signal.signal(signal.SIGTERM, self._on_shutdown)
        for each in (signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        process_group.adopt_orphans()
        accounts.while_waiting[:] = [self.check_stop]
        self.log = LogFile(self.run_dir)
        self.save(supervisor=os.getpid())
        try:
            self._freeze(lock)
            self._ensure_reporter()
            self._enter_scope()
            self._wait_for_turn()
            self._free_disk_if_low()
            self._train()
        except Stopped:
            pass
        except Failed as failed:
            self.save(failure=failed.data)
        except Failure as failure:
            self.save(failure=failure_cause.failure(failure.code, failure.message, None))
        except Exception as error:
            is_full = isinstance(error, OSError) and error.errno in DISK_FULL
            message = "%s: %s" % (type(error).__name__, error)
            code = "NO_SPACE" if is_full else "START_FAILED"
            self.save(failure=failure_cause.failure(code, message, None))
            log_crash(self.run_dir)
        process_group.Descendants(self.reporter, group=self.group).end(1.0)
        if self.group:
            self.group.remove()
        self.log.close()
        is_truncated = self.log.lost > 0
        outcome = self._outcome()
        self.save(state="ended", endedAt=now_ms(), outcome=outcome, truncated=is_truncated)
        # Other runs may wait for what this one held: it is free from here on.
        os.close(self.lock)
        self._collect_garbage()

    def _freeze(self, lock: TreeLock) -> None:
        """Copies the tree for the run, and frees it for others."""
        from ..sync.workdir_copy import FreezeFailed, freeze

        tree = self.tree
        if tree is None:
            return
        lock.own()
        written_files.keep_sent(self.run_dir, tree.entries)
        try:
            freeze(tree, self.work, lock.progress)
        except FreezeFailed as failure:
            raise Failed("FREEZE_FAILED", str(failure))
        tree.close()
        self.tree = None
        os.close(lock.descriptor)

    def _ensure_reporter(self) -> None:
        """Starts the run's reporter, or starts it again. A run without a store has none."""
        from ..report import reporter

        if self.spec["store"] and not (self.reporter and is_alive(self.reporter)):
            self.reporter = reporter.fork(self.run_dir, self.lock)

    def _enter_scope(self) -> None:
        from .systemd_scope import enter

        why = enter(self.record["id"], self.spec["limits"])
        self.save(scope=why is None)
        self.group = cgroup.create(self.run_dir)

    def _wait_for_turn(self) -> None:
        granted, place = self._take_turn()
        if place:
            self.log.say("waits for %s" % ", ".join(place["holders"]))
        while granted is None:
            if self.record["queue"] != place:
                self.save(state="queued", queue=place)
            self.pause(TURN_POLL_S)
            granted, place = self._take_turn()
        self.save(queue=None, gpus=granted)

    def _take_turn(self) -> tuple[list[int] | None, RunStateQueue | None]:
        """(the GPUs that the run has, None while it waits; what it waits for)."""
        run = self.record["id"]
        with Claims(self.root, self.record["totalGpus"]) as claims:
            granted = claims.take(run)
            return granted, None if granted is not None else claims.place(run)

    def check_stop(self, *_: object) -> None:
        """To be called while waiting for something: raises Stopped where the run is to stop."""
        self._ensure_reporter()
        stop = self.requested_stop()
        if stop:
            self._record_stop(stop)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)
        self.check_stop()

    def _record_stop(self, stop: Stop) -> None:
        self.save(stop={"reason": stop.reason, "at": now_ms()})
        raise Stopped()

    def _free_disk_if_low(self) -> None:
        """Frees space before anything is set up, where there is little."""
        from ..disk import garbage_collector

        if garbage_collector.is_short(self.root):
            self.log.say("the disk is nearly full: freeing space")
            self._collect_garbage()

    def _collect_garbage(self) -> None:
        from ..disk import garbage_collector

        try:
            garbage_collector.make_room(self.root)
        except OSError:
            log_crash(self.run_dir)

    def _outcome(self) -> str:
        record = self.record
        if record["stop"]:
            return failure_cause.STOPPED.get(record["stop"]["reason"], "interrupted")
        if record["failure"]:
            return "setup-failed" if record["failure"]["code"] in SETUP_CODES else "failed"
        has_succeeded = record["exitCode"] == 0 and record["signal"] is None
        return "succeeded" if has_succeeded else "failed"

    def _on_shutdown(self, *_: object) -> None:
        self.shutdown = True

    def _train(self) -> None:
        spec = self.spec
        self.prepare()
        variables = dict(accounts.login_environment(self.account, self.log.say), **spec["env"])
        secrets = self._read_secrets()
        if spec["timeout"]:
            from .take_over import trained_s

            trained = trained_s(self.record["attempts"])
            self.deadline = time.monotonic() + spec["timeout"] - trained
        self._fetch_data()
        setup = self._new_setup({**variables, **secrets})
        command, variables = self._set_up(setup)
        # Before anything is restored: what is put back into the project counts as written by the
        # run.
        written_files.keep_baseline(self.run_dir, spec, setup.has_steps())
        self._restore()
        while True:
            ours, others = training_variables.variables_of(
                spec, self.record, run_dir=self.run_dir, project=self.project
            )
            merged = training_variables.in_local_instance({**others, **variables, **ours})
            words = command + (spec["resumeArgs"] if self._is_continuation() else [])
            if not self._attempt(words, merged):
                return

    def prepare(self) -> None:
        """Makes the directories that the training writes to, those below its own by a process of
        its user.
        """
        spec, output_dir = self.spec, self.spec["outputDir"]
        script = spec["script"]

        def make() -> bool:
            os.makedirs(os.path.join(self.project, output_dir), exist_ok=True)
            for path in spec["artifacts"]["numbered"]:
                try:
                    os.makedirs(os.path.join(self.project, path), exist_ok=True)
                except (FileExistsError, NotADirectoryError):
                    # A file that was sent is in its place.
                    pass
            return script is None or os.path.isfile(os.path.join(self.project, script))

        if not accounts.act(self.account, make):
            how = "the script %s is not among the synced files" % script
            raise Failed("NO_SCRIPT", how)
        try:
            path = "%s/%s" % (spec["projectRoot"], output_dir)
            os.close(safe_walk.open_directory(self.work, path))
        except OSError as error:
            if error.errno not in safe_walk.GONE:
                raise
            raise Failed(
                "PATH_BLOCKED",
                "the output directory %s is, or is in, a symbolic link: nothing of it could be "
                "saved" % output_dir,
            )
        checkpoints = os.path.join(self.run_dir, "checkpoints")
        if not os.path.isdir(checkpoints):
            os.mkdir(checkpoints)
            accounts.own(checkpoints, self.account)

    def _read_secrets(self) -> dict[str, str]:
        """The values that the training gets. Makes the mask for all that are secret."""
        spec = self.spec
        found: dict[str, str] = {}
        if spec["secrets"]:
            from .secrets import read_secrets

            found = read_secrets(spec)
        from ..python_env.package_index import secrets as secrets_of_url

        masked = [spec["env"][name] for name in spec["mask"] if name in spec["env"]]
        masked += [*found.values(), *secrets_of_url(spec["packageIndex"])]
        if masked:
            from .masking import Mask

            self.mask = Mask(masked)
        return found

    def _fetch_data(self) -> None:
        if not self.spec["datasets"]:
            return
        from ..datasets.datasets import fetch_data, link_data

        names = ", ".join(each["source"] for each in self.spec["datasets"])
        self.log.say("fetching %s" % names)
        self.save(state="setup")
        entries = fetch_data(self.spec, self.root, account=self.account, progress=self.check_stop)
        link_data(entries, self.project, self.account)
        datasets = [
            {
                "source": each["source"],
                "path": each["path"],
                "version": each["version"],
                "files": each["files"],
                "bytes": each["bytes"],
            }
            for each in entries
        ]
        self.save(datasets=datasets)

    def _new_setup(self, variables: dict[str, str]) -> environment.Setup:
        self.environment = environment.Setup(
            self.root,
            self.run_dir,
            self.spec,
            project=self.project,
            work=self.work,
            account=self.account,
            variables=variables,
        )
        return self.environment

    def _set_up(self, setup: environment.Setup) -> tuple[list[str], dict[str, str]]:
        """Sets the environment up. Returns the training's command line and its variables."""

        def process(
            line: list[str],
            variables: dict[str, str],
            directory: str,
            *,
            look: Callable[[], None],
        ) -> int:
            try:
                child = self._child(line, variables, directory, limits=NO_LIMITS, look=look)
            except CanNotStart as error:
                raise Failed("SETUP_FAILED", str(error))
            code = child.wait()
            self._raise_if_stopped(child)
            return code

        try:
            if setup.has_steps():
                self.save(state="setup")
            return setup.run(process, self.log.say, self.pause)
        except environment.ToolMissing as missing:
            raise Failed("TOOL_MISSING", str(missing))
        except environment.SetupFailed as failed:
            raise Failed("SETUP_FAILED", str(failed), failed.code)

    def _restore(self) -> None:
        """Restores the checkpoint to resume from: the newest of the run itself if an earlier
        attempt ran on another instance.
        """
        sources = self._resume_sources()
        previous = self.record["takenOver"]
        if previous:
            from .take_over import own_checkpoints

            sources = own_checkpoints(self.run_dir, self.spec) or sources
            how = ": nothing was saved to resume from, so the training starts from the beginning"
            shown = (self.record["attempt"], self.record["instance"], previous["from"])
            self.log.say("attempt %d, on %s after %s%s" % (*shown, "" if sources else how))
        manifest = self._restore_newest(sources)
        if manifest and self.record["restoredFrom"]["run"] != self.spec["id"]:
            from ..checkpoints.checkpoints import Checkpoints

            # The store has it below the other run: it is uploaded only where the training changes
            # it.
            saved = Checkpoints(
                os.path.join(self.run_dir, "checkpoints"),
                self.run_dir,
                parts=None,
                bucket=None,
                keep=self.spec["checkpoints"]["keep"],
                every=self.spec["checkpoints"]["every"],
                attempt=self.record["attempt"],
                account=self.account,
            )
            saved.restored(manifest)

    def _resume_sources(self) -> list[ResumeSource]:
        """The checkpoint of another run that the plan names."""
        source = self.spec["resumeFrom"]
        return [source] if source else []

    def _restore_newest(self, sources: list[ResumeSource]) -> Manifest | None:
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
                self.log.say("can't resume from the checkpoint %d: %s" % shown)
        return None

    def restore_one(self, source: ResumeSource) -> Manifest:
        from ..checkpoints.checkpoint_source import restore_from

        try:
            manifest = restore_from(
                source,
                self.spec["store"],
                self.run_dir,
                account=self.account,
                before=self._raise_if_stop_requested,
                project=self._project_checkpoints(),
            )
        except Stopped:
            self.check_stop()
            raise
        unit = manifest["unit"]
        self.save(restoredFrom={"run": source["run"], "n": source["n"], "unit": unit})
        shown = (unit, source["n"], source["run"])
        self.log.say("resumes from %s, the checkpoint %d of %s" % shown)
        return manifest

    def _raise_if_stop_requested(self) -> None:
        if self.requested_stop():
            raise Stopped()

    def _is_continuation(self) -> bool:
        """Whether the training gets `resumeArgs`: where it has, or may have, a checkpoint."""
        wanted = self.spec.get("nextAttempt")
        first_attempt = wanted["attempt"] if wanted else 1
        return bool(self.record["restoredFrom"]) or self.record["attempt"] > first_attempt

    def _child(
        self,
        line: list[str],
        variables: dict[str, str],
        directory: str,
        *,
        limits: RunSpecLimits,
        look: Callable[[], None] = lambda: None,
    ) -> Child:
        def requested_stop() -> Stop | None:
            look()
            return self.requested_stop()

        return Child(
            line,
            variables,
            directory,
            account=self.account,
            log=self.log,
            mask=self.mask,
            limits=limits,
            requested_stop=requested_stop,
            exclude_pid=self.reporter,
            group=self.group,
        )

    def _attempt(self, line: list[str], variables: dict[str, str]) -> bool:
        """Trains once. Returns whether to try again."""
        record, spec = self.record, self.spec
        started = now_ms()
        kills = failure_cause.oom_kills()
        withheld = [*spec["secrets"], *spec["mask"]]
        training_variables.write_down(
            self.run_dir,
            self.project,
            variables=variables,
            secrets=withheld,
            account=self.account,
        )
        path = os.path.join(self.run_dir, "environment.json")
        since_ns = os.stat(path).st_ctime_ns
        if record["training"] is None:
            record["training"] = self.log.size
        log_start = self.log.size
        try:
            child = self._child(line, variables, self.project, limits=spec["limits"])
        except CanNotStart as error:
            raise Failed("START_FAILED", str(error))
        first_started = record["startedAt"] or started
        self.save(state="running", pid=child.pid, startedAt=first_started, since=started)
        code = child.wait()
        failure = self._failure_of(child, code, kills=kills, since_ns=since_ns)
        is_retried = self._is_retried(child, code, failure)
        record["attempts"].append({
            "n": record["attempt"],
            "instance": record["instance"],
            "startedAt": started,
            "endedAt": now_ms(),
            "exitCode": code if code >= 0 else None,
            "signal": None if code >= 0 else processes.name_of(-code),
            "stopped": child.stopped is not None,
            "cut": child.cut or failure_cause.was_out_of_memory(kills),
            "why": "it exited with %d" % code if is_retried else None,
        })
        if not is_retried:
            self._save_end(child, code, failure=failure, log_start=log_start)
            self._raise_if_stopped(child)
            return False
        self.save(pid=None, attempt=record["attempt"] + 1)
        self._settle_checkpoints()
        shown = (code, self._failed_attempts() + 1, spec["retry"]["attempts"])
        self.log.say("exited with %d, attempt %d of %d begins" % shown)
        return True

    def _failure_of(
        self, child: Child, code: int, *, kills: int | None, since_ns: int
    ) -> RunStateFailure | None:
        failure = None
        if not child.stopped:
            failure = failure_cause.failure_of(
                child, code, kills=kills, log=self.log, run_dir=self.run_dir
            )
        if child.left:
            self.log.say(child.left.warning())
            failure = failure or failure_cause.unfinished(
                child.left,
                code,
                run_dir=self.run_dir,
                spec=self.spec,
                since_ns=since_ns,
                account=self.account,
            )
        return failure

    def _is_retried(self, child: Child, code: int, failure: RunStateFailure | None) -> bool:
        retry = self.spec["retry"]
        return (
            not child.stopped
            and code in retry["exitCodes"]
            and self._failed_attempts() + 1 < retry["attempts"]
            and not (failure and failure["code"] == "NO_SPACE")
        )

    def _failed_attempts(self) -> int:
        """How many attempts have exited by themselves: interruptions do not count."""
        return sum(
            1
            for each in self.record["attempts"]
            if each["exitCode"] is not None and not each["stopped"]
        )

    def _save_end(
        self, child: Child, code: int, *, failure: RunStateFailure | None, log_start: int
    ) -> None:
        if code and not child.stopped:
            hint = failure_cause.missing_module(self.log.path, log_start, self.spec)
            if hint:
                self.log.say(hint)
        warnings = [child.left.warning()] if child.left and not failure else []
        if child.unkilled:
            self.log.say(child.unkilled.unkilled())
            warnings.append(child.unkilled.unkilled())
        self.save(
            pid=None,
            exitCode=code if code >= 0 else None,
            signal=None if code >= 0 else processes.name_of(-code),
            failure=failure,
            warnings=warnings,
        )

    def _project_checkpoints(self) -> Project:
        from ..checkpoints.project_checkpoints import Project

        return Project(self.run_dir, self.spec, self.account)

    def _settle_checkpoints(self) -> None:
        """Before another attempt: waits until what the last one left is saved, as far as the store
        takes it, and moves aside what is incomplete.
        """
        self._wait_for_reporter()
        refused = self._saved_checkpoints().get("refused", {})
        for name in sorted(name for each in refused.values() for name in each["names"]):
            aside = self._move_aside(name)
            if aside:
                self.log.say(
                    "the checkpoint %s may be incomplete and is not resumed from: it was moved to "
                    "%s" % (name, aside)
                )
        if refused:
            self.restore_last()

    def _wait_for_reporter(self) -> None:
        """Waits until the reporter has saved, or at least checked, the checkpoints of the last
        attempt.
        """
        last, started = self.record["attempts"][-1], time.monotonic()
        while self.spec["store"]:
            self.check_stop()
            path = os.path.join(self.run_dir, "report.json")
            report: dict[str, Any] = atomic_files.read_json(path) or {}
            if report.get("settled", 0) >= len(self.record["attempts"]):
                return
            waited_s = time.monotonic() - started
            if waited_s > SAVED_TIMEOUT_S:
                is_judged = self._saved_checkpoints().get("judged") == last["n"]
                if is_judged or not last["cut"]:
                    return
            if waited_s > JUDGED_TIMEOUT_S:
                raise Failed(
                    "RESTORE_FAILED",
                    "it is not known which checkpoints of attempt %d are complete: the reporter "
                    "has not checked them" % last["n"],
                )
            time.sleep(TURN_POLL_S)

    def _move_aside(self, name: str) -> str | None:
        """Moves a checkpoint of the last attempt aside. Returns where to; None if it is gone."""
        from ..checkpoints.checkpoint_restore import in_project

        aside = os.path.join(self.run_dir, "half", str(self.record["attempt"] - 1))
        if in_project(name):
            aside = os.path.join(aside, "project")
            return aside if self._project_checkpoints().move_aside(name, aside) else None
        os.makedirs(aside, exist_ok=True)
        try:
            origin = os.path.join(self.run_dir, "checkpoints", name)
            os.rename(origin, os.path.join(aside, name))
        except FileNotFoundError:
            return None
        return aside

    def _saved_checkpoints(self) -> dict[str, Any]:
        """What the reporter has recorded of the checkpoints."""
        return atomic_files.read_json(os.path.join(self.run_dir, "checkpoints.json")) or {}

    def restore_last(self) -> None:
        """Restores the last complete checkpoint, after files were moved aside. Failed where it
        can't be fetched: the training would find a part of it, or nothing, and start from the
        beginning.
        """
        from ..checkpoints.checkpoint_restore import lacking
        from .take_over import own_checkpoints

        directory = os.path.join(self.run_dir, "checkpoints")
        saved = self._saved_checkpoints()
        last = saved.get("last")
        if last and last["own"]:
            project = self._project_checkpoints()
            if not lacking(last, directory, self.account, project=project):
                number = saved["kept"][-1]["n"]
                self.log.say("the checkpoint %d is complete in its place" % number)
                return
        sources = own_checkpoints(self.run_dir, self.spec) or self._resume_sources()
        if not sources:
            how = "no complete checkpoint was saved before: the training starts from the beginning"
            self.log.say(how)
        try:
            self._restore_newest(sources)
        except Failure as failure:
            raise Failed(
                "RESTORE_FAILED",
                "the last complete checkpoint can't be restored, and the training would start "
                "from the beginning: %s" % failure.message,
            )

    def _raise_if_stopped(self, child: Child) -> None:
        if child.stopped:
            self._record_stop(child.stopped)

    def requested_stop(self) -> Stop | None:
        grace_s = self.spec["gracePeriod"]
        if self.shutdown:
            return Stop("shutdown", grace_s)
        stop = Stop.read(self.run_dir)
        if stop:
            return stop
        if self.deadline and time.monotonic() > self.deadline:
            return Stop("timeout", grace_s)
        return None


def is_alive(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        try:
            os.kill(pid, 0)
            return True
        except OSError:
            return False
