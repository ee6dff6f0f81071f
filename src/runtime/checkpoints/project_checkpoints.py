"""Checkpoints in the project: what the paths of `train.checkpoints.paths` name.
docs/reference/formats.md, "Checkpoint".
"""

from __future__ import annotations

import os
import time

from ..run_dir.written_files import Inputs, Outputs
from ..system import safe_walk
from ..system.left_processes import open_below
from . import checkpoint_units
from .checkpoint_restore import PREFIX
from .project_files import below
from .project_search import search
from .unit import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable

    from ..system.documents import RunSpec
    from ..system.left_processes import Opened
    from .project_search import Directories
    from .unit import Unit


# The pause between two searches, as a multiple of the duration of the last one.
PAUSE_FACTOR = 10


class Project:
    """The checkpoints in the project of one run.

    The project is the training's: all in it is reached from descriptors.
    """

    inputs: Inputs | None
    directories: Directories
    due: float | None
    known: dict[str, tuple[str, bool]]

    def __init__(
        self,
        run_dir: str,
        spec: RunSpec,
        account: pwd.struct_passwd | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_dir, self.root, self.account = run_dir, spec["projectRoot"], account
        self.clock, self.work = clock, os.path.join(run_dir, "work")
        self.rules = Outputs(spec, "checkpoints")
        self.inputs = None
        self.directories, self.due = {}, None
        # {label: (signature, whether all of it is as it was sent)}
        self.known = {}

    def below(self, name: str) -> str:
        """Where what has this name in a checkpoint lies, relative to the work directory."""
        return below(self.root, name)

    def find(self, again: bool = False) -> dict[str, Unit]:
        """The units by their labels. There is none before the training begins, and what the sync or
        the set-up has put there is none.

        `again`: the project is searched anew, however long that takes.
        """
        if not self.rules.rules or not self._has_begun():
            return {}
        began = self.clock()
        if again or self.due is None or began >= self.due:
            self.directories = search(self.work, self.root, rules=self.rules, account=self.account)
            now = self.clock()
            self.due = now + PAUSE_FACTOR * (now - began)
        there: dict[str, Unit] = {}
        for directory, (names, extra) in self.directories.items():
            there.update(self._units(directory, names, extra))
        for label in [label for label in self.known if label not in there]:
            del self.known[label]
        return with_named(
            {label: unit for label, unit in there.items() if not self._is_as_sent(unit)}, there
        )

    def open_files(self) -> Opened:
        """What is open for writing below the project; the paths are names in units."""
        start, opened = "" if self.root == "." else self.root + "/", open_below(self.work)
        opened.paths = {
            PREFIX + path[len(start) :] for path in opened.paths if path.startswith(start)
        }
        return opened

    def paths(self) -> set[str]:
        """The files of all units, and the marks beside them, relative to the project."""
        found = self.find(again=True)
        return {
            path[len(PREFIX) :]
            for unit in found.values()
            for path in unit.files + [unit.label + MARK]
        }

    def _has_begun(self) -> bool:
        if self.inputs is None or self.inputs.since is None:
            self.inputs = Inputs(self.run_dir)
        return self.inputs.since is not None

    def _units(self, directory: str, names: set[str], extra: set[str]) -> dict[str, Unit]:
        try:
            descriptor = safe_walk.open_directory(self.work, self.below(directory))
        except OSError as error:
            if error.errno not in safe_walk.GONE:
                raise
            return {}
        try:
            found = checkpoint_units.find(
                descriptor,
                self.account,
                names=names | extra,
                at=os.path.join(self.work, self.below(directory)),
            )
        finally:
            os.close(descriptor)
        kept = {label: unit for label, unit in found.items() if not set(unit.names) <= extra}
        kept.update({
            label: unit for label, unit in found.items() if unit.points and unit.points <= set(kept)
        })
        kept = with_named(kept, found)
        for unit in kept.values():
            unit.move_below(PREFIX + (directory + "/" if directory else ""))
        return {unit.label: unit for unit in kept.values()}

    def _is_as_sent(self, unit: Unit) -> bool:
        signature, is_same = self.known.get(unit.label, ("", False))
        if signature != unit.signature:
            is_same = bool(unit.files) and all(self._was(self.below(path)) for path in unit.files)
            self.known[unit.label] = (unit.signature, is_same)
        return is_same

    def _was(self, path: str) -> bool:
        inputs = self.inputs
        assert inputs
        if os.fsencode(path) not in inputs.entries and path not in inputs.present:
            return False
        try:
            was_sent = inputs.was(
                self.work, path, found=safe_walk.lstat(self.work, path), account=self.account
            )[1]
            return bool(was_sent)
        except OSError:
            return False


def with_named(chosen: dict[str, Unit], there: dict[str, Unit]) -> dict[str, Unit]:
    """Units with all that pointers among them name."""
    left = list(chosen.values())
    while left:
        for label in left.pop().points:
            if label not in chosen:
                chosen[label] = there[label]
                left.append(there[label])
    return chosen
