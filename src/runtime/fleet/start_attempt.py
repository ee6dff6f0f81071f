"""Starts the next attempt of a fleet's run on this instance."""

from __future__ import annotations

from .. import main
from ..aws.credentials import instance_role
from ..system.errors import Failure
from .snapshot_plan import Signer, plan_sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ..system.documents import RunRecord, StoreAccess
    from .boot_loader import BootDocument


def start_attempt(boot: BootDocument, root: str, record: RunRecord | None) -> int:
    """Syncs the snapshot and starts the run. Returns the number of the attempt. `record`: the run's
    own after an earlier attempt. @raises Failure
    """
    spec = boot["run"]
    next_attempt = (
        {"attempt": record["attempt"] + 1, "heartbeat": record["heartbeat"]} if record else None
    )
    plan = {
        "v": 1,
        "op": "train",
        "root": root,
        "user": boot["user"],
        "tree": boot["tree"],
        "sync": plan_sync(
            Signer(spec["store"], spec["id"], instance_role()), boot["snapshot"], boot["limits"]
        ),
        "run": dict(spec, nextAttempt=next_attempt),
    }
    reply = main.run(plan, root)
    if not reply["ok"]:
        raise refusal(spec["store"], **reply["error"])
    return reply["run"]["attempt"]


def refusal(store: StoreAccess, *, code: str, message: str, detail: Mapping[str, Any]) -> Failure:
    """The error of a reply, as a Failure."""
    if code == "CONTENT_MISSING":
        message = (
            "packs of the snapshot are not in the store, or the instance's role may not read them"
        )
        base = store["prefix"].rpartition("v2/projects/")[0]
        detail = {"fix": "allow s3:GetObject on %s/%sv2/packs/*" % (store["bucket"], base)}
    return Failure(code, message, **detail)
