"""Uploads a set of units as one checkpoint: their parts, then the manifest that names them."""

from __future__ import annotations

import hashlib
import json

from .awaited_units import steps
from .checkpoint_restore import in_project, owner
from .checkpoint_state import forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Collection, Mapping, Protocol, Sequence

    from ..system.documents import SavedCheckpoint
    from .checkpoint_restore import Entry, Manifest
    from .checkpoint_state import State
    from .part_upload import Parts
    from .project_checkpoints import Project
    from .unit import Unit

    class Objects(Protocol):
        def put(self, name: str, data: bytes) -> object: ...


# A run on several nodes resumes from a checkpoint that all of them have. Some save and upload later
# than others, and those that are left go on until a lost node is noticed: so many more are named,
# those of this time before the newest, and at most so many.
MORE_OF_NODES, TIME_OF_NODES_MS, MOST_OF_NODES = 2, 10 * 60_000, 100


def named(
    kept: Sequence[SavedCheckpoint], keep: int, *, several: bool
) -> Sequence[SavedCheckpoint]:
    """Of the saved checkpoints, the oldest first, those that stay in the record."""
    if not several:
        return kept[-keep:]
    since = kept[-1]["at"] - TIME_OF_NODES_MS
    count = max(keep + MORE_OF_NODES, sum(each["at"] >= since for each in kept))
    return kept[-min(count, max(keep, MOST_OF_NODES)) :]


class SetUpload:
    """`directory`: the checkpoint directory. `project`: the checkpoints in the project, or None.
    `keep`: how many checkpoints are named, the newest; `several`: of a run on several nodes.
    `parts` and `bucket` are None where nothing is uploaded.
    """

    def __init__(
        self,
        directory: str,
        state: State,
        *,
        parts: Parts | None,
        bucket: Objects | None,
        project: Project | None,
        keep: int,
        several: bool,
    ) -> None:
        self.directory, self.state, self.parts, self.bucket = directory, state, parts, bucket
        self.project, self.keep, self.several = project, keep, several
        # label -> (signature, the entries of its files): what need not be read again
        self.sent: dict[str, tuple[str, list[Entry]]] = {}

    def forget(self, there: Collection[str]) -> None:
        """Drops what is known of units that are gone."""
        forget([self.sent], there)

    def read_again(self, label: str) -> None:
        """Has a unit read again though its signature has not changed."""
        self.sent.pop(label, None)

    def send(self, unit: Unit) -> list[Entry]:
        """Uploads the files of a unit. Returns their entries. @raises Changed"""
        signature, entries = self.sent.get(unit.label, ("", []))
        if signature != unit.signature:
            entries = self._send_files(unit)
            self.sent[unit.label] = (unit.signature, entries)
        return entries

    def save(
        self,
        unit: Unit,
        chosen: list[Unit],
        found: Mapping[str, list[Entry]],
        *,
        kept: Collection[str],
        attempt: int,
        at_ms: int,
    ) -> bool:
        """Records a set whose files were sent; returns False where the last one has the same
        content. `unit`: that the set is called by; `found`: label -> the entries of its files;
        `kept`: names that are taken over from the last set.
        """
        made = self._describe(chosen, found, kept)
        seen = {each.label: self.state.seen_of(each) for each in chosen}
        if self.state["last"] and content(self.state["last"]) == content(made):
            self.state["seen"].update(seen)
            self.state.save()
            return False
        self._keep_pending(unit, chosen, made, seen=seen, attempt=attempt, at_ms=at_ms)
        return self.finish()

    def finish(self) -> bool:
        """Writes the manifest of a set whose parts are in the store, and records the checkpoint
        when S3 has it. Returns whether there was one.
        """
        pending = self.state["pending"]
        if pending is None:
            return False
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
            kept=named(self.state["kept"] + [entry], self.keep, several=self.several),
            last=last_set(manifest, own=True),
            at=manifest["at"],
            order=list(pending["order"]),
        )
        return True

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
        self,
        unit: Unit,
        chosen: list[Unit],
        made: Mapping[str, Any],
        *,
        seen: Mapping[str, Any],
        attempt: int,
        at_ms: int,
    ) -> None:
        """Writes a set down before it is sent: a reporter that replaces this one sends the same
        under the same number.
        """
        number = self.state["number"] + 1
        # A pointer is called by what it names.
        label = min(unit.points) if unit.points else unit.label
        manifest = json.dumps(
            dict({"v": 1, "n": number, "unit": label, "at": at_ms, "attempt": attempt}, **made)
        )
        counts = {each.family: len(each.files) for each in chosen}
        pending = {"manifest": manifest, "seen": seen, "order": unit.order, "counts": counts}
        self.state.save(number=number, pending=dict(pending, steps=steps(chosen, number)))

    def _send_files(self, unit: Unit) -> list[Entry]:
        assert self.parts
        if not in_project(unit.label):
            return self.parts.save_all(self.directory, unit.files)
        assert self.project
        saved = self.parts.save_all(
            self.project.work, [self.project.below(path) for path in unit.files]
        )
        return [dict(entry, path=path) for path, entry in zip(unit.files, saved)]


def last_set(manifest: Manifest, own: bool) -> dict[str, Any]:
    """The names and files of a checkpoint, as the state has them. `own`: it is the run's own."""
    return {"names": manifest["names"], "files": manifest["files"], "own": own}


def content(made: Mapping[str, Any]) -> str:
    """The same for the same names and files."""
    kinds = [[each["name"], each["kind"], each.get("to")] for each in made["names"]]
    entries = [
        [each["path"], each["size"], each["sha256"], each["executable"]] for each in made["files"]
    ]
    return hashlib.sha256(
        json.dumps([sorted(kinds, key=str), sorted(entries)]).encode()
    ).hexdigest()
