"""Decides what an instance of a fleet does next that keeps another node than the first of a run on
several. The first one does as the instance of a run on one node does: each of its attempts is one
of all nodes, which the others join.
"""

from __future__ import annotations

from ..run.take_over import LEASE_S
from .decision import (
    CANCEL,
    FAIL,
    FAILED,
    FINISH,
    HAND_OVER,
    MAX_LOST,
    RESUME,
    START,
    WAIT,
    is_unfinished,
    lost_in_a_row,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import RunRecord

# The first node is not there: it is waited for within a limit.
WAIT_FOR_FIRST = "wait for the first node"
# This node has failed, and the first one is not there to say so.
PASS_ON = "pass on"


class Node:
    """What is known of a node. `record`: None where it has none; `age`: seconds since its object in
    the store was written, None where there is none.
    """

    def __init__(self, record: RunRecord | None, age: float | None) -> None:
        self.record, self.age = record, age

    @property
    def is_active(self) -> bool:
        """Whether an instance may be writing its record. One that can't be verified will be written
        over.
        """
        if self.age is None or (self.record is not None and self.record["state"] == "ended"):
            return False
        return self.age < LEASE_S


def other_node_step(first: Node, own: Node, *, interrupted: bool, stopped: bool) -> str:
    """The next step, if this node is not active on this instance. `interrupted`: EC2 takes this
    instance back; `stopped`: a client has stopped the run.
    """
    run, record = first.record, own.record
    if run is not None and not is_unfinished(run):
        return FINISH
    if own.is_active:
        return HAND_OVER if interrupted else WAIT
    if interrupted:
        return HAND_OVER
    if first.is_active:
        return WAIT if run is None else joining_step(run, record)
    if stopped:
        return CANCEL
    if record is not None and record["outcome"] in FAILED:
        return PASS_ON
    return START if run is None and record is None else WAIT_FOR_FIRST


def joining_step(run: RunRecord, record: RunRecord | None) -> str:
    """The next step where the first node is in an attempt."""
    if record is None:
        return START
    if record["attempt"] >= run["attempt"]:
        # It has been in it: the first node ends the attempt.
        return WAIT
    # One node may save all checkpoints.
    checkpoints = [*record["checkpoints"], *run["checkpoints"]]
    known: RunRecord = {**record, "checkpoints": checkpoints}
    return FAIL if lost_in_a_row(known) >= MAX_LOST else RESUME
