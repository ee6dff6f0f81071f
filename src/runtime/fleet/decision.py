"""Decides what an instance of a fleet does next with its run, by the run's record in the store."""

from __future__ import annotations

from ..run.take_over import LEASE_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import RunRecord


# If this many attempts in a row are lost and have saved nothing, the run itself is the cause.
MAX_LOST = 4

START = "start"
RESUME = "resume"
FAIL = "fail"
WAIT = "wait"
CANCEL = "cancel"
FINISH = "finish"
HAND_OVER = "hand over"
ABANDON = "abandon"
# How a run ends by itself without results.
FAILED = ("failed", "cancelled", "timed-out", "setup-failed")
# The reasons for a stop that concern the machines, and not the run.
RECLAIM_REASONS = ("interruption", "shutdown", "growth")


def next_step(
    record: RunRecord | None, age: float | None, *, interrupted: bool, stopped: bool
) -> str:
    """The next step, if the run is not active on this instance. `record`: the run's, written `age`
    seconds ago, or None. `interrupted`: EC2 takes this instance back, so the next one resumes the
    run. `stopped`: a client has stopped the run.
    """
    if record is not None and not is_unfinished(record):
        return FINISH
    if record is not None and record["state"] != "ended" and (age or 0) < LEASE_S:
        return HAND_OVER if interrupted else WAIT
    if record is not None and record["outcome"] in FAILED:
        # Its instance is gone while it saved what the run had left.
        return FINISH
    if stopped:
        return CANCEL
    if interrupted:
        return HAND_OVER
    if record is None:
        return START
    return FAIL if lost_in_a_row(record) >= MAX_LOST else RESUME


def unverified_step(age: float, interrupted: bool, stopped: bool) -> str:
    """The next step if the record in the store is forged or outdated: an instance on which the run
    is active overwrites it; without one, the run's state is unknown.
    """
    if interrupted:
        return HAND_OVER
    return WAIT if age < LEASE_S else CANCEL if stopped else ABANDON


def lost_in_a_row(record: RunRecord) -> int:
    """The number of last attempts that were lost without a checkpoint. One that exited with 0 was
    lost before its results were saved.
    """
    saved = {each["attempt"] for each in record["checkpoints"]}
    ends = [
        (each["n"], each["exitCode"] in (None, 0) and not each.get("stopped"))
        for each in record["attempts"]
    ]
    if not ends or ends[-1][0] != record["attempt"]:
        ends.append((record["attempt"], record["outcome"] in (None, "lost", "succeeded")))
    count = 0
    for n, lost in reversed(ends):
        if not lost or n in saved:
            break
        count += 1
    return count


def is_unfinished(record: RunRecord) -> bool:
    """Whether it has not ended, or not by itself."""
    if record["state"] != "ended" or record["outcome"] == "lost":
        return True
    return (
        record["outcome"] == "interrupted"
        and (record["stop"] or {}).get("reason") in RECLAIM_REASONS
    )
