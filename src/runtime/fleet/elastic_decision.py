"""Decides what an instance of a fleet does next for a run on MIN:MAX nodes. Any of its instances
can be any of its nodes: one of those that are left decides which are the nodes of the next attempt.
"""

from __future__ import annotations

from ..run.node_stop import GROWTH
from ..run.take_over import LEASE_S
from .decision import (
    ABANDON,
    CANCEL,
    FAILED,
    FINISH,
    HAND_OVER,
    START,
    WAIT,
    is_unfinished,
)
from .members import Members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from ..system.documents import RunRecord
    from .members import Present
    from .node_decision import Node

# The nodes of the next attempt are to be decided.
DECIDE = "decide"
# The attempt was decided, and its first node has not begun it.
WAIT_TO_BEGIN = "wait to begin"
# How a node ended an attempt that can't be in the next one at once.
GONE = ("lost", "stopped", "missing")


def elastic_step(
    run: Node, members: Members | None, instance: str, *, interrupted: bool, stopped: bool
) -> str:
    """The next step, if the run is not active on this instance. `run`: as its first node has told;
    `interrupted`: EC2 takes this instance back; `stopped`: a client has stopped the run.
    """
    record = run.record
    if record is not None and not is_unfinished(record):
        return FINISH
    if interrupted:
        return HAND_OVER
    if run.is_active:
        if record is None or members is None or not is_of(members, record):
            return WAIT
        return START if members.rank(instance) else WAIT
    if record is None and run.age is not None:
        return CANCEL if stopped else ABANDON
    if record is not None and record["outcome"] in FAILED:
        # Its instance is gone while it saved what the run had left.
        return FINISH
    if stopped:
        return CANCEL
    if members is None or has_begun(members, record):
        return DECIDE
    return START if members.rank(instance) == 0 else WAIT_TO_BEGIN


def is_of(members: Members, record: RunRecord) -> bool:
    """Whether the run is in the attempt that was decided, or in a retry by the same nodes."""
    return has_begun(members, record) and record["instance"] == members.instances[0]


def has_begun(members: Members, record: RunRecord | None) -> bool:
    return record is not None and record["attempt"] >= members.attempt


def next_instances(
    run: Node, members: Members | None, present: Sequence[Present], *, least: int
) -> list[str]:
    """The nodes of the next attempt by rank; fewer than `least`: there can be none yet. Instances
    that would have to be prepared first are taken only where the others are too few.
    """
    there = {each.instance: each for each in present if not each.is_leaving}
    record = run.record
    failed = record["failedNode"] if record else None
    if failed and failed["why"] in GONE and (run.age or 0) < LEASE_S:
        there.pop(failed["instance"] or "", None)
    before = members.instances if members else []
    known = [each for each in before if each in there]
    for each in members.joining if members else []:
        if each not in there:
            continue
        if not there[each].is_ready:
            # It has the rank that the next one would get.
            break
        known.append(each)
    if len(known) < least:
        known += [each for each in there if each not in known]
    return by_rank(known, before)


def by_rank(instances: Sequence[str], before: Sequence[str]) -> list[str]:
    """Each keeps the rank that it had, if there is such a rank."""
    kept = {rank: each for rank, each in enumerate(before[: len(instances)]) if each in instances}
    rest = iter([each for each in instances if each not in kept.values()])
    return [kept[rank] if rank in kept else next(rest) for rank in range(len(instances))]


def lost_before(members: Members | None, record: RunRecord | None) -> int:
    """How many attempts were lost in a row, and have saved nothing, before the one that is to be
    decided.
    """
    if members is None or record is None or not has_begun(members, record):
        return members.lost if members else 0
    has_saved = any(each["attempt"] >= members.attempt for each in record["checkpoints"])
    has_grown = (record["stop"] or {}).get("reason") == GROWTH
    return 0 if has_saved or has_grown else members.lost + 1


def next_joining(members: Members, present: Sequence[Present], most: int) -> list[str]:
    """The instances that are to be prepared beside the attempt: those that are, while any of them
    is there, else all that are neither node nor leaving.
    """
    there = [each.instance for each in present if not each.is_leaving]
    if any(each in there for each in members.joining):
        return members.joining
    spare = [each for each in there if each not in members.instances]
    return spare[: most - len(members.instances)]


def is_prepared(members: Members, present: Sequence[Present]) -> bool:
    """Whether the next attempt can have more nodes: nothing more is to be waited for."""
    joining = [each for each in present if each.instance in members.joining and not each.is_leaving]
    return bool(joining) and all(each.is_ready for each in joining)
