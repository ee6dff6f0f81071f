"""The record of a run that ends without an attempt: docs/reference/formats.md, "Runs in the
store".
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ..system.documents import Outcome, RunRecord, RunRecordFailure, RunRecordStop, RunSpec
    from .boot_loader import BootDocument

# What the record of a run says of an attempt where there was none.
NO_ATTEMPT: Mapping[str, Any] = {
    "since": None,
    "takenOver": None,
    "launcher": None,
    "nodes": [],
    "rendezvous": None,
    "nodeCheckpoints": [],
    "wholeCheckpoint": None,
    "failedNode": None,
    "heartbeatPort": None,
}


def ended_record(
    boot: BootDocument,
    instance: str,
    outcome: Outcome,
    *,
    before: RunRecord | None = None,
    failure: RunRecordFailure | None = None,
    stop: RunRecordStop | None = None,
) -> dict[str, Any]:
    """The record of the run's end. `before`: its record of earlier attempts, or None."""
    now = int(time.time() * 1000)
    end = {
        "state": "ended",
        "outcome": outcome,
        "failure": failure,
        "stop": stop,
        "pid": None,
        "queue": None,
        "endedAt": now,
    }
    if before:
        return dict(before, **dict(end, heartbeat=before["heartbeat"] + 1))
    spec = boot["run"]
    return dict(
        {
            "v": 1,
            "id": spec["id"],
            "runKey": spec["runKey"],
            "project": spec["project"],
            "tree": boot["tree"],
            "snapshot": boot["snapshot"],
            "caller": spec["caller"],
            "identity": spec["identity"],
            "instance": instance,
            "user": boot["user"] or "",
            "directory": "",
            "exitCode": None,
            "signal": None,
            "createdAt": now,
            "startedAt": None,
            "attempt": 1,
            "attempts": [],
            "resources": spec["resources"],
            "gpus": None,
            "datasets": [],
            "restoredFrom": None,
            "warnings": [],
            "log": {"size": 0, "training": None, "truncated": False, "hashes": None},
            "metrics": {"host": None, "gpus": None, "training": {}, "segments": 0, "warnings": []},
            "checkpoints": [],
            "artifacts": None,
            "metadata": spec["metadata"],
            "heartbeat": 1,
            "access": "role",
            "trouble": None,
            "node": ended_node(spec),
            **NO_ATTEMPT,
        },
        **end,
    )


def ended_node(spec: RunSpec) -> dict[str, Any] | None:
    """What the record of a node says of it that has not begun; None: the run has one node."""
    node = spec.get("node")
    return node and {
        "rank": node["rank"],
        "count": node["count"],
        "address": "",
        "phase": "exited",
        "exitCode": None,
        "signal": None,
        "at": None,
        "told": False,
        "failure": None,
        "lines": [],
    }
