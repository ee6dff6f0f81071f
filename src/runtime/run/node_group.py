"""A run on several nodes, as the supervisor of one of them takes part in it. The first node decides
when the training starts, how an attempt has ended and whether there is another one; the others
follow its record.
"""

from __future__ import annotations

import time

from ..disk.full_disk import tail
from ..system.wall_clock import now_ms
from .failure_cause import exit_of
from .node_address import own_address
from .node_stop import NOT_REPLACED, NodeStop, OtherNodes, failed_node, is_of_run
from .node_view import NodeEnd, NodeView, name_of
from .supervised_run import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..system.documents import RunSpec
    from .attempt_end import AttemptEnd
    from .child_process import Stop
    from .node_variables import Nodes
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun

# How long a node is waited for that the store has no record of, since one was started or showed
# that it is being started.
MISSING_S = 120.0
# Between two looks at what the reporter has read.
POLL_S = 0.1
# How long the training of another node may take to end, after its grace period. Longer than a lost
# node takes to be found lost: else the failure that its loss causes here would be the run's.
END_TIMEOUT_S = 90.0
MAX_LINES, MAX_LINE_LENGTH = 12, 1000
# What ends this instance: there is no time to wait for others.
LEAVING = ("shutdown", "interruption", "superseded")


class NodeGroup(OtherNodes):
    """`latched`: why the others have ended this node's attempt, or the run."""

    def __init__(self, run: SupervisedRun, stops: StopCheck) -> None:
        node = run.spec["node"]
        assert node
        self.run, self.stops = run, stops
        self.rank, self.count = node["rank"], node["count"]
        self.grace_s: float = run.spec["gracePeriod"]
        # Since when no other node has begun.
        self.begun = time.monotonic()
        self.present = 0
        self.view = NodeView(run.run_dir, self.count, run.record["attempt"])
        self.latched: NodeStop | None = None
        self.announced: Stop | None = None
        # When the others were told to end the attempt.
        self.told_since: float | None = None
        self.state: dict[str, Any] = {
            "rank": self.rank,
            "count": self.count,
            "address": own_address(),
        }
        run.record.update(self.changes("preparing"))

    @property
    def attempt(self) -> int:
        return self.run.record["attempt"]

    @property
    def name(self) -> str:
        return name_of(self.rank, self.count, self.run.record["instance"])

    def changes(self, phase: str, **end: Any) -> dict[str, Any]:
        """What the run's record says of this node from now on."""
        self.state.update(
            {"exitCode": None, "signal": None, "at": None, "told": False}, phase=phase
        )
        self.state.update(failure=None, lines=[])
        self.state.update(end)
        return {"node": dict(self.state)}

    def begin(self, attempt: int) -> dict[str, Any]:
        """What the run's record says of the next attempt."""
        self.latched = self.announced = self.told_since = None
        return dict(
            self.changes("preparing"),
            attempt=attempt,
            nodes=[],
            rendezvous=None,
            nodeCheckpoints=[],
            wholeCheckpoint=None,
            failedNode=None,
        )

    def stop_request(self) -> NodeStop | None:
        if self.latched is None or not self.latched.ends_run:
            stop = self.ended_by_others()
            if stop and (self.latched is None or stop.ends_run):
                self.latched = stop
        return self.latched

    def ended_by_others(self) -> NodeStop | None:
        raise NotImplementedError

    def announce(self, stop: Stop) -> None:
        """Records at once why the training is being stopped: other nodes then stop theirs in the
        same grace period.
        """
        if stop is self.announced or (self.announced and is_of_run(self.announced)):
            return
        self.announced = stop
        if isinstance(stop, NodeStop):
            self.run.save(**stop.changes)
        else:
            self.run.save(stop={"reason": stop.reason, "at": now_ms()})

    def wait_until_ready(self) -> Nodes:
        """Waits until all nodes are ready for the attempt."""
        changes = self.changes("ready")
        if self.run.record["startedAt"] is None:
            changes["state"] = "setup"
        self.run.save(**changes)
        self.stops.check()
        nodes = self.nodes()
        if nodes is None:
            self.run.log.say("%s waits for the others" % self.name)
        while nodes is None:
            self.raise_if_missing()
            self.stops.pause(POLL_S)
            nodes = self.nodes()
        return nodes

    def nodes(self) -> Nodes | None:
        """The nodes of the attempt; None while not all are ready."""
        raise NotImplementedError

    def wait_for_previous_turn(self) -> None:
        """Waits until the node before this one has the resources that it reserves."""
        raise NotImplementedError

    def raise_if_missing(self) -> None:
        """Raises Failed where a node was not started in time. A client starts some at a time: each
        that has begun, or shows that it still gets its files, gives the others as much time again.
        """
        peers = self.view.peers()
        present = sum(peer.record is not None for peer in peers)
        if present > self.present and not is_replaced_by_fleet(self.run.spec):
            self.present, self.begun = present, time.monotonic()
        shown = [peer.shown for peer in peers if peer.record is None and peer.shown is not None]
        self.begun = max([self.begun, *shown])
        waited_s = time.monotonic() - self.begun
        if waited_s < nodes_limit_s(self.run.spec, self.attempt):
            return
        for peer in peers:
            if peer.record is None:
                # Written together with the failure.
                self.run.record["failedNode"] = failed_node(peer.rank, None, "missing")
                how = "was not started: the store has no record of it after %d s" % waited_s
                if peer.read is None:
                    how = "may not have started: its record can't be read: %s" % peer.problem
                if is_elastic(self.run.spec):
                    # The next attempt may do without it.
                    self.run.record["stop"] = {"reason": "interruption", "at": now_ms()}
                elif is_replaced_by_fleet(self.run.spec) and self.attempt > 1:
                    self.run.record["stop"] = {"reason": NOT_REPLACED, "at": now_ms()}
                    how = "was not replaced: its fleet has begun no attempt within %d s" % waited_s
                raise Failed("NODES_MISSING", "%s %s" % (peer.name, how))

    def conclude(self, end: AttemptEnd, log_start: int) -> None:
        """Records how this node's training ended, and waits for how the attempt did. Changes `end`
        to that.
        """
        if self.announced and is_of_run(self.announced) and end.stop is None:
            end.stop = self.announced
        self._publish(end, log_start)
        while end.stop is None and not self.is_decided(end):
            stop = self.stops.requested()
            if stop and is_of_run(stop):
                self.announce(stop)
                end.stop = stop
                return
            self.stops.keep_reporting()
            time.sleep(POLL_S)

    def is_decided(self, end: AttemptEnd) -> bool:
        """Whether it is known how the attempt has ended, which `end` is changed to."""
        raise NotImplementedError

    def _publish(self, end: AttemptEnd, log_start: int) -> None:
        lines = self._last_lines(end, log_start) if end.code or end.failure else []
        own = NodeEnd(end.code, at=end.at, told=end.is_told, failure=end.failure, lines=lines)
        self.own_end = own
        self.run.save(
            pid=None,
            **self.changes(
                "exited",
                at=own.at,
                told=own.told,
                failure=own.failure,
                lines=own.lines,
                **exit_of(own.code),
            ),
        )

    def _last_lines(self, end: AttemptEnd, log_start: int) -> list[str]:
        if end.rank:
            lines = end.rank.lines
        else:
            text = tail(self.run.log.path, log_start).decode("utf-8", "replace")
            lines = [line for line in text.splitlines() if line.strip()]
        return [line[:MAX_LINE_LENGTH] for line in lines[-MAX_LINES:]]

    def finish(self) -> None:
        """Records that this node trains no more."""
        if self.state["phase"] != "exited":
            self.run.save(**self.changes("exited"))


def is_replaced_by_fleet(spec: RunSpec) -> bool:
    """Whether the fleet of each node launches another instance in the place of a lost one."""
    node = spec["node"]
    return bool(node and node.get("timeouts"))


def is_elastic(spec: RunSpec) -> bool:
    """Whether fleets keep nodes of which some may lack."""
    node = spec["node"]
    return bool(node and node.get("elastic"))


def nodes_limit_s(spec: RunSpec, attempt: int) -> float:
    """How long, in seconds, the nodes of an attempt wait for one that has not begun it."""
    node = spec["node"]
    timeouts = node.get("timeouts") if node else None
    if not timeouts:
        return MISSING_S
    return timeouts["start"] if attempt == 1 else timeouts["replacement"]
