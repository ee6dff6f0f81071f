"""The queue for the resources of an instance: tickets by their priority, and those of one priority
in the order in which runs arrived: on this instance, or on the one that they waited on before.

A ticket counts as long as its run's supervisor is alive.
"""

from __future__ import annotations

import fcntl
import json
import os

from ..system import atomic_files
from ..system.errors import Failure
from ..system.file_lock import held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

    from ..system.documents import ActivityReplyQueueTicketsItem, Resources, RunStateQueue


class Ticket:
    """`granted`: the GPUs that the run has, None while it waits."""

    def __init__(self, path: str, number: int, stored: dict[str, Any]) -> None:
        self.path, self.number = path, number
        self.run: str = stored["run"]
        self.exclusive: bool = stored["exclusive"]
        self.gpus: int = stored["gpus"]
        self.granted: list[int] | None = stored["granted"]
        self.priority: int = stored.get("priority", 0)
        self.since: int = stored.get("since", 0)

    def is_before(self, other: Ticket) -> bool:
        """Whether it gets its turn before the other one, which waits."""
        if self.granted is not None:
            return True
        return self._rank() < other._rank()

    def _rank(self) -> tuple[int, int, int]:
        return (-self.priority, self.since, self.number)

    def describe(self) -> ActivityReplyQueueTicketsItem:
        """What others are told of it."""
        return {
            "run": self.run,
            "exclusive": self.exclusive,
            "gpus": self.gpus,
            "priority": self.priority,
            "granted": self.granted is not None,
        }

    def write(self) -> None:
        stored = {
            "run": self.run,
            "exclusive": self.exclusive,
            "gpus": self.gpus,
            "granted": self.granted,
            "priority": self.priority,
            "since": self.since,
        }
        atomic_files.write_atomically(self.path, json.dumps(stored).encode(), durable=False)


class ResourceQueue:
    """The tickets of all runs of an instance, under one lock.

    A ticket is `<root>/queue/<number>-<run>`: {"run", "exclusive", "gpus", "priority", "since",
    "granted": null | [GPU, …]}. A ticket whose run has no supervisor any more is removed when it
    is read.
    """

    def __init__(self, root: str, gpus: int) -> None:
        self.root, self.gpus = root, gpus
        self.directory = os.path.join(root, "queue")

    def __enter__(self) -> ResourceQueue:
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, "lock")
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        self.tickets = list(self._read())
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def _read(self) -> Iterator[Ticket]:
        for name in sorted(os.listdir(self.directory)):
            number, _, run = name.partition("-")
            if not number.isdigit():
                continue
            path = os.path.join(self.directory, name)
            stored = atomic_files.read_json(path)
            if stored is None or not held(os.path.join(self.root, "runs", run, "lock")):
                os.unlink(path)
                continue
            yield Ticket(path, int(number), stored)

    def join(self, run: str, resources: Resources, *, priority: int = 0, since: int = 0) -> None:
        """Puts a run behind those of its priority. Its supervisor's lock must be held by now.
        `since`: when it was started, ms: of one that has waited on another instance, the start
        there.
        """
        number = 1 + max((ticket.number for ticket in self.tickets), default=0)
        path = os.path.join(self.directory, "%012d-%s" % (number, run))
        stored = {"run": run, "granted": None, "priority": priority, "since": since}
        Ticket(path, number, {**resources, **stored}).write()

    def take(self, run: str) -> list[int] | None:
        """The GPUs that the run has from now on, [] where it asked for none; None while it must
        wait for runs that are active or come before it.
        """
        mine = self._find(run)
        if mine.gpus > self.gpus:
            counts = (mine.gpus, self.gpus)
            how = "%d GPUs were requested, but the instance has %d" % counts
            raise Failure("RESOURCES_MISSING", how)
        if mine.granted is None and not self._before(mine):
            taken = {gpu for ticket in self.tickets for gpu in ticket.granted or ()}
            free = [gpu for gpu in range(self.gpus) if gpu not in taken]
            mine.granted = free[: mine.gpus]
            mine.write()
        return mine.granted

    def place(self, run: str) -> RunStateQueue:
        """What a run waits for: how many runs, and the first of them."""
        waited = self._before(self._find(run))
        return {"before": len(waited), "holders": [each.run for each in waited[:10]]}

    def is_waiting(self, run: str) -> bool:
        return any(each.run == run and each.granted is None for each in self.tickets)

    def _find(self, run: str) -> Ticket:
        for ticket in self.tickets:
            if ticket.run == run:
                return ticket
        raise Failure("NO_TICKET", "the run's place in the queue is gone", run=run)

    def _before(self, mine: Ticket) -> list[Ticket]:
        """The tickets that a waiting one waits for: those that have something, or come before it,
        and can't share the instance with it.
        """
        others = [each for each in self.tickets if each is not mine and each.is_before(mine)]
        wanted = sum(each.gpus for each in others) + mine.gpus
        is_short = mine.gpus > 0 and wanted > self.gpus
        return [
            each for each in others if each.exclusive or mine.exclusive or (is_short and each.gpus)
        ]
