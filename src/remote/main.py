"""Runs one plan: docs/FORMAT.md, "Plan"."""
import errno
import os

from . import collect, doctor, log, run as runs, sync
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


def train(plan, root):
    part = plan["run"]
    with sync.TreeLock(root, plan["tree"]) as lock:
        # Under the lock: of two that ask for the same training at once, the second finds the first's.
        found = runs.find(root, plan["tree"], part)
        result = sync.apply(plan, root)
        attached = False
        if found is None:
            state = runs.start(plan, root, lock)
        else:
            state = found
            if state["id"] != part["id"]:
                attached = "ended" if state["state"] == "ended" else "running"
    return dict(result, run=state, attached=attached)


def synchronise(plan, root):
    with sync.TreeLock(root, plan["tree"]):
        return sync.apply(plan, root)


def poll(plan, root):
    state = runs.state(root, runs.resolve(root, plan))
    return dict(log.read(root, state, plan), run=state, collect=collect.state(root, state["id"]))


OPERATIONS = {
    "sync": synchronise,
    "train": train,
    "poll": poll,
    "cancel": runs.cancel,
    "collect": collect.start,
    "collected": runs.collected,
    "doctor": doctor.check,
}
