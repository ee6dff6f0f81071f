"""Warns of GPUs that do nothing."""

from __future__ import annotations

import time

from ..system.host_stats import BUSY_PERCENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..system.documents import GpuSample


class IdleWatch:
    """Warns of GPUs that do nothing for `idle` seconds, once until they are busy again. None:
    never.
    """

    since: dict[int, float]
    warned: set[int]

    def __init__(self, idle: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.idle, self.clock = idle, clock
        # index -> since when it does nothing; those that were warned of
        self.since, self.warned = {}, set()

    def look(self, gpus: list[GpuSample] | None) -> str | None:
        """What a sample's GPUs give reason to say; None where nothing. What is not known is neither
        idle nor busy.
        """
        if self.idle is None:
            return None
        now = self.clock()
        fresh: list[int] = []
        for gpu in gpus or []:
            index, busy = gpu["index"], gpu["utilization"]
            if busy is None:
                continue
            if busy >= BUSY_PERCENT:
                self.since.pop(index, None)
                self.warned.discard(index)
            elif now - self.since.setdefault(index, now) >= self.idle and index not in self.warned:
                self.warned.add(index)
                fresh.append(index)
        if not fresh:
            return None
        many, minutes = len(fresh) > 1, (now - min(self.since[index] for index in fresh)) / 60
        return "%s %s idle for %s: the training may wait for its data, or use %s at all" % (
            ("GPUs " if many else "GPU ") + ", ".join(map(str, fresh)),
            "have been" if many else "has been",
            "%d min" % minutes if minutes >= 1 else "%d s" % (minutes * 60),
            "none of them" if many else "no GPU",
        )
