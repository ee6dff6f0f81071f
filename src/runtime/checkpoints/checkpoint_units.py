"""Finds the units of a checkpoint directory, complete or still being written."""

from __future__ import annotations

import re
import stat

from ..system import safe_walk
from . import pointers, versions
from .named_units import point
from .unit import MARK, TRAINER, Unit
from .unit_names import count_of, together

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import pwd
    from typing import Collection


# Names under which frameworks write what they rename when it is complete, and marks of other units.
ON_ITS_WAY = re.compile(
    r"\..*|tmp-.*|.*\.(tmp|part|partial|complete)|.*\.orbax-checkpoint-tmp.*", re.DOTALL
)
# What trainings log beside their checkpoints.
LOGS = re.compile(
    r"runs|logs|lightning_logs|wandb|mlruns|tensorboard|events\.out\.tfevents\..*|.*\.log",
    re.DOTALL,
)
# A unit that has not changed for this long counts as complete.
QUIET_S = 2.0


def find(
    directory: str | int,
    account: pwd.struct_passwd | None = None,
    *,
    names: Collection[str] | None = None,
    at: str | None = None,
) -> dict[str, Unit]:
    """The units by their labels, without empty ones. `directory` is its path, or its descriptor;
    then `at` is its path.

    `names`: those that may be units, or parts of one; default: all that are neither still being
    written nor logs.
    """
    listing = Listing(directory, account, names=names, at=at)
    units: dict[str, Unit] = {}
    for label, group in together(listing.tops.keys() - listing.links, listing.tops).items():
        unit = units[label] = Unit(label, account)
        for name in sorted(group):
            unit.add(name, listing.tops[name])
            for path, found in listing.below[name]:
                unit.add(path, found)
        unit.count = count_of(group)
    for label, found in listing.marks.items():
        if label in units:
            units[label].mark(found)
    units = {label: unit for label, unit in units.items() if unit.files or unit.why}
    for name, to in listing.links.items():
        unit = units[name] = Unit(name, account)
        unit.to = to
        unit.add(name, listing.tops[name])
    point(directory, units, account)
    tell_versions(units)
    return without_beside_trainers(units)


class Listing:
    """What a checkpoint directory holds. `tops`: the stat result of each top-level name that may be
    of a unit; `below`: the paths below it, with theirs; `marks`: the files that mark a unit as
    complete, by its name; `links`: where top-level links lead to.
    """

    def __init__(
        self,
        directory: str | int,
        account: pwd.struct_passwd | None,
        *,
        names: Collection[str] | None,
        at: str | None,
    ) -> None:
        self.tops: dict[str, os.stat_result] = {}
        self.below: dict[str, list[tuple[str, os.stat_result]]] = {}
        self.marks: dict[str, os.stat_result] = {}
        self.links: dict[str, str] = {}

        def is_left_out(name: str) -> bool:
            if names is not None:
                return name not in names
            return bool(ON_ITS_WAY.fullmatch(name) or LOGS.fullmatch(name))

        for path, found in safe_walk.walk(
            directory,
            account=account,
            skip=lambda path, name, _: path == name and is_left_out(name),
        ):
            name, _, below = path.partition("/")
            if not below and name.endswith(MARK):
                self.marks[name[: -len(MARK)]] = found
            if is_left_out(name):
                continue
            if below:
                if name in self.below:
                    self.below[name].append((path, found))
                continue
            if stat.S_ISLNK(found.st_mode):
                to = link_of(directory, name, at or str(directory))
                if to is None:
                    continue
                self.links[name] = to
            self.tops[name] = found
            self.below[name] = []


def link_of(directory: str | int, name: str, at: str) -> str | None:
    try:
        return pointers.linked(safe_walk.readlink(directory, name), at)
    except OSError:
        return None


def without_beside_trainers(units: dict[str, Unit]) -> dict[str, Unit]:
    """The Trainer's checkpoints and what points to them alone, where it has made some: beside them
    it writes the model, its card, its arguments, which would push the checkpoints out.
    """
    if not any(unit.trainers for unit in units.values()):
        return units
    kept = {label for label in units if TRAINER.fullmatch(label)}
    for label in kept:
        units[label].is_beside_trainers = True
    kept |= {label for label, unit in units.items() if unit.points and unit.points <= kept}
    return {label: unit for label, unit in units.items() if label in kept}


def tell_versions(units: dict[str, Unit]) -> None:
    """Finds out which units are versions of one another though their names alone do not say so.

    A pointer that says what to resume from names one of several whose names differ in numbers: the
    others are its versions.
    """
    known = {versions.numbered(unit.label) for unit in units.values() if unit.is_orbax_step}
    for unit in units.values():
        if pointers.is_current(unit.label):
            named = [versions.numbered(label) for label in unit.points]
            known.update(each for each in named if named.count(each) == 1)
    for unit in units.values():
        if versions.numbered(unit.label) in known:
            unit.family = versions.numbered(unit.label)
            unit.version = versions.version(unit.label, unit.family)
