"""The record of a run that ends without an attempt: docs/reference/formats.md, "Runs in the store"."""
import time


def ended_record(boot, instance, outcome, before=None, failure=None, stop=None):
    """What the store is to be told. `before`: the record that is there, of attempts that were."""
    now = int(time.time() * 1000)
    end = {"state": "ended", "outcome": outcome, "failure": failure, "stop": stop, "pid": None, "queue": None, "endedAt": now}
    if before:
        return dict(before, **dict(end, heartbeat=before["heartbeat"] + 1))
    part = boot["run"]
    return dict({
        "v": 1, "id": part["id"], "runKey": part["runKey"], "project": part["project"], "tree": boot["tree"], "snapshot": boot["snapshot"],
        "caller": part["caller"], "identity": part["identity"], "instance": instance, "user": boot["user"] or "", "directory": "", "exitCode": None, "signal": None,
        "createdAt": now, "startedAt": None, "attempt": 1, "attempts": [], "resources": part["resources"], "gpus": None, "datasets": [], "restoredFrom": None, "warnings": [],
        "log": {"size": 0, "training": None, "truncated": False, "hashes": None},
        "metrics": {"host": None, "gpus": None, "training": {}, "segments": 0, "warnings": []},
        "checkpoints": [], "artifacts": None, "metadata": part["metadata"], "heartbeat": 1, "access": "role", "trouble": None,
    }, **end)
