"""The first node of a run on several: decides for all when an attempt starts and how it ends."""

from __future__ import annotations

import time

from . import node_stop
from .checkpoint_choice import CheckpointChoice
from .node_address import rendezvous_of
from .node_group import END_TIMEOUT_S, LEAVING, POLL_S, NodeGroup
from .node_manifests import NodeManifests
from .node_stop import NodeStop, failed_node, is_of_run
from .node_variables import Nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .attempt_end import AttemptEnd
    from .child_process import Stop
    from .node_view import NodeEnd, Peer


class FirstNode(NodeGroup):
    def ended_by_others(self) -> NodeStop | None:
        peers = self.view.peers()
        for peer in peers:
            stop = node_stop.ended_by(peer, self.grace_s)
            if stop:
                return stop
        failed = first_failure([(peer, peer.end(self.attempt)) for peer in peers])
        if failed is None:
            return None
        peer, end = failed
        node = failed_node(peer.rank, peer.instance, "exited", code=end.code)
        return NodeStop(node_stop.ANOTHER_NODE, self.grace_s, {"failedNode": node}, ends_run=False)

    def nodes(self) -> Nodes | None:
        peers, run = self.view.peers(), self.run
        if len(peers) < self.count - 1 or any(
            peer.phase(self.attempt) != "ready" for peer in peers
        ):
            return None
        found: list[dict[str, Any]] = [
            {"rank": 0, "instance": run.record["instance"], "address": self.state["address"]}
        ]
        for peer in peers:
            assert peer.record
            address = peer.record["node"]["address"]
            found.append({"rank": peer.rank, "instance": peer.instance, "address": address})
        rendezvous = rendezvous_of(self.state["address"])
        checkpoints = CheckpointChoice(run, self.stops).find(peers)
        whole = NodeManifests(run, self.stops).publish(checkpoints)
        run.save(
            nodes=found,
            rendezvous=rendezvous,
            nodeCheckpoints=checkpoints,
            wholeCheckpoint=whole,
        )
        run.log.say("all %d nodes are ready: attempt %d begins" % (self.count, self.attempt))
        addresses = [each["address"] for each in found]
        return Nodes(0, addresses, rendezvous, checkpoints=checkpoints, whole_checkpoint=whole)

    def is_decided(self, end: AttemptEnd) -> bool:
        stop = self.stops.requested()
        if self.own_end.has_failed and not stop:
            node = failed_node(0, self.run.record["instance"], "exited", code=self.own_end.code)
            stop = self.latched = NodeStop(
                node_stop.ANOTHER_NODE, self.grace_s, {"failedNode": node}, ends_run=False
            )
        if stop:
            self.announce(stop)
        ends = [(peer, peer.end(self.attempt)) for peer in self.view.peers()]
        if is_of_run(stop):
            return False
        if any(found is None for _, found in ends) and not self._is_overdue(stop):
            return False
        self._judge(end, ends)
        return True

    def _is_overdue(self, stop: Stop | None) -> bool:
        """Whether nodes have had so long to end their training that they are not waited for."""
        if stop is None:
            return False
        self.told_since = self.told_since or time.monotonic()
        return time.monotonic() - self.told_since > self.grace_s + END_TIMEOUT_S

    def _judge(self, end: AttemptEnd, ends: list[tuple[Peer, NodeEnd | None]]) -> None:
        """Makes the first failure of a node the attempt's."""
        run, own = self.run, self.own_end
        instance: str | None = run.record["instance"]
        failed = first_failure(ends)
        is_earlier = failed is None or own.at <= failed[1].at
        is_own = own.has_failed and not own.told and is_earlier
        if is_own:
            if end.failure is None or end.failure["code"] != "RANK_FAILED":
                end.failure = node_stop.failure_by(own, self.name)
            else:
                end.failure = node_stop.of_node(end.failure, self.name)
            run.save(failedNode=failed_node(0, instance, "exited", code=own.code))
            return
        if failed is None:
            if own.has_failed or any(found is None or found.has_failed for _, found in ends):
                # All say that they were told to end: nothing has succeeded.
                end.failure = node_stop.failure_by(own, self.name)
            return
        peer, cause = failed
        end.code, end.failure = cause.code, node_stop.failure_by(cause, peer.name)
        end.why = "%s %s" % (peer.name, cause.how())
        run.save(failedNode=failed_node(peer.rank, peer.instance, "exited", code=cause.code))
        run.log.say("%s%s" % (end.failure["message"], ". Its last lines:" if cause.lines else ""))
        for line in cause.lines:
            run.log.say("[node %d] %s" % (peer.rank, line))

    def finish(self) -> None:
        """Waits until the others have ended as well, unless this instance goes away."""
        super().finish()
        stop = self.run.record["stop"]
        failed = self.run.record["failedNode"]
        is_leaving = stop and stop["reason"] in LEAVING and not failed
        deadline = time.monotonic() + self.grace_s + END_TIMEOUT_S
        while not is_leaving and time.monotonic() < deadline:
            if all(is_over(peer, self.attempt) for peer in self.view.peers()):
                return
            self.stops.keep_reporting()
            time.sleep(POLL_S)


def first_failure(
    ends: list[tuple[Peer, NodeEnd | None]],
) -> tuple[Peer, NodeEnd] | None:
    """The node whose training failed first without being told to end. The clocks of nodes decide
    between failures that were found together: one failure makes others, within seconds.
    """
    failed = [
        (peer, end) for peer, end in ends if end is not None and end.has_failed and not end.told
    ]
    return min(failed, key=lambda each: (each[1].at, each[0].rank), default=None)


def is_over(peer: Peer, attempt: int) -> bool:
    """Whether nothing of a node is left to wait for."""
    return peer.record is None or peer.is_lost or peer.has_ended or peer.phase(attempt) == "exited"
