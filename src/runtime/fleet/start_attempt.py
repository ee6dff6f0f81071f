"""Starts the next attempt of a fleet's run on this instance."""

from __future__ import annotations

from .. import main
from ..aws.credentials import instance_role
from ..report.node_records import run_prefix
from ..system.errors import Failure
from .snapshot_plan import Signer, plan_sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ..system.documents import RunRecord, RunSpec, StoreAccess
    from .boot_loader import BootDocument


def start_attempt(
    boot: BootDocument, root: str, record: RunRecord | None, *, attempt: int | None = None
) -> int:
    """Syncs the snapshot and starts the run. Returns the number of the attempt. `record`: the run's
    own after an earlier attempt, or the node's. `attempt`: None: the one after that. @raises
    Failure
    """
    spec = boot["run"]
    number = attempt or (record["attempt"] + 1 if record else 1)
    heartbeat = record["heartbeat"] if record else 0
    next_attempt = {"attempt": number, "heartbeat": heartbeat} if number > 1 else None
    plan = {
        "v": 1,
        "op": "train",
        "root": root,
        "user": boot["user"],
        "tree": boot["tree"],
        "sync": plan_sync(
            Signer(run_access(spec), spec["id"], instance_role()), boot["snapshot"], boot["limits"]
        ),
        "run": dict(spec, nextAttempt=next_attempt),
    }
    reply = main.run(plan, root)
    if not reply["ok"]:
        raise refusal(spec["store"], **reply["error"])
    return reply["run"]["attempt"]


def run_access(spec: RunSpec) -> StoreAccess:
    """The way to the objects of the run, by that to those of the node."""
    access = spec["store"].copy()
    if spec.get("node"):
        access["prefix"] = run_prefix(spec)
    return access


def refusal(store: StoreAccess, *, code: str, message: str, detail: Mapping[str, Any]) -> Failure:
    """The error of a reply, as a Failure."""
    if code == "CONTENT_MISSING":
        message = (
            "packs of the snapshot are not in the store, or the instance's role may not read them"
        )
        base = store["prefix"].rpartition("v2/projects/")[0]
        detail = {"fix": "allow s3:GetObject on %s/%sv2/packs/*" % (store["bucket"], base)}
    return Failure(code, message, **detail)
