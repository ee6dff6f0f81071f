"""The other nodes of a run on several, as this one's reporter has read their records."""

from __future__ import annotations

import os
import signal

from ..report import node_records
from ..system import atomic_files
from .signal_name import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping


class NodeEnd:
    """How the training of a node ended. `code`: negative for a signal; `at`: ms; `told`: it was
    stopped because that of another node had ended.
    """

    def __init__(
        self,
        code: int,
        *,
        at: int,
        told: bool,
        failure: Any = None,
        lines: list[str] | None = None,
    ) -> None:
        self.code, self.at, self.told, self.failure = code, at, told, failure
        self.lines = lines or []

    @property
    def has_failed(self) -> bool:
        return bool(self.code or self.failure)

    def how(self) -> str:
        if self.code < 0:
            return "was killed by %s" % signal_name(-self.code)
        return "exited with %d" % self.code


class Peer:
    """Another node. `record`: what is known of its record in this run of the supervisor, None where
    it has not begun; `first_attempt`: its record of an earlier attempt is of another instance.
    """

    def __init__(
        self, rank: int, count: int, entry: Mapping[str, Any], *, first_attempt: int
    ) -> None:
        self.rank, self.count = rank, count
        record = entry.get("record")
        self.record: dict[str, Any] | None = (
            record if record and record["attempt"] >= first_attempt else None
        )
        self.is_silent = node_records.is_silent(entry)
        self.read: float | None = entry.get("read")
        self.problem: str | None = entry.get("problem")
        # When it showed that it is being started, by CLOCK_MONOTONIC.
        self.shown: float | None = entry.get("shown")

    @property
    def instance(self) -> str | None:
        return self.record["instance"] if self.record else None

    @property
    def name(self) -> str:
        return name_of(self.rank, self.count, self.instance)

    @property
    def has_ended(self) -> bool:
        return bool(self.record and self.record["outcome"] is not None)

    @property
    def is_lost(self) -> bool:
        if not self.record:
            return False
        outcome = self.record["outcome"]
        return outcome == "lost" or (outcome is None and self.is_silent)

    def phase(self, attempt: int) -> str | None:
        """Its phase in an attempt; None where it has not begun that attempt, or is beyond it."""
        if not self.record or self.record["attempt"] != attempt:
            return None
        return self.record["node"]["phase"]

    def end(self, attempt: int) -> NodeEnd | None:
        """How its training ended in an attempt; None where it has not."""
        if self.phase(attempt) != "exited" or not self.record:
            return None
        node = self.record["node"]
        if node["at"] is None:
            return None
        return NodeEnd(
            code_of(node["exitCode"], node["signal"]),
            at=node["at"],
            told=node["told"],
            failure=node["failure"],
            lines=node["lines"],
        )


class NodeView:
    """`count`: how many nodes the run has, with this one."""

    def __init__(self, run_dir: str, count: int, first_attempt: int) -> None:
        self.path, self.count = os.path.join(run_dir, node_records.NODES), count
        self.first_attempt = first_attempt
        self.changed_ns: int | None = None
        self.known: list[Peer] = []

    def peers(self) -> list[Peer]:
        """The nodes that this one reads, by their ranks. Empty before the first round of reads."""
        try:
            changed_ns = os.stat(self.path).st_mtime_ns
        except FileNotFoundError:
            return self.known
        if changed_ns != self.changed_ns:
            entries: dict[str, Any] = atomic_files.read_object(self.path).get("nodes", {})
            self.changed_ns = changed_ns
            self.known = [
                Peer(int(rank), self.count, entry, first_attempt=self.first_attempt)
                for rank, entry in sorted(entries.items(), key=lambda each: int(each[0]))
            ]
        return self.known


def name_of(rank: int, count: int, instance: str | None) -> str:
    """A node for people."""
    return "node %d of %d%s" % (rank, count, " (%s)" % instance if instance else "")


def code_of(exit_code: int | None, signal_name: str | None) -> int:
    """The exit code of a command by a record, negative for a signal. What a record says of neither
    is no success.
    """
    if exit_code is not None:
        return exit_code
    if signal_name and signal_name in signal.Signals.__members__:
        return -signal.Signals[signal_name].value
    return 1
