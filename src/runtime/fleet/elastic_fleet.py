"""Runs one training on MIN:MAX nodes, as each instance of its fleets does it. A fleet keeps no
certain node: the instances that are left after a loss share the ranks anew, and those that come
later are prepared beside them.
"""

from __future__ import annotations

import os
import signal
import time

from ..aws.bucket import Bucket
from ..run import failure_cause, runs
from ..run.node_group import nodes_limit_s
from ..run.node_stop import GROWTH, NOT_REPLACED
from ..system import atomic_files
from ..system.wall_clock import now_ms
from .decision import (
    ABANDON,
    CANCEL,
    FAILED,
    FINISH,
    HAND_OVER,
    MAX_LOST,
    START,
    WAIT,
    is_unfinished,
)
from .elastic_decision import (
    DECIDE,
    WAIT_TO_BEGIN,
    elastic_step,
    is_of,
    is_prepared,
    lost_before,
    next_instances,
    next_joining,
)
from .fleet_run import CRASH_LOOP
from .held import Held
from .members import TELL_S, Members, MembersObject, Presence
from .node_decision import Node
from .node_fleet import FIRST_POLL_S, NodeFleet, of_node
from .stored_record import StoredRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..aws.bucket import Object
    from ..system.documents import Outcome, RunRecord, RunRecordStop
    from .boot_loader import BootDocument, WatchdogConfig
    from .members import Present

# How long the first attempt waits for more nodes when there are enough, and a later one: instances
# that EC2 takes back together have told so by then.
MORE_S, SETTLE_S = 60.0, TELL_S + 2.0
# Between two looks whether the attempt can have more nodes.
GROW_POLL_S = 5.0
# What this instance is for the run: nothing yet, failed to be prepared, or was prepared.
NEW, UNFIT, READY = "new", "unfit", "ready"


class ElasticFleet(NodeFleet):
    """`slot`: the number of this instance's fleet. `boot`: that of the first node."""

    def __init__(
        self,
        boot: BootDocument,
        config: WatchdogConfig,
        root: str,
        *,
        log: Callable[[str], object],
        slot: int,
    ) -> None:
        super().__init__(boot, config, root, log=log, first=boot)
        node = boot["run"]["node"]
        assert node and "elastic" in node
        self.first_boot, self.instance = boot, self.record.instance
        self.least, self.grow_after_s = node["elastic"]["least"], node["elastic"]["growAfter"]
        self.slot = slot
        self.members = MembersObject(self.bucket, boot["run"])
        self.presence = Presence(
            self.bucket, boot["run"], self.instance, slot=slot, count=self.count
        )
        self.waiting = Held(os.path.join(self.root, "watchdog", "waiting.lock"))
        # By the monotonic clock: since when there are enough nodes, or too few, for the next
        # attempt; when is to be looked next whether it can have more.
        self.enough_since: float | None = None
        self.few_since: float | None = None
        self.has_told = False
        # Since when the first node has not begun an attempt that was decided.
        self.unbegun_since: float | None = None
        self.grow_due = 0.0

    def run_to_completion(self) -> None:
        teller = self.presence.keep_telling(self.tell)
        try:
            super().run_to_completion()
        finally:
            # Where this fails, it is called again, and starts another.
            self.waiting.free()
            os.kill(teller, signal.SIGKILL)
            os.waitpid(teller, 0)

    def tell(self) -> None:
        """Says that this instance is there, and what it is for the run."""
        state = self.state()
        self.presence.tell(state == READY, state == UNFIT or self._is_taken_back())

    def state(self) -> str:
        """NEW, UNFIT or READY."""
        record = atomic_files.read_object(os.path.join(self.run_dir, "run.json"))
        plan = atomic_files.read_object(os.path.join(self.run_dir, "plan.json"))
        node: dict[str, Any] = plan.get("node") or {}
        if not record:
            return NEW
        if not node.get("joins"):
            return READY
        stop: dict[str, Any] = record["stop"] or {}
        if record["outcome"] is None:
            return NEW
        return READY if stop.get("reason") == GROWTH else UNFIT

    def attempt_here(self) -> int:
        """The last attempt that this instance has had a part in; 0: none."""
        record = atomic_files.read_object(os.path.join(self.run_dir, "run.json"))
        attempt: int = record.get("attempt", 0)
        return attempt

    def step(self) -> bool:
        if self._is_active_here():
            self._forget_waits()
            self._grow()
            time.sleep(FIRST_POLL_S)
            return False
        if not self.has_told:
            # A role that may not is the reason why the run does not start.
            self.tell()
            self.has_told = True
        interrupted = self._is_taken_back()
        members = self.members.read()
        found, run = self.run_record.read()
        stopped = self.run_record.is_stop_requested()
        age = found.age if found else self._deleted_for()
        first = Node(run, age)
        step = elastic_step(first, members, self.instance, interrupted=interrupted, stopped=stopped)
        if step not in (FINISH, HAND_OVER) and self.state() == UNFIT:
            self._give_up()
            return True
        if step not in (DECIDE, WAIT_TO_BEGIN):
            self._forget_waits()
        if step == HAND_OVER:
            # The others do not wait for it, then.
            self.tell()
        if step == START and members:
            if self._start_as(members, found, run):
                return True
        elif step == WAIT:
            self._wait()
        elif step == WAIT_TO_BEGIN and members:
            self._wait_to_begin(members, found, first)
        elif step == DECIDE:
            self._decide(members, found, first, present=self.presence.read())
        elif step == CANCEL:
            stop: RunRecordStop = {"reason": "cancelled", "at": now_ms()}
            self.run_record.end(found, run, "cancelled", stop=stop)
        elif step == ABANDON:
            self.record = self.run_record
            self._end_unverified(found)
        elif step == FINISH and run:
            self._finish(run)
        return step in (HAND_OVER, FINISH)

    def close(self) -> None:
        """Deletes this instance's fleet alone while others are there for the run."""
        if self._is_taken_back():
            return
        members, (found, run) = self.members.read(), self.run_record.read()
        others = [each for each in self.presence.read() if each.instance != self.instance]
        is_first = members is not None and members.rank(self.instance) == 0
        is_active = Node(run, found.age if found else None).is_active
        is_over = run is not None and not is_unfinished(run)
        if others and not is_over and not (is_first and is_active):
            self.fleet.delete_own(terminate=True)
            return
        self._become(self.count, 0)
        super().close()

    def _become(self, count: int, rank: int, *, joins: bool = False) -> None:
        """From now on, this instance is that node of so many."""
        self.boot = of_node(self.first_boot, rank)
        spec = self.boot["run"].copy()
        assert spec["node"]
        spec["node"] = {**spec["node"], "count": count}
        if joins:
            spec["node"]["joins"] = True
        self.boot = self.boot.copy()
        self.boot["run"] = spec
        self.record = self.run_record
        if rank:
            bucket = Bucket({**spec["store"], "access": "role"}, "role")
            self.record = StoredRecord(self.boot, bucket, self.instance)

    def _forget_waits(self) -> None:
        self.few_since = self.enough_since = self.unbegun_since = None

    def _wait(self) -> None:
        """While it waits, the watchdog does not take it for one whose run never started."""
        self.waiting.take()
        time.sleep(FIRST_POLL_S)

    def _start_as(self, members: Members, found: Object | None, run: RunRecord | None) -> bool:
        """Starts this instance's part of the attempt, or waits where it has had it. Returns whether
        nothing more can be done.
        """
        rank, count = members.rank(self.instance), len(members.instances)
        assert rank is not None
        joins = rank >= count
        has_been = self.attempt_here() >= members.attempt
        if has_been or (joins and self.state() == READY):
            self._wait()
            return False
        self._become(count + len(members.joining) if joins else count, rank, joins=joins)
        if rank == 0 and run is None and not self._may_start():
            return True
        own_found, own = (found, run) if rank == 0 else self.record.read()
        self.waiting.free()
        self._start(own_found, own, run["attempt"] if rank and run else members.attempt)
        if rank and self.tries:
            # It can't be started here.
            self._give_up()
            return True
        return False

    def _wait_to_begin(self, members: Members, found: Object | None, first: Node) -> None:
        """Waits for the first node of the attempt, or decides again without it."""
        if self.unbegun_since is None or self._is_first_being_started():
            self.unbegun_since = time.monotonic()
        unbegun_s = time.monotonic() - self.unbegun_since
        present, instance = self.presence.read(), members.instances[0]
        is_there = any(each.instance == instance and not each.is_leaving for each in present)
        if is_there and unbegun_s < nodes_limit_s(self.first_boot["run"], 2):
            self._wait()
            return
        others = [each for each in present if each.instance != instance]
        self._decide(members, found, first, present=others)

    def _decide(
        self, members: Members | None, found: Object | None, first: Node, *, present: list[Present]
    ) -> None:
        """Decides which are the nodes of the next attempt, where that is up to this instance."""
        run = first.record
        failure = self._own_failure(run)
        if failure:
            outcome: Any = failure["outcome"]
            self.run_record.end(found, run, outcome, failure=failure["failure"])
            return
        chosen = next_instances(first, members, present, least=self.least)
        if len(chosen) < self.least:
            self.enough_since = None
            self._wait_for_more(found, run)
            return
        self.few_since = None
        self.enough_since = self.enough_since or time.monotonic()
        waited_s = time.monotonic() - self.enough_since
        is_settled = waited_s >= (SETTLE_S if run else MORE_S) or len(chosen) == self.count
        if chosen[0] != self.instance or not is_settled:
            self._wait()
            return
        lost = lost_before(members, run)
        if lost >= MAX_LOST:
            cause = failure_cause.failure("CRASH_LOOP", CRASH_LOOP, None)
            self.run_record.end(found, run, "failed", failure=cause)
            return
        attempt = run["attempt"] + 1 if run else 1
        self.members.write(Members(attempt, chosen, lost=lost))
        self.log("attempt %d has %d of %d nodes" % (attempt, len(chosen), self.count))

    def _own_failure(self, run: RunRecord | None) -> Any:
        """How this node has failed in the last attempt, whose first node is not there to say so."""
        if run is None or self.attempt_here() != run["attempt"] or self.state() != READY:
            return None
        own = atomic_files.read_object(os.path.join(self.run_dir, "run.json"))
        is_own = own["outcome"] in FAILED and own["outcome"] != "cancelled"
        return own if is_own and run["outcome"] is None else None

    def _wait_for_more(self, found: Object | None, run: RunRecord | None) -> None:
        """Ends the run where too few instances are there for too long."""
        self.few_since = self.few_since or time.monotonic()
        waited_s = time.monotonic() - self.few_since
        if waited_s < nodes_limit_s(self.first_boot["run"], 2 if run else 1):
            self._wait()
            return
        message = "fewer than %d nodes %s within %d s" % (
            self.least,
            "were left, and no others came" if run else "were started",
            waited_s,
        )
        self.log(message)
        failure = failure_cause.failure("NODES_MISSING", message, None)
        stop: RunRecordStop | None = {"reason": NOT_REPLACED, "at": now_ms()} if run else None
        outcome: Outcome = "interrupted" if run else "setup-failed"
        self.run_record.end(found, run, outcome, failure=failure, stop=stop)

    def _grow(self) -> None:
        """Where this instance is the first node: has the instances prepared that came later, and
        ends the attempt when they are.
        """
        now = time.monotonic()
        if self.grow_after_s is None or now < self.grow_due:
            return
        self.grow_due = now + GROW_POLL_S
        here = atomic_files.read_object(os.path.join(self.run_dir, "run.json"))
        node: dict[str, Any] = here.get("node") or {}
        is_running = here.get("state") == "running" and node.get("phase") == "running"
        if not is_running or node["rank"] or node["count"] >= self.count:
            return
        if now_ms() - here["since"] < self.grow_after_s * 1000:
            return
        _, run = self.run_record.read()
        members = self.members.read()
        if not run or not members or not run["checkpoints"]:
            return
        if run["attempt"] == here["attempt"] and is_of(members, run):
            self._add_nodes(members, run["attempt"], self.presence.read())

    def _add_nodes(self, members: Members, attempt: int, present: list[Present]) -> None:
        joining = next_joining(members, present, self.count)
        if joining != members.joining:
            if joining:
                self.log("%s: to be prepared beside the attempt" % ", ".join(joining))
            self.members.write(
                Members(members.attempt, members.instances, joining=joining, lost=members.lost)
            )
        elif is_prepared(members, present):
            self.log("attempt %d ends for one on more nodes" % attempt)
            grace_s = self.boot["run"]["gracePeriod"]
            plan = {"run": self.id, "attempt": attempt, "gracePeriod": grace_s}
            runs.cancel(plan, self.root)

    def _give_up(self) -> None:
        """Deletes this instance's fleet, which would launch another that can't be prepared
        either.
        """
        self.log("this instance could not be prepared for the run: its fleet is deleted")
        self.fleet.delete_own(terminate=True)

    def _delete(self, terminate: bool) -> None:
        """Deletes the fleets that have no instance as well. One that is there deletes its own, when
        it has saved what it has.
        """
        there = [each.slot for each in self.presence.read()]
        vacant = [slot for slot in range(self.count) if slot not in (self.slot, *there)]
        self.fleet.delete_template()
        self.fleet.delete_of_nodes(vacant, terminate=True)
        self.fleet.delete_own(terminate)
