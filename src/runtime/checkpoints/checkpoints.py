"""Saves what a training leaves in its checkpoint directory in the store, set by set."""

from __future__ import annotations

import time

from ..system import safe_walk
from . import checkpoint_units, order_of_units
from .awaited_units import Awaited
from .checkpoint_sets import Sets
from .checkpoint_state import State
from .doubtful_units import doubtful
from .part_upload import Changed
from .set_upload import SetUpload, last_set
from .unit_index import Units
from .whole_units import QUIET_ALTHOUGH_OPEN_S, WholeUnits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Iterable, Sequence

    from ..system.documents import SavedCheckpoint
    from .checkpoint_restore import Manifest
    from .part_upload import Parts
    from .project_checkpoints import Project
    from .set_upload import Objects
    from .unit import Unit

# A look ends after this many sets of which something changed while it was read.
MAX_CHANGED_SETS = 3


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is a set: the unit that was written last, and of each other family of names the
    newest unit that is whole. What a pointer of the set names is in it too.

    `keep`: so many are named, the newest; of a run on `several` nodes, more of them. `every`:
    seconds between two at the least, None: as they come. `kept` and `number`: where another
    instance left off: the record's list, and the last number that was used. `directory` is the
    training's, of which nothing is changed here, and so is `project`: a
    `project_checkpoints.Project`, None: it has none.
    """

    waiting: float | None

    def __init__(
        self,
        directory: str,
        run_dir: str,
        *,
        parts: Parts | None,
        bucket: Objects | None,
        keep: int,
        several: bool = False,
        every: float | None,
        attempt: int,
        kept: Sequence[SavedCheckpoint] = (),
        number: int = 0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        account: pwd.struct_passwd | None = None,
        project: Project | None = None,
        file_clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self.keep, self.every, self.attempt = keep, every, attempt
        self.clock, self.wall, self.file_clock = clock, wall, file_clock
        self.account, self.project = account, project
        self.state = State(run_dir, attempt, kept=kept, number=number)
        self.wholeness = WholeUnits(
            directory, self.state, clock=clock, account=account, project=project
        )
        self.upload = SetUpload(
            directory,
            self.state,
            parts=parts,
            bucket=bucket,
            project=project,
            keep=keep,
            several=several,
        )
        # Since when a set waits for units that are being written.
        self.waiting = None
        if self.state["attempt"] != attempt:
            self._begin()

    def _begin(self) -> None:
        """Another attempt. What one that was cut off has left, and nobody looked at, may be half of
        something.
        """
        if not self.state["ended"]:
            there = self._find()
            unsafe = [unit for unit in there.values() if not unit.marked and not unit.switched_in]
            self.state.refuse(there, [unit for unit in unsafe if not self.state.is_saved(unit)])
        self.state.save(attempt=self.attempt, ended=False)

    def _find(self, again: bool = False) -> dict[str, Unit]:
        found = checkpoint_units.find(self.directory, self.account)
        if self.project is not None:
            found.update(self.project.find(again))
        return found

    @property
    def kept(self) -> list[SavedCheckpoint]:
        """As the run's record has them: oldest first."""
        return self.state["kept"]

    @property
    def unfit(self) -> dict[str, str]:
        """{label: why a unit can not be saved}"""
        return self.wholeness.unfit

    def latest(self) -> SavedCheckpoint | None:
        return self.kept[-1] if self.kept else None

    def look(self, final: bool = False, cut: bool = False, ended: float | None = None) -> bool:
        """Saves what is whole and was not saved. True where a checkpoint was recorded. Failure of
        the bucket: look again.

        `final`: the training has ended, at `ended` (seconds since the epoch). `cut`: by a signal,
        so that what was changing within the last seconds, and was not renamed in, may be half of
        something: it is not saved, not by a later attempt either.
        """
        before = self.kept[-1:]
        units = Units(self._find_in_order(final))
        now = self.clock()
        if final:
            self._judge(units, cut, ended=self.wall() if ended is None else ended, now=now)
        if self.upload.finish():
            self.waiting = None
        whole = self.wholeness.find(units, now, final)
        awaited = Awaited(units, whole, self.state, wholeness=self.wholeness, now=now)
        if not final:
            whole = {
                label for label in whole if not awaited.waits_for_companion(units.there[label])
            }
        if len(whole) == len(units.there):
            self.waiting = None
        new = self._find_new([units.there[label] for label in whole], final, cut)
        if not final:
            new = [unit for unit in new if not awaited.waits_for_pointer(unit)]
        if self.every:
            new = new[-1:] if final or self._is_due() else []
        self._save_new(self._in_order_of_saving(new), units, whole, final=final, cut=cut)
        if final:
            self.state.save(ended=True)
        return self.kept[-1:] != before

    def _find_in_order(self, final: bool) -> dict[str, Unit]:
        there = self._find(again=final)
        self.state.forget(there)
        self.wholeness.forget(there)
        self.upload.forget(there)
        now = int(self.file_clock() * 1e9)
        if order_of_units.correct(there, self.state.values, self.wholeness.watched, now=now):
            self.state.save()
        return there

    def _judge(self, units: Units, cut: bool, *, ended: float, now: float) -> None:
        if cut:
            unsafe = doubtful(units, self.state, self.wholeness, ended=ended, now=now)
            self.state.refuse(units.there, unsafe)
        else:
            self._read_again(units.there)
        # Before anything is sent: the next attempt must know what is doubtful, even if the store is
        # out of reach.
        self.state.save(judged=self.attempt)

    def _read_again(self, there: dict[str, Unit]) -> None:
        """A write to mapped memory need not change a file's times: what was saved while it was open
        for writing is read once more at the end.
        """
        seen = self.state["seen"]
        for unit in there.values():
            if self.state.is_saved(unit) and self.state.stays_open(unit):
                del seen[unit.label]
                self.upload.read_again(unit.label)

    def _find_new(self, whole: Iterable[Unit], final: bool, cut: bool) -> list[Unit]:
        """The units for which a set is made, the oldest first."""
        new = sorted(filter(self.state.is_wanted, whole), key=lambda unit: unit.order)
        return [unit for unit in new if not unit.missing or (final and not cut and unit.to is None)]

    def _is_due(self) -> bool:
        # A time ahead of the clock is one from before the clock was set back.
        every = self.every or 0
        return (
            self.state["at"] is None
            or not 0 <= self.wall() * 1000 - self.state["at"] < every * 1000
        )

    def _in_order_of_saving(self, new: list[Unit]) -> list[Unit]:
        """One set for each older version, as many as are kept; then one for all the newest, which
        is called by the last of them.
        """
        newest = {unit.family: unit for unit in new}
        older = [unit for unit in new if newest[unit.family] is not unit]
        older = older[max(0, len(older) + 1 - self.keep) :]
        return older + [unit for unit in reversed(new) if newest[unit.family] is unit]

    def _save_new(
        self, new: list[Unit], units: Units, whole: set[str], *, final: bool, cut: bool
    ) -> None:
        """Saves a set for each unit that no set before has."""
        sets, tries = None, MAX_CHANGED_SETS
        for unit in new:
            if self.state.is_saved(unit) or unit.label not in whole:
                continue
            if sets is None:
                patient = not final and (
                    self.waiting is None or self.clock() - self.waiting < QUIET_ALTHOUGH_OPEN_S
                )
                sets = Sets(units, whole, self.state, final=final, cut=cut, patient=patient)
            chosen = sets.find(unit)
            if chosen is not None:
                changed = self._save(unit, *chosen)
                if final:
                    self._tell_changed(changed)
                whole, sets, tries = whole - changed, None, tries - bool(changed)
                if not tries:
                    break
            elif self.waiting is None:
                self.waiting = self.clock()

    def _tell_changed(self, labels: Iterable[str]) -> None:
        for label in labels:
            self.unfit[label] = (
                "%s changed while it was read, after the training had ended"
                % safe_walk.shown(label)
            )

    def _save(self, unit: Unit, chosen: list[Unit], kept: set[str]) -> set[str]:
        """Saves a set, unless something changed meanwhile: the labels of what did.

        `chosen`: the units of the set; `kept`: names that are taken over from the last set.
        """
        try:
            found = {each.label: self.upload.send(each) for each in chosen}
        except Changed:
            found = None
        now = self._find()
        is_same = {
            each.label
            for each in chosen
            if each.label in now and now[each.label].signature == each.signature
        }
        changed = {each.label for each in chosen} - is_same
        if found is None or changed:
            changed = changed or {unit.label}
            for label in changed:
                self.wholeness.watched.pop(label, None)
            return changed
        at_ms = int(self.wall() * 1000)
        if self.upload.save(unit, chosen, found, kept=kept, attempt=self.attempt, at_ms=at_ms):
            self.waiting = None
        return set()

    def restored(self, manifest: Manifest) -> None:
        """Counts a checkpoint that was restored into the directory as saved: only a change of it
        makes a new checkpoint.
        """
        names = {each["name"] for each in manifest["names"]}
        for unit in self._find().values():
            if set(unit.names) <= names:
                seen = {
                    "signature": unit.signature,
                    "files": len(unit.files),
                    "order": unit.order[0],
                }
                self.state["seen"][unit.label] = seen
                self.state["counts"][unit.family] = len(unit.files)
        self.waiting = None
        self.state.save(last=last_set(manifest, own=False))

    def expects(self, manifest: Manifest) -> None:
        """Counts a checkpoint of the run itself, which will be restored into the directory, as
        saved.
        """
        self.waiting = None
        self.state.save(last=last_set(manifest, own=True))
