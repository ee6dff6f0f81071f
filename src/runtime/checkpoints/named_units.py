"""Which units the pointer files and links of a directory name."""

from __future__ import annotations

import collections.abc

from ..system import safe_walk
from . import pointers

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Dict, Iterator, List, Mapping, Protocol, Tuple

    class Named(Protocol):
        """A unit, as `unit.Unit` has it."""

        label: str
        names: dict[str, str]
        files: list[str]
        points: set[str]
        missing: bool
        to: str | None
        why: str | None

    Names = Dict[str, List[str]]
    # By number: the labels, in the order in which they were found.
    Numbers = Dict[int, Dict[Tuple[str, ...], None]]


def point(
    directory: str | int, units: Mapping[str, Named], account: pwd.struct_passwd | None
) -> None:
    """Finds out which units name others."""
    names = Others.of(units)
    having = {name: other for other in units.values() for name in other.names}
    numbers = Others.by_number(names)
    for label, unit in units.items():
        if unit.to is not None:
            other = having.get(unit.to)
            target = other.label if other is not None and other is not unit else None
            unit.points, unit.missing = ({target}, False) if target else (set(), True)
        elif list(unit.names.values()) == ["file"] and unit.why is None:
            text = short_text(directory, unit.files[0], account)
            if text:
                others = Others(names, label, numbers)
                unit.points, unit.missing = pointers.named(
                    label, text, others, numbered=others.numbered
                )


class Others(collections.abc.Mapping):  # pyright: ignore[reportMissingTypeArgument]
    """{a name, or the stem of several: the label of its unit} of all units but one."""

    def __init__(self, names: Names, but: str, numbers: Numbers) -> None:
        self.names, self.but, self.numbers = names, but, numbers

    @staticmethod
    def of(units: Mapping[str, Named]) -> Names:
        """{name: labels}, those that have the whole name before those of which it is the stem."""
        names: dict[str, list[str]] = {}
        for unit in units.values():
            for name in {unit.label, *unit.names}:
                names.setdefault(name, []).insert(0, unit.label)
        for unit in units.values():
            for name in unit.names:
                names.setdefault(name.rpartition(".")[0] or name, []).append(unit.label)
        return names

    @staticmethod
    def by_number(names: Names) -> Numbers:
        """{the last number of a name: the first two labels of each such name}: one index for all
        pointers of a directory.
        """
        found: Numbers = {}
        for name, labels in names.items():
            for each in pointers.NUMBER.findall(name)[-1:]:
                found.setdefault(int(each), {})[tuple(dict.fromkeys(labels))[:2]] = None
        return found

    def numbered(self, number: int) -> Iterator[str]:
        """The labels of the names whose last number this is."""
        for labels in self.numbers.get(number, ()):
            yield from [label for label in labels if label != self.but][:1]

    def __getitem__(self, name: str) -> str:
        for label in self.names[name]:
            if label != self.but:
                return label
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.names if any(label != self.but for label in self.names[name]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def short_text(directory: str | int, path: str, account: pwd.struct_passwd | None) -> str | None:
    """What a small text file says; None of any other."""
    try:
        descriptor = safe_walk.open_file(directory, path, account)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        data = file.read(pointers.MAX_POINTER_BYTES + 1)
    try:
        return (
            data.decode("utf-8")
            if len(data) <= pointers.MAX_POINTER_BYTES and b"\0" not in data
            else None
        )
    except UnicodeDecodeError:
        return None
