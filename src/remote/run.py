"""Runs: their record, their start, their end as others see it."""
import os
import re
import time

from . import files
from .account import training_user
from .failure import Failure
from .held import held

RUN_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]{1,40}-[a-z2-7]{6}")
STARTING = 3.0
ALIVE = 0.3


def directory(root, run_id):
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise Failure("NO_RUN", "%r is not the id of a run" % (run_id,), run=str(run_id))
    return os.path.join(root, "runs", run_id)


def state(root, run_id):
    """The record of a run, as true as it can be told: one whose supervisor is gone is lost, never running."""
    home = directory(root, run_id)
    record = files.read_json(os.path.join(home, "run.json"))
    if record is None:
        raise Failure("NO_RUN", "there is no run %s on this instance" % run_id, run=run_id)
    if record["state"] != "ended" and not held(os.path.join(home, "lock")):
        # It may have ended between the two looks.
        record = files.read_json(os.path.join(home, "run.json"))
        if record["state"] != "ended":
            record["outcome"] = "lost"
            record["failure"] = {"code": "SUPERVISOR_LOST", "message": "its supervisor is gone", "exitCode": None}
    record["collected"] = os.path.exists(os.path.join(home, "collected"))
    return record


def all_of(root, tree):
    """The records of a tree's runs, newest first."""
    try:
        names = sorted((name for name in os.listdir(os.path.join(root, "runs")) if RUN_ID.fullmatch(name)), reverse=True)
    except OSError:
        return
    for name in names:
        record = files.read_json(os.path.join(root, "runs", name, "run.json"))
        if record and record["tree"] == tree:
            yield state(root, name)


def resolve(root, plan):
    if plan["run"]:
        return plan["run"]
    for record in all_of(root, plan["tree"]):
        if record["project"] == plan["project"]:
            return record["id"]
    raise Failure("NO_RUN", "%s has no run on this instance" % plan["project"], run=None)


def find(root, tree, part):
    """The run that is this very training: by its id, or by its key where that still goes on or waits to be collected."""
    if os.path.exists(os.path.join(directory(root, part["id"]), "run.json")):
        return state(root, part["id"])
    if part["rerun"]:
        return None
    for record in all_of(root, tree):
        if record["key"] != part["key"]:
            continue
        if record["outcome"] is None or (record["outcome"] == "succeeded" and not record["collected"]):
            return record
    return None


def start(plan, root, lock, tree):
    from . import supervisor

    part = plan["run"]
    home = directory(root, part["id"])
    account = training_user(plan.get("user"))
    os.makedirs(home)
    record = {
        "id": part["id"], "key": part["key"], "project": part["project"], "tree": plan["tree"], "snapshot": plan["sync"]["snapshot"],
        "state": "preparing", "pid": None, "supervisor": None, "user": account.pw_name,
        "createdAt": int(time.time() * 1000), "startedAt": None, "endedAt": None, "exitCode": None, "signal": None,
        "stop": None, "failure": None, "outcome": None, "collected": False, "directory": home,
    }
    files.write_json(os.path.join(home, "plan.json"), part, 0o600)
    supervisor.spawn(home, record, part, tree, account, lock)
    deadline = time.monotonic() + STARTING
    seen = None
    while time.monotonic() < deadline:
        record = state(root, part["id"])
        if record["outcome"] is not None or record["state"] == "setup":
            return record
        if record["state"] == "running":
            seen = seen or time.monotonic()
            if time.monotonic() - seen > ALIVE:
                return record
        time.sleep(0.05)
    return state(root, part["id"])


def cancel(plan, root):
    record = state(root, resolve(root, plan))
    already = record["outcome"] is not None
    if not already:
        files.write_json(os.path.join(directory(root, record["id"]), "stop.json"), {"reason": "cancelled", "grace": plan["grace"]})
    return {"run": record, "already": already}


def collected(plan, root):
    home = directory(root, plan["run"])
    state(root, plan["run"])
    files.write_atomically(os.path.join(home, "collected"), b"")
    return {"run": state(root, plan["run"])}
