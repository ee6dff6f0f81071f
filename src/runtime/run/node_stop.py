"""Why the other nodes of a run on several end the training of this one."""

from __future__ import annotations

from ..system.wall_clock import now_ms
from .child_process import Stop
from .failure_cause import STOPPED, failure
from .signal_name import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..system.documents import RunStateFailure
    from .node_view import NodeEnd, Peer

# The reason of a stop that is no reason of a run's.
ANOTHER_NODE = "node"
# The reason of one whose fleet launches no instance in the place of a node.
NOT_REPLACED = "not-replaced"
# The reason of one after which the next attempt has more nodes: of the attempt that trains, and of
# a node that was prepared for the next one.
GROWTH = "growth"


class NodeStop(Stop):
    """`changes`: what the run's record says of it. `ends_run`: the run ends, and not the attempt
    alone, after which there may be another one.
    """

    def __init__(
        self, reason: str, grace_s: float, changes: dict[str, Any], *, ends_run: bool
    ) -> None:
        super().__init__(reason, grace_s)
        self.changes, self.ends_run = changes, ends_run


class OtherNodes:
    """What a check for stops asks of the other nodes."""

    def stop_request(self) -> NodeStop | None:
        """Why they end this node's attempt, or the run; None: they do not."""
        raise NotImplementedError

    def announce(self, stop: Stop) -> None:
        """Tells them why this node's training is being stopped."""
        raise NotImplementedError


def is_of_run(stop: Stop | None) -> bool:
    """Whether it ends the run, and not the attempt alone."""
    return stop is not None and not (isinstance(stop, NodeStop) and not stop.ends_run)


def because_of(reason: str, failed: dict[str, Any] | None, grace_s: float) -> NodeStop:
    """The run is stopped for a reason, because of that node."""
    changes = {"stop": {"reason": reason, "at": now_ms()}, "failedNode": failed}
    return NodeStop(reason, grace_s, changes, ends_run=True)


def by_failure(cause: Any, failed: dict[str, Any] | None, grace_s: float) -> NodeStop:
    """The run has failed, because of that node."""
    return NodeStop(ANOTHER_NODE, grace_s, {"failure": cause, "failedNode": failed}, ends_run=True)


def ended_by(peer: Peer, grace_s: float) -> NodeStop | None:
    """What ends the run, by a node that is lost, or that has ended by itself; None: nothing."""
    record = peer.record
    if not record:
        return None
    if peer.is_lost:
        return because_of("interruption", failed_node(peer.rank, peer.instance, "lost"), grace_s)
    if record["stop"]:
        reason = record["stop"]["reason"]
        if reason not in STOPPED or reason == "superseded":
            reason = "interruption"
        return because_of(reason, failed_node(peer.rank, peer.instance, "stopped"), grace_s)
    cause: RunStateFailure | None = record["failure"]
    if cause:
        return by_failure(
            of_node(cause, peer.name), failed_node(peer.rank, peer.instance, "failed"), grace_s
        )
    if peer.has_ended:
        how = "ended before the others: %s" % record["outcome"]
        cause = failure("NODE_FAILED", "%s %s" % (peer.name, how), record["exitCode"])
        return by_failure(cause, failed_node(peer.rank, peer.instance, "failed"), grace_s)
    return None


def of_node(cause: RunStateFailure, name: str) -> RunStateFailure:
    """A failure of a node as that of the run."""
    return failure(cause["code"], "%s: %s" % (name, cause["message"]), cause.get("exitCode"))


def failure_by(end: NodeEnd, name: str) -> RunStateFailure:
    """The failure of a run by that of the node whose training failed first."""
    if end.failure:
        return of_node(end.failure, name)
    exit_code = end.code if end.code >= 0 else None
    return failure("NODE_FAILED", "%s failed first: it %s" % (name, end.how()), exit_code)


def failed_node(
    rank: int, instance: str | None, why: str, *, code: int | None = None
) -> dict[str, Any]:
    """A node that ended the attempt, as in a record. `code`: that of its training, negative for a
    signal.
    """
    return {
        "rank": rank,
        "instance": instance,
        "exitCode": code if code is not None and code >= 0 else None,
        "signal": signal_name(-code) if code is not None and code < 0 else None,
        "why": why,
    }
