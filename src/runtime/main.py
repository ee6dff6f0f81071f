"""Runs one plan: docs/reference/formats.md, "Plan". An operation loads what it needs, and nothing
else.
"""

from __future__ import annotations

from .system import root_directory
from .system.errors import Failure
from .system.reply import reply_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def run(
    plan: dict[str, Any], root: str, runtime: tuple[str, bytes] | None = None
) -> dict[str, Any]:
    """The reply of a plan's operation; `runtime`: the name and the bytes of this program, where it
    is to be kept below the root.
    """
    return reply_of(carry_out, plan, root, runtime)


def run_awaited(
    spec: dict[str, Any], name: str, root: str, *, runtime: tuple[str, bytes] | None = None
) -> dict[str, Any]:
    """The same of a plan that follows its command; `name`: this program's."""

    def carry_out_awaited() -> dict[str, Any]:
        from .aws.awaited_plan import receive

        return carry_out(receive(spec, name, load_sync), root, runtime)

    return reply_of(carry_out_awaited)


def load_sync() -> None:
    __import__("%s.sync.synchronizer" % __package__)


def carry_out(plan: dict[str, Any], root: str, runtime: tuple[str, bytes] | None) -> dict[str, Any]:
    if plan.get("v") != 1:
        raise Failure("BAD_PLAN", "the plan is of version %r" % plan.get("v"))
    operation = OPERATIONS.get(plan.get("op") or "")
    if operation is None:
        raise Failure("BAD_PLAN", "the plan asks for %r" % plan.get("op"))
    root = root_directory.prepare(root, runtime)
    if plan["op"] in STARTING:
        root_directory.assert_watched(root)
    return operation(plan, root)


def train(plan: Any, root: str) -> dict[str, Any]:
    from .report import node_start
    from .run import runs
    from .run_dir import log_reader
    from .sync import synchronizer
    from .sync.tree_lock import TreeLock

    spec = plan["run"]
    # In the command's request, where the plan itself may lie in the store; a fleet's instance has
    # it sealed.
    spec.setdefault("signingKey", plan.get("signingKey"))
    if spec["store"] is not None and not spec["signingKey"]:
        raise Failure("BAD_PLAN", "the plan has no key to sign the run's record with")
    with node_start.Announced(spec) as sign, TreeLock(root, plan["tree"]) as lock:
        result, tree = synchronizer.apply(plan, root, lock.progress)
        # The start of the run forks.
        sign.end()
        # The supervisor lives long, and needs nothing of what was synced how.
        plan["sync"] = {"snapshot": result["head"]}
        # Of two that ask for the same training at once, each in a tree of its own, the second finds
        # the first's.
        with runs.Starting(root):
            state = runs.find(root, spec)
            if state is None:
                runs.start(plan, root, lock=lock, tree=tree)
    if state is None:
        state = runs.watch_start(root, spec["id"])
    attached = state["id"] != spec["id"] and ("ended" if state["state"] == "ended" else "running")
    return dict(result, run=state, attached=attached, log=log_reader.read(state["directory"], 0))


def poll(plan: Any, root: str) -> dict[str, Any]:
    from .run import runs
    from .run_dir import log_reader

    state = runs.state(root, plan["run"])
    return {
        "run": state,
        "log": log_reader.read(state["directory"], plan["offset"]),
        "report": runs.report(state["directory"]),
    }


def operation(module: str, name: str) -> Callable[[Any, str], dict[str, Any]]:
    package = "%s." % __package__

    def load_and_run(plan: Any, root: str) -> dict[str, Any]:
        return getattr(__import__(package + module, fromlist=[name]), name)(plan, root)

    return load_and_run


# The operations that the watchdog must see: they start something that it waits for, or stops.
STARTING = ("sync", "train", "watch", "exec")
OPERATIONS = {
    "sync": operation("sync.synchronizer", "synchronize"),
    "train": train,
    "watch": operation("sync.watch_start", "start"),
    "poll": poll,
    "cancel": operation("run.runs", "cancel"),
    "hold": operation("run.runs", "hold"),
    "exec": operation("run.exec", "start"),
    "renew": operation("run.runs", "renew"),
    "doctor": operation("doctor", "check"),
    "ready": operation("python_env.tools", "ready"),
    "activity": operation("watchdog.activity_report", "report"),
}
