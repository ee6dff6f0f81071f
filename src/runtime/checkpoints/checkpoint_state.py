"""The state of a run's checkpoints: `checkpoints.json` in the run's directory.

A reporter that replaces a killed one reads it."""

from __future__ import annotations

import json
import os

from ..system import atomic_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Collection, Iterable, Sequence

    from ..system.documents import SavedCheckpoint
    from .unit import Unit


class State:
    """What was saved, sent and refused of the units of one run.

    `kept` and `number`: where another instance left off: the record's list, and the last number
    that was used.
    """

    values: dict[str, Any]

    def __init__(
        self, run_dir: str, attempt: int, *, kept: Sequence[SavedCheckpoint] = (), number: int = 0
    ) -> None:
        self.path = os.path.join(run_dir, "checkpoints.json")
        # `kept`: as the run's record has them, oldest first. `last`: the names and files of the
        # last set; `order`: that of its newest unit. `at`: when it was saved, ms. `pending`: what
        # is in the store but for the set's manifest. `seen`, `refused`, `open`: labels, with the
        # signature that the unit had when it was saved, refused or open for writing. `counts`:
        # family -> how many files its last saved unit had. `steps`: `awaited_units.steps` of the
        # last set. `came`: `order_of_units.correct`. `judged`: the last attempt whose doubtful
        # units are among the refused.
        self.values = {
            "v": 1,
            "number": 0,
            "kept": [],
            "last": None,
            "pending": None,
            "at": None,
            "order": [],
            "seen": {},
            "refused": {},
            "open": {},
            "attempt": attempt,
            "ended": False,
            "judged": 0,
            "counts": {},
            "steps": {},
            "came": {},
        }
        # The state of a run that an earlier version of the runtime began may lack a value.
        self.values.update(atomic_files.read_object(self.path))
        self._adopt(list(kept), number)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def _adopt(self, kept: list[SavedCheckpoint], number: int) -> None:
        """Takes the list and the numbers of another instance that continued the run after our last
        attempt.
        """
        values, newest = self.values, max([0] + [each["n"] for each in kept])
        if newest > max([0] + [each["n"] for each in values["kept"]]):
            values["kept"], values["last"] = kept, None
        if values["pending"] and json.loads(values["pending"]["manifest"])["n"] < max(
            number, newest
        ):
            values["pending"] = None
        values["number"] = max(values["number"], number, newest)

    def save(self, **changes: Any) -> None:
        self.values.update(changes)
        atomic_files.write_json(self.path, self.values, 0o600)

    def forget(self, there: dict[str, Unit]) -> None:
        """Drops what is known of units that are gone."""
        forget([self.values[name] for name in ("refused", "seen", "open", "came")], there)

    def refuse(self, there: dict[str, Unit], doubtful: Iterable[Unit]) -> None:
        """None of these is saved or resumed from as it is, nor is a pointer to one."""
        labels = {unit.label for unit in doubtful}
        for unit in there.values():
            if unit.label in labels or (unit.points & labels and not self.is_saved(unit)):
                self.values["refused"][unit.label] = {
                    "signature": unit.signature,
                    "names": sorted(unit.names),
                }

    def is_wanted(self, unit: Unit) -> bool:
        """Not saved as it is, not refused, not about to be removed, and not older than what was
        saved last.
        """
        if self.is_saved(unit) or self.is_refused(unit) or self.is_shrinking(unit):
            return False
        return list(unit.order) >= self.values["order"]

    def is_saved(self, unit: Unit) -> bool:
        seen = self.values["seen"].get(unit.label)
        return seen is not None and seen["signature"] == unit.signature

    def is_pending(self, unit: Unit) -> bool:
        """Whether it was whole, and all of it is in the store but for the manifest."""
        pending: dict[str, Any] = self.values["pending"] or {"seen": {}}
        seen = pending["seen"].get(unit.label)
        return seen is not None and seen["signature"] == unit.signature

    def is_refused(self, unit: Unit) -> bool:
        refused = self.values["refused"].get(unit.label)
        return refused is not None and refused["signature"] == unit.signature

    def is_shrinking(self, unit: Unit) -> bool:
        """Whether files of it are gone and nothing was written to it, as while it is being
        removed.
        """
        seen = self.values["seen"].get(unit.label)
        return (
            seen is not None and len(unit.files) < seen["files"] and unit.order[0] <= seen["order"]
        )

    def was_open(self, unit: Unit) -> bool:
        """Whether it was open for writing, as it is now, at the last look."""
        return self.values["open"].get(unit.label) == unit.signature

    def stays_open(self, unit: Unit) -> bool:
        """Whether it was open when it was saved, as a file is that a training appends to: that
        tells nothing then.
        """
        return self.values["seen"].get(unit.label, {}).get("open", False)

    def seen_of(self, unit: Unit) -> dict[str, Any]:
        """What `seen` says of a unit once it is saved."""
        is_open = self.was_open(unit) or self.stays_open(unit)
        return {
            "signature": unit.signature,
            "files": len(unit.files),
            "order": unit.order[0],
            "open": is_open,
        }

    def previous_set(self) -> dict[str, Any]:
        """The last set of the run itself, of which names may be taken over: their parts are in the
        run's store.
        """
        last = self.values["last"]
        return last if last and last["own"] else {"names": [], "files": []}


def forget(dictionaries: Iterable[dict[str, Any]], there: Collection[str]) -> None:
    for known in dictionaries:
        for label in [label for label in known if label not in there]:
            del known[label]
