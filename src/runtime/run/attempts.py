"""The attempts of a run on one instance: trains until one succeeds, or is not to be repeated."""

from __future__ import annotations

import os

from ..system.wall_clock import Start, now_ms
from . import failure_cause, launcher, ray_launch, training_variables
from .attempt_end import AttemptEnd
from .child_process import NO_LIMITS, CanNotStart
from .node_checkpoints import NodeCheckpoints
from .node_stop import is_of_run
from .preparation import trained_s
from .supervised_run import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import RunStateFailure
    from .child_process import Child
    from .commands import Commands
    from .launcher import Launch, Rank
    from .node_group import NodeGroup
    from .settled_checkpoints import SettledCheckpoints
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun


class Attempts:
    def __init__(
        self,
        run: SupervisedRun,
        stops: StopCheck,
        commands: Commands,
        *,
        checkpoints: SettledCheckpoints,
        nodes: NodeGroup | None,
    ) -> None:
        self.run, self.stops, self.commands = run, stops, commands
        self.checkpoints, self.nodes = checkpoints, nodes
        self.launch: Launch | None = None

    def train(self, command: list[str], variables: dict[str, str]) -> None:
        """Trains, again after each exit that is to be retried."""
        run, spec = self.run, self.run.spec
        self._assert_launcher(command, variables)
        while True:
            nodes = self.nodes.wait_until_ready() if self.nodes else None
            if nodes and spec["timeout"]:
                # The time that nodes wait for one another is not the training's.
                self.stops.set_timeout(spec["timeout"] - trained_s(run.record["attempts"]))
            if nodes and run.record["attempt"] > 1:
                NodeCheckpoints(run, self.stops, self.checkpoints).restore(nodes)
            ours, others = training_variables.variables_of(
                spec, run.record, run_dir=run.run_dir, project=run.project, nodes=nodes
            )
            words = command
            self.launch = ray_launch.of(spec, run.record, nodes)
            if self.launch:
                others.update(self.launch.variables())
                words = self._prepare_launch(self.launch, command)
            elif nodes:
                others.update(nodes.for_any_launcher(launcher.id_of(spec, run.record)))
            merged = training_variables.in_local_instance({**others, **variables, **ours})
            words = words + (spec["resumeArgs"] if self._is_continuation() else [])
            try:
                is_retried = self._attempt(words, merged)
            finally:
                if self.launch:
                    self.launch.clean()
            if not is_retried:
                return

    def _assert_launcher(self, command: list[str], variables: dict[str, str]) -> None:
        """Raises Failed where the training's environment lacks the package of its launcher."""
        run, spec = self.run, self.run.spec
        wanted = spec.get("launcher")
        if not wanted or wanted["option"]:
            return
        package = "ray" if wanted["name"] == "ray" else "torch"
        try:
            line = launcher.package_check(spec, command, package)
            child = self.commands.start(line, variables, run.project, limits=NO_LIMITS)
        except CanNotStart as error:
            raise Failed("START_FAILED", str(error))
        code = child.wait()
        self.stops.raise_if_stopped(child)
        if code:
            where = failure_cause.where_to_add(spec)
            how = '"train.launcher" needs the package %s; %s' % (package, where)
            raise Failed(package.upper() + "_MISSING", how)

    def _prepare_launch(self, launch: Launch, command: list[str]) -> list[str]:
        run = self.run
        launch.prepare(run.run_dir, run.account)
        run.save(launcher=launch.description())
        if launch.count > 1 and "OMP_NUM_THREADS" not in run.spec["env"]:
            run.log.say(
                "%s starts %d processes, with OMP_NUM_THREADS=%d each"
                % (launch.name, launch.count, launch.threads())
            )
        return launch.line(command, run.run_dir)

    def _is_continuation(self) -> bool:
        """Whether the training gets `resumeArgs`: where it has, or may have, a checkpoint."""
        record, wanted = self.run.record, self.run.spec.get("nextAttempt")
        first_attempt = wanted["attempt"] if wanted else 1
        return bool(record["restoredFrom"]) or record["attempt"] > first_attempt

    def _attempt(self, line: list[str], variables: dict[str, str]) -> bool:
        """Trains once. Returns whether to try again."""
        run, record, spec = self.run, self.run.record, self.run.spec
        start = Start()
        kills = failure_cause.oom_kills()
        since_ns = write_environment(run, variables)
        if record["training"] is None:
            record["training"] = run.log.size
        log_start = run.log.size
        try:
            child = self.commands.start(line, variables, run.project, limits=spec["limits"])
        except CanNotStart as error:
            raise Failed("START_FAILED", str(error))
        first_started = record["startedAt"] or start.at
        phase = self.nodes.changes("running") if self.nodes else {}
        run.save(state="running", pid=child.pid, startedAt=first_started, since=start.at, **phase)
        code, rank = self._code(child.wait(), child, log_start)
        failure = self._failure_of(child, code, kills=kills, since_ns=since_ns)
        if rank and self.launch and not failure:
            how = "rank %d of %d failed first" % (rank.number, self.launch.total)
            failure = failure_cause.failure("RANK_FAILED", how, code if code >= 0 else None)
        end = AttemptEnd(code, failure, stop=child.stopped, rank=rank)
        ended = now_ms()
        # Before the other nodes are waited for.
        started = start.by(ended)
        if self.nodes:
            self.nodes.conclude(end, log_start)
        is_retried = self._is_retried(end)
        if first_started == start.at:
            record["startedAt"] = started
        record["attempts"].append({
            "n": record["attempt"],
            "instance": record["instance"],
            "startedAt": started,
            "endedAt": ended,
            **failure_cause.exit_of(end.code),
            "stopped": end.is_stopped,
            "cut": child.cut or failure_cause.was_out_of_memory(kills),
            "why": (end.why or "it exited with %d" % end.code) if is_retried else None,
            "nodes": self.nodes.count if self.nodes else None,
        })
        if not is_retried:
            self._save_end(child, end, log_start=log_start)
            if end.stop:
                self.stops.end(end.stop)
            return False
        following = record["attempt"] + 1 if end.next is None else end.next
        again = self.nodes.begin(following) if self.nodes else {"attempt": following}
        run.save(pid=None, **again)
        self.checkpoints.settle()
        if end.next is None:
            shown = (end.code, self._failed_attempts() + 1, spec["retry"]["attempts"])
            run.log.say("exited with %d, attempt %d of %d begins" % shown)
        return True

    def _code(self, code: int, child: Child, log_start: int) -> tuple[int, Rank | None]:
        """(the exit code of the training by that of its command, the process of several that failed
        first).
        """
        run, launch = self.run, self.launch
        if not launch:
            return code, None
        ranks = launch.ended(run.run_dir, run.account)
        stopped = is_of_run(child.stopped)
        failed = None if stopped or launch.total == 1 else launcher.cause(ranks)
        if failed:
            failed.lines = launcher.last_lines(run.log.path, log_start, failed.number)
            where = " on this node" if self.nodes else ""
            shown = (failed.number, launch.total, where, failed.how())
            run.log.say("rank %d of %d failed first%s: %s. Its last lines:" % shown)
            for line in failed.lines:
                run.log.say("[rank %d] %s" % (failed.number, line))
        return launcher.exit_code(code, ranks, stopped, first=launch.first), failed

    def _failure_of(
        self, child: Child, code: int, *, kills: int | None, since_ns: int
    ) -> RunStateFailure | None:
        run, failure = self.run, None
        if self.launch and code and not child.stopped:
            failure = self.launch.failure(run.run_dir, run.account)
        if not child.stopped and not failure:
            failure = failure_cause.failure_of(
                child, code, kills=kills, log=run.log, run_dir=run.run_dir
            )
        if child.left:
            run.log.say(child.left.warning())
            failure = failure or failure_cause.unfinished(
                child.left,
                code,
                run_dir=run.run_dir,
                spec=run.spec,
                since_ns=since_ns,
                account=run.account,
            )
        return failure

    def _is_retried(self, end: AttemptEnd) -> bool:
        retry = self.run.spec["retry"]
        if end.stop or end.is_decided_elsewhere:
            return end.next is not None
        return (
            end.code in retry["exitCodes"]
            and self._failed_attempts() + 1 < retry["attempts"]
            and not (end.failure and end.failure["code"] == "NO_SPACE")
        )

    def _failed_attempts(self) -> int:
        """How many attempts have exited by themselves: interruptions do not count."""
        return sum(
            1
            for each in self.run.record["attempts"]
            if each["exitCode"] is not None and not each["stopped"]
        )

    def _save_end(self, child: Child, end: AttemptEnd, *, log_start: int) -> None:
        run = self.run
        if end.code and not child.stopped:
            hint = failure_cause.missing_module(run.log.path, log_start, run.spec)
            if hint:
                run.log.say(hint)
        warnings = [child.left.warning()] if child.left and not end.failure else []
        if child.unkilled:
            run.log.say(child.unkilled.unkilled())
            warnings.append(child.unkilled.unkilled())
        code = failure_cause.exit_of(end.code)
        run.save(pid=None, **code, failure=end.failure, warnings=warnings)


def write_environment(run: SupervisedRun, variables: dict[str, str]) -> int:
    """Writes the training's environment down. Returns when, as `st_ctime_ns`."""
    training_variables.write_down(
        run.run_dir,
        run.project,
        variables=variables,
        secrets=[*run.spec["secrets"], *run.spec["mask"]],
        account=run.account,
    )
    return os.stat(os.path.join(run.run_dir, "environment.json")).st_ctime_ns
