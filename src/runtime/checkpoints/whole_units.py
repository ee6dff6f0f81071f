"""Which units are whole, as far as their names, files and processes tell."""

from __future__ import annotations

import os
import time

from ..system import safe_walk
from ..system.left_processes import Opened, open_below
from . import checkpoint_units, file_formats
from .checkpoint_restore import in_project
from .checkpoint_state import forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable

    from .checkpoint_state import State
    from .project_checkpoints import Project
    from .unit import Unit
    from .unit_index import Units


# Seconds between two looks at what is open.
OPEN_POLL_S = 1.0
# Seconds that a set waits for a unit that is being written, and for a pointer to name the newest. A
# unit that does not change for this long is taken to be whole though a process has it open for
# writing, or something of it seems to lack.
QUIET_ALTHOUGH_OPEN_S = 60


class WholeUnits:
    """What was seen of the units, from one look to the next.

    `directory`, `project`, `account`: as `Checkpoints` has them."""

    watched: dict[str, tuple[str, float]]
    unfit: dict[str, str]
    truncated: dict[str, tuple[str, bool]]
    looked: tuple[float | None, list[Opened]]

    def __init__(
        self,
        directory: str,
        state: State,
        *,
        clock: Callable[[], float] = time.monotonic,
        account: pwd.struct_passwd | None = None,
        project: Project | None = None,
    ) -> None:
        self.directory, self.state, self.clock = directory, state, clock
        self.account, self.project = account, project
        # label -> (signature, since when)
        self.watched = {}
        # label -> why a unit can not be saved
        self.unfit = {}
        # label -> (signature, whether one of its files is shorter than it says)
        self.truncated = {}
        # (when it was looked, what was open for writing in the checkpoint directory and in the
        # project)
        self.looked = (None, [])

    def forget(self, there: dict[str, Unit]) -> None:
        """Drops what is known of units that are gone."""
        forget([self.watched, self.unfit, self.truncated], there)

    def find(self, units: Units, now: float, final: bool) -> set[str]:
        """The labels of the units that are whole."""
        opened = dict(self.state["open"])
        whole = {
            unit.label
            for unit in units.there.values()
            if self._is_whole(unit, units, now=now, final=final, opened=opened)
        }
        if opened != self.state["open"]:
            # A reporter that replaces this one must know of it.
            self.state.save(open=opened)
        return whole

    def since(self, unit: Unit) -> float:
        """Since when it is seen as it is."""
        signature, since = self.watched.get(unit.label, ("", 0.0))
        return since if signature == unit.signature else self.clock()

    def _is_whole(
        self, unit: Unit, units: Units, *, now: float, final: bool, opened: dict[str, str]
    ) -> bool:
        if unit.why:
            self.unfit[unit.label] = unit.why
            return False
        self.unfit.pop(unit.label, None)
        signature, since = self.watched.get(unit.label, ("", now))
        if signature != unit.signature:
            since = now
            self.watched[unit.label] = (unit.signature, now)
        if unit.sparse:
            # It may be about to be filled in: it counts as being written, and is named if it stays
            # sparse.
            if final or now - since >= QUIET_ALTHOUGH_OPEN_S:
                self.unfit[unit.label] = unit.sparse
            return False
        if final or unit.marked or unit.points:
            return unit.marked or not unit.unfinished
        quiet = not unit.unfinished and now - since >= checkpoint_units.QUIET_S
        if not quiet or now - since >= QUIET_ALTHOUGH_OPEN_S or not self.state.is_wanted(unit):
            return quiet
        if self.is_lacking(unit, units):
            return False
        return self.state.stays_open(unit) or not self._is_open(unit, now, opened)

    def is_lacking(self, unit: Unit, units: Units) -> bool:
        """Whether something of it seems to lack: the end of a file, or files that the version
        before it had.
        """
        if unit.switched_in or unit.is_pointer:
            return False
        # A process that writes a part of it may be slower than the others; nothing is to come once
        # the next version is begun.
        count = self.state["counts"].get(unit.family, 0)
        return (len(unit.files) < count and not units.is_followed(unit)) or self._is_truncated(unit)

    def _is_truncated(self, unit: Unit) -> bool:
        signature, is_truncated = self.truncated.get(unit.label, (None, False))
        if signature != unit.signature:
            is_truncated = any(map(self._is_file_truncated, unit.files))
            self.truncated[unit.label] = (unit.signature, is_truncated)
        return is_truncated

    def _is_file_truncated(self, path: str) -> bool:
        try:
            base, at = (
                (self.project.work, self.project.below(path))
                if self.project is not None and in_project(path)
                else (self.directory, path)
            )
            descriptor = safe_walk.open_file(base, at, self.account)
        except OSError:
            return False
        try:
            return file_formats.is_truncated(descriptor, path)
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def _is_open(self, unit: Unit, now: float, opened: dict[str, str]) -> bool:
        """Whether a process has a file of it open for writing: a write may wait long for the disk,
        or for its data.

        `opened`: {label: signature} of those that are open; this changes it.
        """
        if self.looked[0] is None or now - self.looked[0] >= OPEN_POLL_S:
            inner = self.project.open_files() if self.project is not None else Opened()
            self.looked = (now, [open_below(self.directory), inner])
        is_open = any(each.holds(unit.files, unit.inodes) for each in self.looked[1])
        if is_open:
            opened[unit.label] = unit.signature
        else:
            opened.pop(unit.label, None)
        return is_open
