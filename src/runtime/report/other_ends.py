"""Whether the other nodes of a run on several have saved what they wrote, after all trainings have
succeeded. Until then the run has not ended: the first node's record says so.
"""

from __future__ import annotations

import os

from ..system import atomic_files
from ..system.wall_clock import now_ms
from . import node_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ..system.documents import RunSpec


class OtherEnds:
    """Of the first node; the others wait for nobody."""

    def __init__(self, run_dir: str, spec: RunSpec) -> None:
        self.run_dir = run_dir
        self.path = os.path.join(run_dir, node_records.NODES)
        node = spec.get("node")
        self.ranks = list(range(1, node["count"])) if node and not node["rank"] else []

    def have_saved(self, record: dict[str, Any]) -> bool:
        """Whether all others have saved what they wrote, or need not. Changes the run's record: to
        an interruption if one is lost before that, else to one that names the others' last records.
        """
        if not self.ranks or record["outcome"] != "succeeded":
            return True
        named: list[dict[str, Any]] = record["nodes"]
        nodes = [each.copy() for each in named]
        if all(each.get("heartbeat") for each in nodes[1:]):
            return True
        entries: Mapping[str, Any] = atomic_files.read_object(self.path).get("nodes", {})
        saved = 0
        for rank in self.ranks:
            entry: Mapping[str, Any] = entries.get(str(rank), {})
            other: Mapping[str, Any] = entry.get("record") or {}
            if has_saved(other, record["attempt"]):
                nodes[rank]["heartbeat"] = other["heartbeat"]
                saved += 1
            elif is_lost(other, entry):
                self._save(record, **interrupted(rank, nodes[rank]["instance"]))
                return True
        if saved < len(self.ranks):
            return False
        self._save(record, nodes=nodes)
        return True

    def _save(self, record: dict[str, Any], **changes: Any) -> None:
        record.update(changes)
        atomic_files.write_json(os.path.join(self.run_dir, "run.json"), record)


def has_saved(other: Mapping[str, Any], attempt: int) -> bool:
    """Whether the record of another node says that it has succeeded in an attempt, and all of it is
    in the store.
    """
    is_last = other.get("attempt") == attempt and other["state"] == "ended"
    return is_last and other["outcome"] == "succeeded"


def is_lost(other: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether a node that has not saved what it wrote will not."""
    has_failed = other.get("outcome") not in (None, "succeeded")
    return has_failed or node_records.is_silent(entry)


def interrupted(rank: int, instance: str) -> dict[str, Any]:
    """What the record says of a run whose node is lost."""
    failed = {"rank": rank, "instance": instance, "exitCode": None, "signal": None, "why": "lost"}
    stop = {"reason": "interruption", "at": now_ms()}
    return {"outcome": "interrupted", "stop": stop, "failedNode": failed}
