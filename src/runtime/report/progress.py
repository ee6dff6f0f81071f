"""How far a training is and how long a step takes, by the metrics that it prints or writes."""

from __future__ import annotations

import math
from collections import deque

from .metric_line import COUNTERS, counts_progress, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import RunRecordMetricsProgress
    from .metric_line import Numbers

# The last word of a name, by which of several counters one is taken: the first of these.
FINEST_FIRST = ("step", "iteration", "iter", "update", "batch", "episode", "epoch")
# The time of a step is taken over so long, and over the last two numbers at least.
WINDOW_MS = 120_000
STEPS = COUNTERS - {"epoch", "episode"}
UNITS = frozenset("s sec seconds ms".split())


class Progress:
    """`name`: of the metric that counts, None before there is one."""

    def __init__(self) -> None:
        self.name: str | None = None
        # The seconds of a step as the training itself tells them.
        self.told_s: float | None = None
        # (ms, the counter)
        self.samples: deque[tuple[int, float]] = deque()

    def add(self, found: Numbers, at: int) -> None:
        for name, value in found.items():
            if value is None:
                continue
            if is_step_time(name):
                self.told_s = value / 1000 if "ms" in words(name) else value
            elif counts_progress(name):
                self._count(name, value, at)

    def _count(self, name: str, value: float, at: int) -> None:
        if name != self.name:
            if self.name is not None and order_of(name) >= order_of(self.name):
                return
            self.name = name
            self.samples.clear()
        if self.samples and value < self.samples[-1][1]:
            # The next epoch, or a training that has begun again.
            self.samples.clear()
        if self.samples and value == self.samples[-1][1]:
            return
        self.samples.append((at, value))
        while len(self.samples) > 2 and at - self.samples[1][0] >= WINDOW_MS:
            self.samples.popleft()

    def latest(self) -> RunRecordMetricsProgress | None:
        """As the record has it; None where the training counts nothing."""
        if self.name is None or not self.samples:
            return None
        (since, first), (at, last) = self.samples[0], self.samples[-1]
        measured_s = (at - since) / 1000 / (last - first) if last > first and at > since else None
        if measured_s is not None and not math.isfinite(measured_s):
            measured_s = None
        return {
            "name": self.name,
            "value": last,
            "secondsPerStep": self.told_s if self.told_s is not None else measured_s,
        }


def order_of(name: str) -> int:
    return FINEST_FIRST.index(words(name)[-1])


def is_step_time(name: str) -> bool:
    """`step_time`, `iter_time_ms`, `time_per_step`, `sec_per_iter`."""
    of = words(name)
    has_step = not STEPS.isdisjoint(of)
    is_time = "time" in of or any(one in UNITS and other == "per" for one, other in zip(of, of[1:]))
    return has_step and is_time and {"total", "elapsed"}.isdisjoint(of)
