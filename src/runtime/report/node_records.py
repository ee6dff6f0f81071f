"""What a node of a run on several reads of the others' records: the first one those of all others,
each other one those of the first and of the node before it. It is kept in `nodes.json` in the run's
directory, for the supervisor.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import threading
import time

from ..run_dir.node_path import node_path
from ..system import atomic_files
from ..system.crash_log import log_crash
from ..system.errors import Failure
from . import node_start
from .node_links import NodeLinks
from .signed_record import RECORD, SigningKey, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, Optional, Tuple

    from ..aws.bucket import Bucket
    from ..system.documents import RunRecord, RunSpec

    # A node's record, and when it showed that it is being started.
    Seen = Tuple[Optional[RunRecord], Optional[int]]

NODES = "nodes.json"
# Between two rounds of reads: until the training has started and after it has ended, and while it
# runs.
WAITING_POLL_S, RUNNING_POLL_S = 1.0, 2.0
# Records that are read at once: those of 64 nodes take a fraction of a second.
READERS = 16
# How long a round of reads waits for slow ones. What is not read by then is taken in a later round,
# and not asked for again meanwhile.
ROUND_TIMEOUT_S = 3.0
# How much silence one read can show at most: while the store could not be read, nothing was silent.
MAX_STEP_S = 5.0
# A node whose record does not change for this long, while it can be read, is lost: a record has a
# heartbeat every 10 s.
HEARTBEAT_TIMEOUT_S = 60.0
# The same of a node whose connection has been broken for so long. One that is alive writes its
# record more often then.
BROKEN_HEARTBEAT_TIMEOUT_S, BROKEN_S = 15.0, 5.0
# How long after the first record of a node it is said that there is no connection to it.
NO_LINK_S = 60.0
# What the supervisor needs of another node's record.
FIELDS = (
    "instance",
    "attempt",
    "heartbeat",
    "state",
    "outcome",
    "exitCode",
    "signal",
    "stop",
    "failure",
    "node",
    "nodes",
    "rendezvous",
    "checkpoints",
    "nodeCheckpoints",
    "wholeCheckpoint",
    "failedNode",
    "heartbeatPort",
)


def watch(run_dir: str, spec: RunSpec) -> NodeRecords | None:
    """Reads from now on, in a thread of its own, where the run has several nodes."""
    if not spec.get("node"):
        return None
    records = NodeRecords(run_dir, spec)
    for work in (records.run, records.run_links):
        threading.Thread(target=work, daemon=True).start()
    return records


def is_silent(entry: Mapping[str, Any]) -> bool:
    """Whether a node's record has not changed for so long that it is lost."""
    silent_s: float = entry.get("silent") or 0.0
    limit_s: float = entry.get("limit") or HEARTBEAT_TIMEOUT_S
    return silent_s > limit_s


def run_prefix(spec: RunSpec) -> str:
    """The key prefix of the run, by that of the node."""
    prefix, node = spec["store"]["prefix"], spec["node"]
    assert node
    own = node_path(node["rank"])
    if not prefix.endswith("/" + own):
        raise Failure("BAD_PLAN", "the prefix %s is not that of node %d" % (prefix, node["rank"]))
    return prefix[: len(prefix) - len(own)]


def node_bucket(spec: RunSpec, rank: int) -> Bucket:
    """What the store has of a node of the run. That of the first node has the others' below it."""
    from ..aws import bucket

    access = spec["store"].copy()
    access["prefix"] = run_prefix(spec) + node_path(rank)
    return bucket.role_bucket(access)


class NodeRecords:
    """`bucket`: the run's prefix in the store, None until it was opened."""

    def __init__(
        self, run_dir: str, spec: RunSpec, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.run_dir, self.spec, self.clock = run_dir, spec, clock
        node = spec["node"]
        assert node
        self.count = node["count"]
        self.joins = bool(node.get("joins"))
        rank = self.rank = node["rank"]
        self.ranks = sorted({0, rank - 1}) if rank else list(range(1, node["count"]))
        if self.joins:
            self.ranks = [0]
        self.key = SigningKey(spec)
        self.links = self._links()
        # Since when there is a record of a node and no connection to it.
        self.waited_since: dict[int, float] = {}
        # A node that is prepared for the next attempt connects to none.
        self.has_warned = self.joins
        self.bucket: Bucket | None = None
        self.pool = concurrent.futures.ThreadPoolExecutor(min(READERS, len(self.ranks) or 1))
        # By rank, the reads that have not ended.
        self.reads: dict[int, concurrent.futures.Future[Seen]] = {}
        self.path = os.path.join(run_dir, NODES)
        kept = atomic_files.read_object(self.path).get("nodes", {})
        # By rank, as in the file. The version that was seen is kept over a restart of the reporter.
        self.entries: dict[str, dict[str, Any]] = {
            str(rank): {
                "record": kept.get(str(rank), {}).get("record"),
                # Seconds without a change, as far as reads have shown.
                "silent": 0.0,
                # When it was read last, by CLOCK_MONOTONIC; None: not yet.
                "read": None,
                # Why the last read failed.
                "problem": None,
                # How long it may be silent.
                "limit": HEARTBEAT_TIMEOUT_S,
                # Without a record of the attempt: when it showed that it is being started, by its
                # own clock, and when that was seen last, by CLOCK_MONOTONIC.
                "starting": None,
                "shown": None,
            }
            for rank in self.ranks
        }

    def run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                log_crash(self.run_dir)
            state = atomic_files.read_object(os.path.join(self.run_dir, "run.json"))
            node: dict[str, Any] = state.get("node") or {}
            time.sleep(RUNNING_POLL_S if node.get("phase") == "running" else WAITING_POLL_S)

    def run_links(self) -> None:
        while True:
            try:
                self.links.turn()
            except Exception:
                log_crash(self.run_dir)
                time.sleep(WAITING_POLL_S)

    def _links(self) -> NodeLinks:
        state = atomic_files.read_object(os.path.join(self.run_dir, "run.json"))
        self.attempt: int = state.get("attempt", 1)
        node: dict[str, Any] = state.get("node") or {}
        links = NodeLinks(
            self.key,
            self.rank,
            self.count,
            instance=state.get("instance") or "",
            address=node.get("address") or "",
            find_target=self._first_node,
            clock=self.clock,
        )
        if not self.rank and links.address:
            links.listen()
        return links

    def _first_node(self) -> tuple[str, int] | None:
        """Where the first node listens for the others; None while that is not known."""
        record: dict[str, Any] = self.entries["0"]["record"] or {}
        port = record.get("heartbeatPort")
        return (record["node"]["address"], port) if port and not self.joins else None

    @property
    def port(self) -> int | None:
        """Where the first node listens for the others, for its record."""
        return self.links.port

    @property
    def is_any_broken(self) -> bool:
        """Whether a connection to another node is broken: it may take this one for lost."""
        return self.links.is_any_broken

    def link_warning(self) -> str | None:
        """What is to be said of nodes that there never was a connection to; None: nothing, or it
        was said.
        """
        now = self.clock()
        without: list[int] = []
        for rank in [0] if self.rank else self.ranks:
            record = self.entries[str(rank)]["record"]
            # Its record may still be that of an earlier attempt, on another instance.
            is_there = record and record["attempt"] >= self.attempt and record["outcome"] is None
            if not is_there or self.links.has_been(rank, record["instance"]):
                self.waited_since.pop(rank, None)
            elif now - self.waited_since.setdefault(rank, now) > NO_LINK_S:
                without.append(rank)
        if not without or self.has_warned:
            return None
        self.has_warned = True
        why = self.links.problem or "none has come"
        return (
            "node %d has no connection to node %s (%s): a node that is lost without notice is "
            "noticed after %d s, not %d. The security group must allow all traffic from itself"
            % (
                self.rank,
                ", ".join(map(str, without)),
                why,
                HEARTBEAT_TIMEOUT_S,
                BROKEN_HEARTBEAT_TIMEOUT_S,
            )
        )

    def look(self) -> None:
        """Reads the records once, and writes what they say."""
        bucket = self._open()
        for rank in self.ranks:
            if rank not in self.reads:
                self.reads[rank] = self.pool.submit(self._read, bucket, rank)
        done, _ = concurrent.futures.wait(self.reads.values(), ROUND_TIMEOUT_S)
        for rank in [rank for rank, read in self.reads.items() if read in done]:
            entry = self.entries[str(rank)]
            try:
                record, starting = self.reads.pop(rank).result()
                self._take(entry, record)
                self._take_sign(entry, starting)
                entry["problem"] = None
            except Failure as failure:
                entry["problem"] = failure.with_aws()
            entry["limit"] = self._limit_s(rank, entry["record"])
        data = json.dumps({"v": 1, "nodes": self.entries}).encode()
        try:
            atomic_files.write_atomically(self.path, data, durable=False)
        except OSError:
            # A full disk: the next round tries again.
            pass

    def _limit_s(self, rank: int, record: dict[str, Any] | None) -> float:
        """How long a node may be silent."""
        broken_s = self.links.broken_s(rank, record["instance"]) if record else None
        if broken_s is None or broken_s < BROKEN_S:
            return HEARTBEAT_TIMEOUT_S
        return min(HEARTBEAT_TIMEOUT_S, BROKEN_HEARTBEAT_TIMEOUT_S)

    def _open(self) -> Bucket:
        if self.bucket is None:
            self.bucket = node_bucket(self.spec, 0)
        return self.bucket

    def _read(self, bucket: Bucket, rank: int) -> Seen:
        """The record of a node; None where there is none, or none that the node has signed. Where
        it has not begun the attempt, also when it showed that it is being started.
        """
        key, path = self.key.of_node(rank), node_path(rank)
        _, record = key.read(bucket, path + RECORD)
        if record is not None and not self._is_of(rank, record):
            record = None
        if record is not None and record["attempt"] >= self.attempt:
            return record, None
        return record, node_start.read(bucket, key, path + node_start.STARTING)

    def _is_of(self, rank: int, record: RunRecord) -> bool:
        node = record.get("node")
        return (
            record.get("v") == 1
            and record["id"] == self.spec["id"]
            and record["runKey"] == self.spec["runKey"]
            and node is not None
            and node["rank"] == rank
            # A node that is prepared for the next attempt is not counted yet.
            and (node["count"] == self.count or self.joins)
        )

    def _take(self, entry: dict[str, Any], record: RunRecord | None) -> None:
        """Keeps what was read. An older version than one that was seen was put back by somebody,
        and is no sign of life.
        """
        now, known = self.clock(), entry["record"]
        if record is not None and (known is None or version(record) > version(known)):
            entry["record"] = {name: record.get(name) for name in FIELDS}
            entry["silent"] = 0.0
        elif entry["read"] is not None:
            entry["silent"] += min(now - entry["read"], MAX_STEP_S)
        entry["read"] = now

    def _take_sign(self, entry: dict[str, Any], starting: int | None) -> None:
        """Keeps that a node is being started. Only a later sign than the last one says so: another
        program may put an old one back.
        """
        if starting is not None and starting > (entry["starting"] or 0):
            entry.update(starting=starting, shown=self.clock())
