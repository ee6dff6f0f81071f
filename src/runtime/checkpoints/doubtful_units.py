"""Which units may be half of something when the training was cut off."""

from __future__ import annotations

from . import checkpoint_units
from .awaited_units import Awaited
from .whole_units import QUIET_ALTHOUGH_OPEN_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .checkpoint_state import State
    from .unit import Unit
    from .unit_index import Units
    from .whole_units import WholeUnits


def doubtful(
    units: Units, state: State, wholeness: WholeUnits, *, ended: float, now: float
) -> list[Unit]:
    """The units that may be half of something, with those that were written at the same step.

    `ended`: when the training ended, seconds since the epoch."""
    half = [
        unit
        for unit in units.there.values()
        if is_doubtful(unit, units, state, wholeness=wholeness, ended=ended, now=now)
    ]
    whole = set(units.there) - {unit.label for unit in half}
    awaited = Awaited(units, whole, state, wholeness=wholeness, now=now)
    others = [units.there[label] for label in whole]
    return half + [
        unit for unit in others if is_undecided(unit, state) and awaited.waits_for_companion(unit)
    ]


def is_doubtful(
    unit: Unit, units: Units, state: State, *, wholeness: WholeUnits, ended: float, now: float
) -> bool:
    if not is_undecided(unit, state):
        return False
    if unit.is_pointer:
        return unit.missing
    if unit.unfinished:
        return True
    if unit.marked:
        return False
    if state.was_open(unit) and not state.stays_open(unit):
        return True
    if now - wholeness.since(unit) < QUIET_ALTHOUGH_OPEN_S and wholeness.is_lacking(unit, units):
        return True
    return unit.changed > ended - checkpoint_units.QUIET_S and not unit.switched_in


def is_undecided(unit: Unit, state: State) -> bool:
    return state.is_wanted(unit) and not state.is_pending(unit)
