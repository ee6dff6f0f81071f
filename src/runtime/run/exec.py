"""Runs a command beside the trainings: in a run's directory with its environment, or in the tree.

Each command has a process of its own, and a log.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time

from ..run_dir.log_writer import LogFile
from ..system import account as accounts
from ..system import atomic_files, cgroup, process_group
from ..system.boot_clock import boot
from ..system.daemonize import detached
from ..system.errors import Failure
from ..system.wall_clock import now_ms
from . import runs, training_variables
from .child_process import NO_LIMITS, CanNotStart, Child, Stop
from .masking import Mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Iterable, Mapping

    from ..system.documents import ExecSpec

LEFT_ADVICE = (
    "remote-exec stops the processes that its command leaves: end the command with `wait`, "
    "or run a training."
)


class Target:
    """Where a command runs, with which variables, and as whom. `secrets`: their values; None for
    those that the client has read, whose values are not on the instance.
    """

    def __init__(
        self,
        directory: str,
        variables: dict[str, str],
        *,
        secrets: dict[str, str | None],
        account: pwd.struct_passwd,
    ) -> None:
        self.directory, self.variables = directory, variables
        self.secrets, self.account = secrets, account


def start(plan: Mapping[str, Any], root: str) -> dict[str, Any]:
    """Starts a command. Returns its record, and what it has printed so far. A command with the same
    id is not started again.
    """
    from ..run_dir import log_reader

    spec: ExecSpec = plan["exec"]
    run_dir = runs.directory(root, spec["id"])
    # Of two commands with the same id that arrive at once, the second finds what the first has
    # begun.
    with runs.Starting(root):
        if not os.path.exists(os.path.join(run_dir, "run.json")):
            begin(plan, root, run_dir)
    state = runs.watch_start(root, spec["id"])
    return {"run": state, "log": log_reader.read(run_dir, 0)}


def begin(plan: Mapping[str, Any], root: str, run_dir: str) -> None:
    spec: ExecSpec = plan["exec"]
    target = find_target(plan, root)
    os.makedirs(run_dir, exist_ok=True)
    path = os.path.join(run_dir, "lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    record = new_record(spec["id"], plan["tree"], run_dir, user=target.account.pw_name)
    atomic_files.write_json(os.path.join(run_dir, "run.json"), record)
    detached(lambda: Execution(run_dir, record, spec, target=target).execute())
    os.close(descriptor)


def new_record(run: str, tree: str, run_dir: str, *, user: str) -> dict[str, Any]:
    return {
        "id": run,
        "kind": "exec",
        "runKey": "",
        "project": "",
        "caller": "",
        "tree": tree,
        "snapshot": "",
        "instance": os.environ.get("AWS_SSM_INSTANCE_ID"),
        "boot": boot(),
        "state": "preparing",
        "pid": None,
        "supervisor": None,
        "user": user,
        "createdAt": now_ms(),
        "startedAt": None,
        "endedAt": None,
        "exitCode": None,
        "signal": None,
        "attempt": 1,
        "attempts": [],
        "queue": None,
        "resources": {"exclusive": False, "gpus": 0},
        "gpus": [],
        "training": 0,
        "stop": None,
        "failure": None,
        "outcome": None,
        "directory": run_dir,
    }


def find_target(plan: Mapping[str, Any], root: str) -> Target:
    run = plan["run"]
    if run:
        run_dir = runs.find_directory(root, run)
        known = atomic_files.read_json(os.path.join(run_dir, "environment.json"))
        if known is None or not os.path.isdir(known["directory"]):
            how = "the run %s has no directory on this instance, or not yet" % run
            raise Failure("NO_RUN", how, run=run)
        return Target(
            known["directory"],
            known["variables"],
            secrets=read_withheld(run_dir, known.get("withheld") or ()),
            account=accounts.training_user(known["user"]),
        )
    account = accounts.training_user(plan.get("user"))
    tree = os.path.join(root, "trees", plan["tree"], "files")
    directory = os.path.join(tree, plan["exec"]["projectRoot"])
    if not os.path.isdir(directory):
        raise Failure("NO_TREE", "nothing was synced to this instance yet")
    variables = accounts.login_environment(account)
    return Target(directory, variables, secrets={}, account=account)


def read_withheld(run_dir: str, names: Iterable[str]) -> dict[str, str | None]:
    """The values of a run's secrets, read anew because they are stored nowhere; None for those that
    only the client can read.
    """
    found: dict[str, str | None] = dict.fromkeys(names)
    spec = atomic_files.read_json(os.path.join(run_dir, "plan.json"))
    if found and spec and spec["secrets"]:
        from .secrets import read_secrets

        found.update(read_secrets(spec))
    return found


class Execution:
    """One command, in its own process."""

    def __init__(
        self, run_dir: str, record: dict[str, Any], spec: ExecSpec, *, target: Target
    ) -> None:
        self.run_dir, self.record, self.spec, self.target = run_dir, record, spec, target
        secrets = target.secrets
        values = {name: value for name, value in secrets.items() if value is not None}
        self.missing = sorted(set(secrets) - set(values))
        # Its processes have this mark, by which they are found if this one is killed.
        marked = dict(target.variables, NX_EC2_EXEC_ID=record["id"])
        self.variables = training_variables.in_local_instance({**marked, **values})
        self.mask = Mask(values.values()) if values else None
        self.deadline = time.monotonic() + spec["timeout"] if spec["timeout"] else None
        self.shutdown = False

    def save(self, **changes: Any) -> None:
        self.record.update(changes)
        atomic_files.write_json(os.path.join(self.run_dir, "run.json"), self.record)

    def execute(self) -> None:
        signal.signal(signal.SIGTERM, self._on_shutdown)
        for each in (signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        process_group.adopt_orphans()
        group = cgroup.create(self.run_dir)
        log = LogFile(self.run_dir)
        if self.missing:
            names = ", ".join(self.missing)
            log.say("without %s: what the client reads for a training is not stored" % names)
        try:
            child = self._start(log, group)
        except CanNotStart as error:
            log.close()
            failure = {"code": "START_FAILED", "message": str(error), "exitCode": None}
            self.save(state="ended", endedAt=now_ms(), outcome="failed", failure=failure)
            return
        self.save(state="running", supervisor=os.getpid(), pid=child.pid, startedAt=now_ms())
        code = child.wait()
        if child.left:
            log.say(child.left.warning(LEFT_ADVICE))
        if child.unkilled:
            log.say(child.unkilled.unkilled())
        if group:
            group.remove()
        log.close()
        self._save_end(code, child.stopped)

    def _on_shutdown(self, *_: object) -> None:
        self.shutdown = True

    def _start(self, log: LogFile, group: cgroup.Cgroup | None) -> Child:
        return Child(
            self.spec["argv"],
            self.variables,
            self.target.directory,
            account=self.target.account,
            log=log,
            mask=self.mask,
            limits=NO_LIMITS,
            requested_stop=self.requested_stop,
            exclude_pid=None,
            group=group,
        )

    def _save_end(self, code: int, stopped: Stop | None) -> None:
        ended = now_ms()
        self.save(
            state="ended",
            endedAt=ended,
            exitCode=code if code >= 0 else None,
            signal=signal.Signals(-code).name if code < 0 else None,
            stop={"reason": stopped.reason, "at": ended} if stopped else None,
            outcome="cancelled" if stopped else "succeeded" if code == 0 else "failed",
        )

    def requested_stop(self) -> Stop | None:
        grace_s = self.spec["gracePeriod"]
        if self.shutdown:
            return Stop("shutdown", grace_s)
        if self.deadline and time.monotonic() > self.deadline:
            return Stop("timeout", grace_s)
        return Stop.read(self.run_dir)
