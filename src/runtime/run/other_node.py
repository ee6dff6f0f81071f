"""Another node than the first of a run on several: it follows the first one's record."""

from __future__ import annotations

from . import node_stop
from .node_group import POLL_S, NodeGroup
from .node_stop import NodeStop, failed_node
from .node_variables import Nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .attempt_end import AttemptEnd
    from .node_view import Peer


# The states of a node that has not got its turn.
WAITING = ("preparing", "queued")


class OtherNode(NodeGroup):
    def conclude(self, end: AttemptEnd, log_start: int) -> None:
        end.is_decided_elsewhere = True
        super().conclude(end, log_start)

    def wait_for_previous_turn(self) -> None:
        while True:
            previous = self.peer(self.rank - 1)
            record = previous.record if previous else None
            if record and record["attempt"] >= self.attempt and record["state"] not in WAITING:
                return
            self.raise_if_missing()
            self.stops.pause(POLL_S)

    @property
    def first(self) -> Peer | None:
        """The first node; None before anything is known of it."""
        return self.peer(0)

    def peer(self, rank: int) -> Peer | None:
        """A node that this one reads; None before anything is known of it."""
        return next((peer for peer in self.view.peers() if peer.rank == rank and peer.record), None)

    def ended_by_others(self) -> NodeStop | None:
        peer = self.first
        if peer is None or peer.record is None:
            return None
        record = peer.record
        if peer.is_lost:
            failed = failed_node(0, peer.instance, "lost")
            return node_stop.because_of("interruption", failed, self.grace_s)
        failed = record["failedNode"]
        if record["stop"]:
            failed = failed or failed_node(0, peer.instance, "stopped")
            return node_stop.because_of(record["stop"]["reason"], failed, self.grace_s)
        if record["failure"]:
            cause = record["failure"]
            if failed is None:
                failed = failed_node(0, peer.instance, "failed")
                cause = node_stop.of_node(cause, peer.name)
            return node_stop.by_failure(cause, failed, self.grace_s)
        if record["attempt"] > self.attempt or (record["attempt"] == self.attempt and failed):
            return NodeStop(
                node_stop.ANOTHER_NODE, self.grace_s, {"failedNode": failed}, ends_run=False
            )
        return None

    def nodes(self) -> Nodes | None:
        peer = self.first
        if peer is None or peer.record is None:
            return None
        if peer.record["attempt"] > self.attempt:
            # This node was too late for the attempt before.
            changes = dict(self.begin(peer.record["attempt"]), **self.changes("ready"))
            self.run.save(**changes)
        if peer.record["attempt"] != self.attempt:
            return None
        found, rendezvous = peer.record["nodes"], peer.record["rendezvous"]
        if not found or not rendezvous:
            return None
        addresses = [each["address"] for each in found]
        return Nodes(
            self.rank,
            addresses,
            rendezvous,
            checkpoints=peer.record["nodeCheckpoints"],
            whole_checkpoint=peer.record["wholeCheckpoint"],
        )

    def is_decided(self, end: AttemptEnd) -> bool:
        peer = self.first
        record = peer.record if peer else None
        if record is None or peer is None:
            return False
        if record["attempt"] > self.attempt:
            end.next = record["attempt"]
            end.why = "%s has begun attempt %d" % (peer.name, end.next)
            return True
        if record["outcome"] is None or record["stop"] or record["failure"]:
            return False
        if record["outcome"] != "succeeded" or self.own_end.told:
            end.failure = end.failure or node_stop.failure_by(self.own_end, self.name)
        return True
