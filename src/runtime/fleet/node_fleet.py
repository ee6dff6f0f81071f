"""Runs one training on several nodes, each of which is kept by a fleet of its own:
docs/reference/formats.md, "Runs with a fleet".
"""

from __future__ import annotations

import time

from ..aws.bucket import Bucket
from ..report import node_start
from ..report.signed_record import RECORD
from ..run import failure_cause
from ..run.node_group import nodes_limit_s
from ..run.node_stop import NOT_REPLACED, failed_node
from ..run.take_over import LEASE_S
from ..run_dir.node_path import node_path
from ..system.errors import Failure
from ..system.wall_clock import now_ms
from .decision import (
    ABANDON,
    CANCEL,
    FAIL,
    FINISH,
    HAND_OVER,
    RESUME,
    START,
    WAIT,
    unverified_step,
)
from .fleet_run import CRASH_LOOP, Fleet
from .node_decision import PASS_ON, WAIT_FOR_FIRST, Node, other_node_step
from .stored_record import StoredRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..aws.bucket import Object
    from ..system.documents import Outcome, RunRecord, RunRecordStop
    from .boot_loader import BootDocument, WatchdogConfig


# Between two looks at the record of the first node.
FIRST_POLL_S = 2.0


def of_node(boot: BootDocument, rank: int) -> BootDocument:
    """What another node than the first starts from, by what the first one does."""
    if not rank:
        return boot
    spec = boot["run"].copy()
    assert spec["node"]
    spec["node"] = {**spec["node"], "rank": rank}
    spec["store"] = {**spec["store"], "prefix": spec["store"]["prefix"] + node_path(rank)}
    spec["rerun"] = True
    own = boot.copy()
    own["run"] = spec
    return own


class NodeFleet(Fleet):
    """The first node. `first`: its boot.json."""

    def __init__(
        self,
        boot: BootDocument,
        config: WatchdogConfig,
        root: str,
        *,
        log: Callable[[str], object],
        first: BootDocument,
    ) -> None:
        super().__init__(boot, config, root, log=log)
        node = boot["run"]["node"]
        assert node
        self.rank, self.count = node["rank"], node["count"]
        self.bucket = Bucket({**first["run"]["store"], "access": "role"}, "role")
        self.run_record = StoredRecord(first, self.bucket, self.record.instance)
        # The last sign that the first node is being started, by its clock.
        self.first_sign = 0

    def _delete(self, terminate: bool) -> None:
        """Deletes the fleets of nodes that have no instance as well: those of the others are theirs
        to delete, when they have saved what they have.
        """
        _, run = self.run_record.read()
        failed = run["failedNode"] if run else None
        missing = failed["rank"] if failed and failed["why"] == "missing" else None
        others = [rank for rank in range(self.count) if rank != self.rank]
        vacant = [rank for rank in others if rank == missing or self._is_vacant(rank)]
        self.fleet.delete_template()
        self.fleet.delete_of_nodes(vacant, terminate)
        self.fleet.delete_own(terminate)

    def _is_vacant(self, rank: int) -> bool:
        """Whether no instance has told of a node lately. One that does is to end it itself."""
        try:
            key = self.record.key.of_node(rank)
            found, _ = key.read(self.bucket, node_path(rank) + RECORD)
        except Failure as failure:
            if failure.code != "ACCESS_DENIED":
                raise
            return False
        return found is None or found.age >= LEASE_S

    def _is_first_being_started(self) -> bool:
        """Whether the first node has shown, since this was asked last, that it gets its files. An
        old sign may be put back by another program.
        """
        sign = node_start.read(self.bucket, self.run_record.key, node_start.STARTING) or 0
        is_new, self.first_sign = sign > self.first_sign, max(sign, self.first_sign)
        return is_new


class OtherNodeFleet(NodeFleet):
    """Another node: it follows the first one's record, and ends the run where that is not there."""

    # Since when the first node is waited for, by the monotonic clock.
    waits_since: float | None = None

    def step(self) -> bool:
        if self._is_active_here():
            time.sleep(FIRST_POLL_S)
            return False
        interrupted = self._is_taken_back()
        found, own = self.record.read()
        first_found, run = self.run_record.read()
        stopped = self.run_record.is_stop_requested()
        age = found.age if found else self._deleted_for()
        first = Node(run, first_found.age if first_found else None)
        step = other_node_step(first, Node(own, age), interrupted=interrupted, stopped=stopped)
        if own is None and age is not None and step != FINISH:
            step = unverified_step(age, interrupted, stopped)
        if step != WAIT_FOR_FIRST:
            self.waits_since = None
        if step == START and not self._may_start():
            return True
        if step in (START, RESUME):
            self._start(found, own, run["attempt"] if run else 1)
        elif step == WAIT:
            time.sleep(FIRST_POLL_S)
        elif step == WAIT_FOR_FIRST:
            self._wait_for_first(first_found, run)
        elif step == CANCEL:
            stop: RunRecordStop = {"reason": "cancelled", "at": now_ms()}
            self.run_record.end(first_found, run, "cancelled", stop=stop)
        elif step == PASS_ON and own:
            self._pass_on(first_found, run, own)
        elif step == FAIL and own and run:
            # The first node reads it as one of the attempt that it has begun.
            failure = failure_cause.failure("CRASH_LOOP", CRASH_LOOP, None)
            joined: RunRecord = {**own, "attempt": run["attempt"]}
            self.record.end(found, joined, "failed", failure=failure)
        elif step == ABANDON:
            self._end_unverified(found)
        elif step == FINISH and run:
            self._finish(run)
        return step in (HAND_OVER, FINISH)

    def close(self) -> None:
        """Ends the run as well, unless the first node is active."""
        if self._is_taken_back():
            return
        found, run = self.run_record.read()
        if Node(run, found.age if found else None).is_active:
            self.fleet.delete_own(terminate=True)
            return
        super().close()

    def _wait_for_first(self, found: Object | None, run: RunRecord | None) -> None:
        if self.waits_since is None or self._is_first_being_started():
            self.waits_since = time.monotonic()
        waited_s = time.monotonic() - self.waits_since
        attempt = run["attempt"] + 1 if run else 1
        if waited_s < nodes_limit_s(self.boot["run"], attempt):
            time.sleep(FIRST_POLL_S)
            return
        instance = run["instance"] if run else None
        how = "was not replaced" if run else "was not started"
        message = "node 0 of %d %s: no instance of its fleet has begun within %d s" % (
            self.count,
            how,
            waited_s,
        )
        self.log(message)
        failure = failure_cause.failure("NODES_MISSING", message, None)
        stop: RunRecordStop | None = {"reason": NOT_REPLACED, "at": now_ms()} if run else None
        outcome: Outcome = "interrupted" if run else "setup-failed"
        node: Any = failed_node(0, instance, "missing")
        self.run_record.end(found, run, outcome, failure=failure, stop=stop, node=node)

    def _pass_on(self, found: Object | None, run: RunRecord | None, own: RunRecord) -> None:
        """Ends the run as this node has ended."""
        node: Any = own["failedNode"] or failed_node(self.rank, self.record.instance, "failed")
        assert own["outcome"]
        self.run_record.end(
            found, run, own["outcome"], failure=own["failure"], stop=own["stop"], node=node
        )
