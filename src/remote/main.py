"""Runs one plan: docs/FORMAT.md, "Plan". What an operation does not need is not loaded."""
import errno
import importlib
import os

from .failure import Failure


def run(plan, root):
    try:
        if plan.get("v") != 1:
            raise Failure("BAD_PLAN", "the plan is of version %r" % plan.get("v"))
        operation = OPERATIONS.get(plan.get("op"))
        if operation is None:
            raise Failure("BAD_PLAN", "the plan asks for %r" % plan.get("op"))
        result = operation(plan, os.path.realpath(root))
        return dict({"v": 1, "ok": True}, **result)
    except Failure as failure:
        return {"v": 1, "ok": False, "error": failure.data()}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return {"v": 1, "ok": False, "error": Failure("NO_SPACE", "the disk is full", path=str(error.filename)).data()}


def synchronise(plan, root):
    from . import sync
    from .lock import TreeLock

    with TreeLock(root, plan["tree"]) as lock:
        result, tree = sync.apply(plan, root, lock.progress)
        tree.close()
        return result


def train(plan, root):
    from . import log, run as runs, sync
    from .lock import TreeLock

    part = plan["run"]
    # In the command's request, where the plan itself may lie in the store; a fleet's instance has it sealed.
    part.setdefault("recordKey", plan.get("key"))
    if part["store"] is not None and not part["recordKey"]:
        raise Failure("BAD_PLAN", "the plan has no key to sign the run's record with")
    with TreeLock(root, plan["tree"]) as lock:
        result, tree = sync.apply(plan, root, lock.progress)
        # The supervisor lives long, and needs nothing of what was synced how.
        plan["sync"] = {"snapshot": result["head"]}
        # Of two that ask for the same training at once, each in a tree of its own, the second finds the first's.
        with runs.Starting(root):
            state = runs.find(root, part)
            if state is None:
                runs.start(plan, root, lock, tree)
    if state is None:
        state = runs.watch_start(root, part["id"])
    attached = state["id"] != part["id"] and ("ended" if state["state"] == "ended" else "running")
    return dict(result, run=state, attached=attached, log=log.read(state["directory"], 0))


def poll(plan, root):
    from . import log, run as runs

    state = runs.state(root, plan["run"])
    return {"run": state, "log": log.read(state["directory"], plan["offset"]), "report": runs.report(state["directory"])}


def operation(module, name):
    return lambda plan, root: getattr(importlib.import_module("." + module, __package__), name)(plan, root)


OPERATIONS = {
    "sync": synchronise,
    "train": train,
    "watch": operation("watch", "start"),
    "poll": poll,
    "cancel": operation("run", "cancel"),
    "exec": operation("execution", "start"),
    "renew": operation("run", "renew"),
    "doctor": operation("doctor", "check"),
    "activity": operation("activity_report", "report"),
}
