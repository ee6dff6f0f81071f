"""The units of one look at the directories, indexed: what is asked of each unit must not search all
the others.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    from .unit import Unit


class Units:
    """`there`: the units by their labels."""

    families: dict[str, list[Unit]]
    versions: dict[tuple[str, tuple[float, ...] | None], list[Unit]]

    def __init__(self, there: dict[str, Unit]) -> None:
        self.there = there
        # family -> its units, the newest first
        self.families = {}
        # (family, version) -> units
        self.versions = {}
        for unit in sorted(there.values(), key=lambda unit: unit.order, reverse=True):
            self.families.setdefault(unit.family, []).append(unit)
            self.versions.setdefault((unit.family, unit.version), []).append(unit)

    def newest(self, unit: Unit) -> Unit:
        """The newest unit of the same family."""
        return self.families[unit.family][0]

    def is_followed(self, unit: Unit) -> bool:
        """Whether a newer version of it exists."""
        return self.newest(unit).order > unit.order

    def followers(self, unit: Unit) -> list[Unit]:
        """The newer units of its family, the newest first."""
        return [each for each in self.families[unit.family] if each.order > unit.order]

    def with_pointers_to(self, labels: Iterable[str]) -> set[str]:
        """These labels, and those of all units that name one of them, also through others."""
        left = list(labels)
        pointers: dict[str, list[str]] = {}
        found = set(left)
        for unit in self.there.values():
            for label in unit.points:
                pointers.setdefault(label, []).append(unit.label)
        while left:
            for label in pointers.get(left.pop(), ()):
                if label not in found:
                    found.add(label)
                    left.append(label)
        return found
