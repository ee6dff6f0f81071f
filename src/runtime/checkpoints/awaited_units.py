"""Units that wait for another: for the pointer that is about to name them, for what came with the
step before.
"""

from __future__ import annotations

import bisect
import re

from . import pointers
from .whole_units import QUIET_ALTHOUGH_OPEN_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    from .checkpoint_state import State
    from .unit import Unit
    from .unit_index import Units
    from .whole_units import WholeUnits

    Order = Tuple[int, int, str]
    Orders = Dict[str, List[Order]]


# Names of checkpoints that are written at some steps alone.
BEST = re.compile(r"(?<![^\W_])best(?![^\W\d_])", re.IGNORECASE)


class Awaited:
    """What the units of one look wait for.

    `units`: a `unit_index.Units`; `whole`: the labels of those that are whole."""

    families: dict[str, list[str]]
    lacking: dict[tuple[str, tuple[float, ...] | None], float | None]
    pointed: tuple[Orders, Orders] | None

    def __init__(
        self, units: Units, whole: set[str], state: State, *, wholeness: WholeUnits, now: float
    ) -> None:
        self.units, self.whole, self.state = units, whole, state
        self.wholeness, self.now = wholeness, now
        # step -> the families that were written at it and are waited for
        self.families = {}
        for family, (step, is_awaited) in state["steps"].items():
            if is_awaited:
                self.families.setdefault(step, []).append(family)
        self.lacking = {}
        self.pointed = None

    def waits_for_pointer(self, unit: Unit) -> bool:
        """Whether a pointer that says what to resume from is about to name it: it names an older
        unit of the family.
        """
        if self.now - self.wholeness.since(unit) >= QUIET_ALTHOUGH_OPEN_S:
            return False
        if self.pointed is None:
            self.pointed = pointed(self.units.there)
        by_family, by_label = self.pointed
        of_family = bisect.bisect_left(by_family.get(unit.family, ()), unit.order)
        return of_family > bisect.bisect_left(by_label.get(unit.label, ()), unit.order)

    def waits_for_companion(self, unit: Unit) -> bool:
        """Whether something lacks that was written at the same step before, as the optimizer beside
        the model: a set without it would have an older one. A best one is written now and then
        alone.
        """
        if unit.marked or self.state.is_saved(unit) or self.units.is_followed(unit):
            return False
        step, _ = self.state["steps"].get(unit.family, (None, False))
        if step is None:
            return False
        if (step, unit.version) not in self.lacking:
            self.lacking[step, unit.version] = self._lacking_since(step, unit.version)
        since = self.lacking[step, unit.version]
        return (
            since is not None
            and self.now - max(since, self.wholeness.since(unit)) < QUIET_ALTHOUGH_OPEN_S
        )

    def _lacking_since(self, step: str, version: tuple[float, ...] | None) -> float | None:
        """The latest change of what is there, but not whole, of the families of a step; None where
        nothing lacks.
        """
        since = None
        for family in self.families.get(step, ()):
            companions = self.units.versions.get((family, version), ())
            if not any(each.label in self.whole for each in companions):
                changed = [self.wholeness.since(each) for each in companions]
                since = max([float("-inf") if since is None else since] + changed)
        return since


def pointed(there: dict[str, Unit]) -> tuple[Orders, Orders]:
    """({family: orders}, {label: orders}): of the pointers that say what to resume from and name
    it.

    Each pointer has the order of the oldest unit of the family that it names; the orders are
    sorted.
    """
    by_family: Orders = {}
    by_label: Orders = {}
    for pointer in there.values():
        if not pointer.points or not pointers.is_current(pointer.label):
            continue
        named = [there[label] for label in pointer.points if label in there]
        oldest: dict[str, Order] = {}
        for unit in named:
            oldest[unit.family] = min(oldest.get(unit.family, unit.order), unit.order)
        for family, order in oldest.items():
            by_family.setdefault(family, []).append(order)
        for unit in named:
            by_label.setdefault(unit.label, []).append(oldest[unit.family])
    for orders in [*by_family.values(), *by_label.values()]:
        orders.sort()
    return by_family, by_label


def steps(chosen: list[Unit], number: int) -> dict[str, list[Any]]:
    """{family: [which step, whether others wait for it]} of the units of a set that have one."""
    return {
        unit.family: ["%d %s" % (number, list(unit.version)), not BEST.search(unit.label)]
        for unit in chosen
        if unit.version is not None
    }
