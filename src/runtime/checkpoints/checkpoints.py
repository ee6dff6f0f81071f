"""Saves what a training leaves in its checkpoint directory in the store, set by set."""

from __future__ import annotations

import hashlib
import json
import time

from ..system import safe_walk
from . import checkpoint_units, order_of_units
from .awaited_units import Awaited, steps
from .checkpoint_restore import in_project, owner
from .checkpoint_sets import Sets
from .checkpoint_state import State, forget
from .doubtful_units import doubtful
from .part_upload import Changed
from .unit_index import Units
from .whole_units import QUIET_ALTHOUGH_OPEN_S, WholeUnits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable, Collection, Iterable, Mapping, Protocol, Sequence

    from ..system.documents import SavedCheckpoint
    from .checkpoint_restore import Entry, Manifest
    from .part_upload import Parts
    from .project_checkpoints import Project
    from .unit import Unit

    class Objects(Protocol):
        def put(self, name: str, data: bytes) -> object: ...


# A look gives up after as many sets of which something changed while it was read.
TRIES = 3


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is a set: the unit that was written last, and of each other family of names the
    newest unit that is whole. What a pointer of the set names is in it too.

    `keep`: so many are named, the newest. `every`: seconds between two at the least, None: as they
    come. `kept` and `number`: where another instance left off: the record's list, and the last
    number that was used. `directory` is the training's, of which nothing is changed here, and so is
    `project`: a `project_checkpoints.Project`, None: it has none.
    """

    read: dict[str, tuple[str, list[Entry]]]
    waiting: float | None

    def __init__(
        self,
        directory: str,
        run_dir: str,
        *,
        parts: Parts | None,
        bucket: Objects | None,
        keep: int,
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
        self.directory, self.parts, self.bucket = directory, parts, bucket
        self.keep, self.every, self.attempt = keep, every, attempt
        self.clock, self.wall, self.file_clock = clock, wall, file_clock
        self.account, self.project = account, project
        self.state = State(run_dir, attempt, kept=kept, number=number)
        self.wholeness = WholeUnits(
            directory, self.state, clock=clock, account=account, project=project
        )
        # label -> (signature, the entries of its files): what need not be read again
        self.read = {}
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
        self._finish()
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
        forget([self.read], there)
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
                self.read.pop(unit.label, None)

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
        sets, tries = None, TRIES
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

        `chosen`: the units of the set; `kept`: names that are taken over from the last set."""
        try:
            found = {each.label: self._entries(each) for each in chosen}
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
        made = self._describe(chosen, found, kept)
        seen = {each.label: self.state.seen_of(each) for each in chosen}
        if self.state["last"] and content(self.state["last"]) == content(made):
            self.state["seen"].update(seen)
            self.state.save()
        else:
            self._keep_pending(unit, chosen, made, seen=seen)
            self._finish()
        return set()

    def _describe(
        self, chosen: list[Unit], found: Mapping[str, list[Entry]], kept: Collection[str]
    ) -> dict[str, Any]:
        """The names and files of a set. `found`: label -> the entries of its files."""
        before = self.state.previous_set()
        names = [each for each in before["names"] if each["name"] in kept]
        entries = [each for each in before["files"] if owner(each["path"], kept) is not None]
        for each in chosen:
            entries += found[each.label]
            for name, kind in each.names.items():
                names.append(
                    dict(
                        {"name": name, "kind": kind}, **({"to": each.to} if kind == "link" else {})
                    )
                )
        names.sort(key=lambda each: each["name"])
        entries.sort(key=lambda each: each["path"])
        return {"names": names, "files": entries}

    def _keep_pending(
        self, unit: Unit, chosen: list[Unit], made: Mapping[str, Any], *, seen: Mapping[str, Any]
    ) -> None:
        """Writes a set down before it is sent: a reporter that replaces this one sends the same
        under the same number.
        """
        number = self.state["number"] + 1
        # A pointer is called by what it names.
        label = min(unit.points) if unit.points else unit.label
        at = int(self.wall() * 1000)
        manifest = json.dumps(
            dict({"v": 1, "n": number, "unit": label, "at": at, "attempt": self.attempt}, **made)
        )
        counts = {each.family: len(each.files) for each in chosen}
        pending = {"manifest": manifest, "seen": seen, "order": unit.order, "counts": counts}
        self.state.save(number=number, pending=dict(pending, steps=steps(chosen, number)))

    def _entries(self, unit: Unit) -> list[Entry]:
        signature, entries = self.read.get(unit.label, ("", []))
        if signature != unit.signature:
            entries = self._send(unit)
            self.read[unit.label] = (unit.signature, entries)
        return entries

    def _send(self, unit: Unit) -> list[Entry]:
        assert self.parts
        if not in_project(unit.label):
            return self.parts.save_all(self.directory, unit.files)
        assert self.project
        saved = self.parts.save_all(
            self.project.work, [self.project.below(path) for path in unit.files]
        )
        return [dict(entry, path=path) for path, entry in zip(unit.files, saved)]

    def _finish(self) -> None:
        """Writes the manifest of what is in the store but for that, and records it when S3 has
        it.
        """
        pending = self.state["pending"]
        if pending is None:
            return
        data = pending["manifest"].encode()
        manifest = json.loads(pending["manifest"])
        assert self.bucket
        self.bucket.put("checkpoint/%d.json" % manifest["n"], data)
        entry = {
            "n": manifest["n"],
            "unit": manifest["unit"],
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": sum(each["size"] for each in manifest["files"]),
            "files": len(manifest["files"]),
            "at": manifest["at"],
            "attempt": manifest["attempt"],
        }
        self.state["seen"].update(pending["seen"])
        for name in ("counts", "steps"):
            self.state[name].update(pending.get(name, {}))
        self.state.save(
            pending=None,
            kept=(self.kept + [entry])[-self.keep :],
            last=dict(self._last(manifest), own=True),
            at=manifest["at"],
            order=list(pending["order"]),
        )

    def restored(self, manifest: Manifest) -> None:
        """What was put into the directory by `restore` is saved already: only a change of it makes
        a checkpoint of it.
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
        self.state.save(last=dict(self._last(manifest), own=False))

    def expects(self, manifest: Manifest) -> None:
        """What `manifest`, of the run itself, describes is to be put into the directory, and is
        saved already.
        """
        self.state.save(last=dict(self._last(manifest), own=True))

    def _last(self, manifest: Manifest) -> dict[str, Any]:
        self.waiting = None
        return {"names": manifest["names"], "files": manifest["files"]}


def content(made: Mapping[str, Any]) -> str:
    """The same for the same names and files."""
    kinds = [[each["name"], each["kind"], each.get("to")] for each in made["names"]]
    entries = [
        [each["path"], each["size"], each["sha256"], each["executable"]] for each in made["files"]
    ]
    return hashlib.sha256(
        json.dumps([sorted(kinds, key=str), sorted(entries)]).encode()
    ).hexdigest()
