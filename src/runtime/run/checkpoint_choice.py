"""Which checkpoint all nodes of a run on several resume from. The first node chooses, once all are
ready, and its record says what: each node restores just that.
"""

from __future__ import annotations

from ..report.node_records import node_bucket
from ..report.signed_record import RECORD, SigningKey
from ..system.errors import Failure
from .resume_checkpoint import kept_checkpoints
from .supervised_run import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, Sequence

    from ..system.documents import RunRecordNodeCheckpointsItem, SavedCheckpoint
    from .node_view import Peer
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun


class CheckpointChoice:
    def __init__(self, run: SupervisedRun, stops: StopCheck) -> None:
        self.run, self.stops = run, stops
        node = run.spec["node"]
        assert node
        # Of each attempt. Records of older clients do not say it.
        self.counts: dict[int, int] = {
            each["n"]: each.get("nodes") or node["count"] for each in run.record["attempts"]
        }

    def find(self, peers: Sequence[Peer]) -> list[RunRecordNodeCheckpointsItem]:
        """What all resume from. `peers`: the other nodes, which are ready for the attempt. Failed
        where the record of a node that is no longer one can't be trusted.
        """
        run, attempt = self.run, self.run.record["attempt"]
        own = before(kept_checkpoints(run.run_dir), attempt)
        try:
            kept = [own, *(peer.record["checkpoints"] for peer in peers if peer.record)]
            kept += [self._of_gone(rank, own) for rank in range(len(kept), self._most(own))]
        except Failure as failure:
            raise restore_failed(failure)
        kept = [before(each, attempt) for each in kept]
        chosen = choose(kept, self.counts)
        if chosen is None:
            if any(kept):
                how = "no checkpoint was saved by all nodes that save any: none is restored"
                run.log.say(how)
            return []
        return [
            {"rank": rank, "n": each["n"], "sha256": each["sha256"]}
            for rank, each in enumerate(chosen)
            if each
        ]

    def _most(self, own: Sequence[SavedCheckpoint]) -> int:
        """The largest number of nodes that have made one of these checkpoints."""
        return max((self.counts.get(each["attempt"], 0) for each in own), default=0)

    def _of_gone(self, rank: int, own: Sequence[SavedCheckpoint]) -> list[SavedCheckpoint]:
        """What a node that only earlier attempts had has saved. It has taken part in each of them
        in which this node has saved anything.
        """
        run = self.run
        self.stops.check()
        bucket = node_bucket(run.spec, rank)
        _, record = SigningKey(run.spec).of_node(rank).read(bucket, RECORD)
        if record is None or record["id"] != run.spec["id"]:
            raise Failure("RECORD_UNVERIFIED", "the record of node %d can't be read" % rank)
        attempts = (each["attempt"] for each in own if self.counts.get(each["attempt"], 0) > rank)
        if record["attempt"] < max(attempts):
            how = "the record of node %d is older than its last attempt: it was put back" % rank
            raise Failure("RECORD_UNVERIFIED", how)
        return record["checkpoints"]


def restore_failed(failure: Failure) -> Failed:
    return Failed(
        "RESTORE_FAILED",
        "the last checkpoint of the nodes can't be restored, and the training would start "
        "from the beginning: %s" % failure.message,
    )


def before(kept: Sequence[SavedCheckpoint], attempt: int) -> list[SavedCheckpoint]:
    """Those that were saved in earlier attempts."""
    return [each for each in kept if each["attempt"] < attempt]


def choose(
    kept: Sequence[Sequence[SavedCheckpoint]], nodes: Mapping[int, int]
) -> list[SavedCheckpoint | None] | None:
    """The newest checkpoint of the first node that each node has which has saved any, as each of
    them has it, among those of attempts with as many nodes. None: there is none. `nodes`: of each
    attempt.
    """
    for wanted in reversed(kept[0]):
        count = nodes.get(wanted["attempt"])
        alike = [
            [each for each in saved if nodes.get(each["attempt"]) == count]
            for saved in kept[:count]
        ]
        found = [newest_named(each, wanted["unit"]) for each in alike]
        if all(mine or not each for mine, each in zip(found, alike)):
            return found
    return None


def newest_named(kept: Sequence[SavedCheckpoint], unit: str) -> SavedCheckpoint | None:
    return next((each for each in reversed(kept) if each["unit"] == unit), None)
