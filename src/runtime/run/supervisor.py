"""The process that lasts as long as a run: copies the tree for it, waits for its turn, sets up its
environment, trains, and records the end.
"""

from __future__ import annotations

import fcntl
import os
import signal

from ..run_dir import turn_hold, written_files
from ..system import account as accounts
from ..system import atomic_files, cgroup, process_group
from ..system.crash_log import log_crash
from ..system.daemonize import detached
from ..system.errors import Failure
from ..system.wall_clock import now_ms
from . import failure_cause
from .attempts import Attempts
from .commands import Commands
from .node_variables import is_other_node
from .preparation import Preparation
from .reporter_process import ReporterProcess
from .resource_queue import ResourceQueue
from .resume_checkpoint import ResumeCheckpoint
from .settled_checkpoints import SettledCheckpoints
from .stop_check import StopCheck, Stopped
from .supervised_run import DISK_FULL, Failed, SupervisedRun

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Mapping

    from ..sync.tree import Tree
    from ..sync.tree_lock import TreeLock
    from ..system.documents import RunSpec, RunStateQueue
    from .node_group import NodeGroup

# Between two looks whether it is a waiting run's turn.
TURN_POLL_S = 0.25
# The codes of what fails before the training has started.
SETUP_CODES = (
    "SETUP_FAILED",
    "TOOL_MISSING",
    "TORCH_MISSING",
    "RAY_MISSING",
    "SECRET_FAILED",
    "DATA_FAILED",
    "NO_ROLE",
    "RESOURCES_MISSING",
    "RESTORE_FAILED",
    "NODES_MISSING",
)


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
    if not waits_for_previous_node(spec):
        with ResourceQueue(root, record["totalGpus"]) as queue:
            join(queue, record, spec)

    def supervise() -> None:
        try:
            run = SupervisedRun(run_dir, record, spec, account=account)
            Supervisor(run, descriptor).supervise(tree, lock)
        except BaseException:
            log_crash(run_dir)

    detached(supervise)
    os.close(descriptor)


class Supervisor:
    """`lock`: the run's own, held as long as it is active."""

    def __init__(self, run: SupervisedRun, lock: int) -> None:
        self.run, self.lock = run, lock
        self.reporter = ReporterProcess(run.run_dir, lock, has_store=bool(run.spec["store"]))
        self.stops = StopCheck(run, self.reporter)
        self.nodes = self.stops.nodes = node_group_of(run, self.stops)

    def supervise(self, tree: Tree, tree_lock: TreeLock) -> None:
        signal.signal(signal.SIGTERM, self.stops.on_shutdown)
        for each in (signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        process_group.adopt_orphans()
        accounts.while_waiting[:] = [self.stops.check]
        self.run.save(supervisor=os.getpid())
        try:
            freeze_tree(self.run, tree, tree_lock)
            self.reporter.ensure()
            self._wait_until_moved()
            self._enter_scope()
            self._wait_for_turn()
            free_disk_if_low(self.run)
            self._train()
        except Stopped:
            pass
        except Exception as error:
            self._save_failure(error)
        self._finish_nodes()
        self._end()

    def _finish_nodes(self) -> None:
        if not self.nodes:
            return
        try:
            self.nodes.finish()
        except Exception:
            log_crash(self.run.run_dir)

    def _wait_until_moved(self) -> None:
        """Waits, for a run that has waited on another instance, until it is this one's: the other
        one trains otherwise.
        """
        wanted = self.run.spec.get("nextAttempt")
        report = os.path.join(self.run.run_dir, "report.json")
        if wanted and wanted.get("waiting"):
            while not atomic_files.read_object(report).get("claimed"):
                self.stops.pause(TURN_POLL_S)

    def _enter_scope(self) -> None:
        from .systemd_scope import enter

        run = self.run
        why = enter(run.record["id"], run.spec["limits"])
        run.save(scope=why is None)
        run.group = cgroup.create(run.run_dir)

    def _wait_for_turn(self) -> None:
        run = self.run
        if self.nodes and waits_for_previous_node(run.spec):
            run.save(state="queued")
            self.nodes.wait_for_previous_turn()
            with ResourceQueue(run.root, run.record["totalGpus"]) as queue:
                join(queue, run.record, run.spec)
        granted, place = self._take_turn()
        if place:
            run.log.say("waits for %s" % ", ".join(place["holders"]))
        while granted is None:
            # A run that is held may have nobody before it.
            if place and place["before"] and run.record["queue"] != place:
                run.save(state="queued", queue=place)
            self.stops.pause(TURN_POLL_S)
            granted, place = self._take_turn()
        run.save(queue=None, gpus=granted)
        if self.nodes:
            # The next node takes its own.
            run.save(state="setup")

    def _take_turn(self) -> tuple[list[int] | None, RunStateQueue | None]:
        """(the GPUs that the run has, None while it waits; what it waits for)."""
        run = self.run.record["id"]
        with ResourceQueue(self.run.root, self.run.record["totalGpus"]) as queue:
            granted = None if turn_hold.is_held(self.run.run_dir) else queue.take(run)
            return granted, None if granted is not None else queue.place(run)

    def _train(self) -> None:
        run, stops = self.run, self.stops
        commands = Commands(run, stops, self.reporter)
        command, variables = Preparation(run, stops, commands).prepare()
        resume_checkpoint = ResumeCheckpoint(run, stops)
        resume_checkpoint.restore()
        checkpoints = SettledCheckpoints(run, stops, resume_checkpoint)
        attempts = Attempts(run, stops, commands, checkpoints=checkpoints, nodes=self.nodes)
        attempts.train(command, variables)

    def _save_failure(self, error: Exception) -> None:
        if isinstance(error, Failed):
            self.run.save(failure=error.data)
            return
        if isinstance(error, Failure):
            failure = failure_cause.failure(error.code, error.message, None)
            self.run.save(failure=failure)
            return
        is_full = isinstance(error, OSError) and error.errno in DISK_FULL
        message = "%s: %s" % (type(error).__name__, error)
        code = "NO_SPACE" if is_full else "START_FAILED"
        self.run.save(failure=failure_cause.failure(code, message, None))
        log_crash(self.run.run_dir)

    def _end(self) -> None:
        """Ends what the run has left running, and records its end."""
        run = self.run
        process_group.Descendants(self.reporter.pid, group=run.group).end(1.0)
        if run.group:
            run.group.remove()
        run.log.close()
        outcome, is_truncated = outcome_of(run.record), run.log.lost > 0
        run.save(state="ended", endedAt=now_ms(), outcome=outcome, truncated=is_truncated)
        # Other runs may wait for what this one held: it is free from here on.
        os.close(self.lock)
        collect_garbage(run)


def node_group_of(run: SupervisedRun, stops: StopCheck) -> NodeGroup | None:
    """None for a run on one node."""
    node = run.spec.get("node")
    if not node:
        return None
    from .first_node import FirstNode
    from .joining_node import JoiningNode
    from .other_node import OtherNode

    if node.get("joins"):
        return JoiningNode(run, stops)
    return OtherNode(run, stops) if node["rank"] else FirstNode(run, stops)


def join(queue: ResourceQueue, record: Mapping[str, Any], spec: RunSpec) -> None:
    priority = spec.get("priority", 0)
    queue.join(record["id"], spec["resources"], priority=priority, since=record["createdAt"])


def waits_for_previous_node(spec: RunSpec) -> bool:
    """Whether a node joins its queue only when the node before it has its turn. Runs that reserve
    resources of the same instances take them in one order, then: otherwise two could wait for one
    another, each on an instance that the other has.
    """
    resources = spec["resources"]
    return is_other_node(spec) and bool(resources["exclusive"] or resources["gpus"])


def freeze_tree(run: SupervisedRun, tree: Tree, lock: TreeLock) -> None:
    """Copies the tree for the run, and frees it for others."""
    from ..sync.workdir_copy import FreezeFailed, freeze

    lock.own()
    written_files.keep_sent(run.run_dir, tree.entries)
    try:
        freeze(tree, run.work, lock.progress)
    except FreezeFailed as failure:
        raise Failed("FREEZE_FAILED", str(failure))
    tree.close()
    os.close(lock.descriptor)


def free_disk_if_low(run: SupervisedRun) -> None:
    """Frees space before anything is set up, where there is little."""
    from ..disk import garbage_collector

    if garbage_collector.is_nearly_full(run.root):
        run.log.say("the disk is nearly full: freeing space")
        collect_garbage(run)


def collect_garbage(run: SupervisedRun) -> None:
    from ..disk import garbage_collector

    try:
        garbage_collector.collect_garbage(run.root)
    except OSError:
        log_crash(run.run_dir)


def outcome_of(record: dict[str, Any]) -> str:
    if record["stop"]:
        return failure_cause.STOPPED.get(record["stop"]["reason"], "interrupted")
    if record["failure"]:
        return "setup-failed" if record["failure"]["code"] in SETUP_CODES else "failed"
    has_succeeded = record["exitCode"] == 0 and record["signal"] is None
    return "succeeded" if has_succeeded else "failed"
