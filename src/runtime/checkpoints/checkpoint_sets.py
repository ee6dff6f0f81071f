"""Which units make a checkpoint together: a set."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .checkpoint_state import State
    from .unit import Unit
    from .unit_index import Units


class Sets:
    """The sets that can be made of the units of one look.

    `units`: a `unit_index.Units`; `whole`: the labels of those that are whole. `final`, `cut`: as
    `Checkpoints.look` has them. `patient`: a set waits for units that are being written.
    """

    waited_for: set[str] | None

    def __init__(
        self, units: Units, whole: set[str], state: State, *, final: bool, cut: bool, patient: bool
    ) -> None:
        self.units, self.whole, self.state = units, whole, state
        self.final, self.cut, self.patient = final, cut, patient
        self.previous = {each["name"] for each in state.previous_set()["names"]}
        there = units.there
        # The labels of what a set can have, with all that it names.
        self.usable = set(there) - units.with_pointers_to(
            label for label in there if not self._is_usable(there[label])
        )
        # The labels of what can't be saved, and of what names such.
        self.unfit = units.with_pointers_to(label for label in there if there[label].why)
        self.waited_for = None

    def find(self, unit: Unit) -> tuple[list[Unit], set[str]] | None:
        """(units, names that are kept from the last set) of the set in which `unit` is the newest;
        None: not now.
        """
        if not unit.points <= self.usable:
            return None
        followers = self.units.followers(unit)
        if not followers and not unit.marked and self._families_waited_for() - {unit.family}:
            return None
        chosen = {unit.label: unit}
        kept: set[str] = set()
        next_order = followers[-1].order if followers else None
        for name, family in self.units.families.items():
            if name == unit.family:
                continue
            choice = self._choose(
                of_the_same_time(unit, family, next_order) if next_order else family, unit.marked
            )
            if choice is None:
                return None
            chosen.update((each.label, each) for each in choice[0])
            kept |= choice[1]
        left = list(chosen.values())
        while left:
            for label in left.pop().points:
                if label not in chosen:
                    chosen[label] = self.units.there[label]
                    left.append(chosen[label])
        return list(chosen.values()), kept

    def _families_waited_for(self) -> set[str]:
        """Those for which each set waits that has the newest units."""
        if self.waited_for is None:
            families = self.units.families.items()
            self.waited_for = {
                name for name, family in families if self._choose(family, False) is None
            }
        return self.waited_for

    def _choose(self, family: list[Unit], is_marked: bool) -> tuple[list[Unit], set[str]] | None:
        """([the unit of a family that a set has], names of the family that it keeps from the last
        set); None: the set waits.

        `family`: the units to choose from, the newest first; `is_marked`: whether the unit that the
        set is made for says itself that it is whole.
        """
        newest = family[0]
        usable = next((each for each in family if each.label in self.usable), None)
        if usable is not None and (usable is newest or not newest.is_pointer):
            return [usable], set()
        if (
            newest.label in self.unfit
            or self.state.is_shrinking(newest)
            or (newest.to is not None and newest.missing)
        ):
            return [], set()
        if newest.missing and self.final and not self.cut:
            # Nothing is to come that it could name.
            return [newest], set()
        known = self.previous & set(newest.names)
        if is_marked:
            return [], set() if newest.is_pointer else known
        if self.patient or newest.points or (self.final and self.cut and (newest.missing or known)):
            # It is being written, or what it names; or it was cut off: the last set holds.
            return None
        return [], set() if newest.missing else known

    def _is_usable(self, unit: Unit) -> bool:
        if self.state.is_saved(unit):
            return True
        if (
            unit.label not in self.whole
            or self.state.is_refused(unit)
            or self.state.is_shrinking(unit)
        ):
            return False
        return not unit.missing


def of_the_same_time(
    unit: Unit, family: list[Unit], next_order: tuple[int, int, str]
) -> list[Unit]:
    """Those of a family that were the newest, or may have been, when an older unit was: its set has
    no newer ones.

    `next_order`: the order of the unit that followed it.
    """
    same = [each for each in family if each.version is not None and each.version == unit.version]
    return same or [each for each in family if each.order < next_order] or family
