"""Checkpoints: what a training leaves in its checkpoint directory, saved in the store set by set."""
import hashlib
import json
import os
import time

from . import files, pointers, units
from .parts import Changed
from .restore import in_project, owner

# So long, seconds, a set waits for a unit that is being written, and for a pointer to name the newest.
PATIENCE = 60


class Checkpoints:
    """The checkpoints of one run. Its state is `checkpoints.json` in the run's directory: whoever is killed goes on from there.

    A checkpoint is a set: the unit that was written last, and of each other family of names the newest unit that is whole. What a
    pointer of the set names is in it too.

    `keep`: so many are named, the newest. `every`: seconds between two at the least, None: as they come. `kept` and `number`:
    where another instance left off: the record's list, and the last number that was used (`last_number`). `directory` is the training's, of
    which nothing is changed here, and so is `project`: a `project_checkpoints.Project`, None: it has none."""

    def __init__(
            self, directory, home, parts, bucket, keep, every, attempt, kept=(), number=0, clock=time.monotonic, wall=time.time, account=None, project=None):
        self.directory, self.parts, self.bucket, self.keep, self.every, self.attempt = directory, parts, bucket, keep, every, attempt
        self.clock, self.wall, self.account, self.project = clock, wall, account, project
        self.path = os.path.join(home, "checkpoints.json")
        # label -> (signature, since when)
        self.watched = {}
        # label -> why a unit can not be saved
        self.unfit = {}
        # label -> (signature, the entries of its files): what need not be read again
        self.read = {}
        # Since when a set waits for units that are being written.
        self.waiting = None
        self.state = files.read_json(self.path) or {
            "v": 1, "number": 0, "kept": [], "last": None, "pending": None, "at": None, "order": [], "seen": {}, "refused": {}, "attempt": attempt,
            "ended": False, "judged": 0,
        }
        self._adopt(list(kept), number)
        if self.state["attempt"] != attempt:
            self._begin()

    def _adopt(self, kept, number):
        """Where another instance went on after our last attempt, its list and its numbers hold."""
        state, newest = self.state, max([0] + [each["n"] for each in kept])
        if newest > max([0] + [each["n"] for each in state["kept"]]):
            state["kept"], state["last"] = kept, None
        if state["pending"] and json.loads(state["pending"]["manifest"])["n"] < max(number, newest):
            state["pending"] = None
        state["number"] = max(state["number"], number, newest)

    def _begin(self):
        """Another attempt. What one that was cut off has left, and nobody looked at, may be half of something."""
        if not self.state["ended"]:
            there = self._find()
            self._refuse(there, [unit for unit in there.values() if not unit.marked and not unit.switched_in and not self._saved(unit)])
        self._save_state(attempt=self.attempt, ended=False)

    def _refuse(self, there, doubtful):
        """None of these is saved or gone on from as it is, nor is a pointer to one."""
        labels = {unit.label for unit in doubtful}
        for unit in there.values():
            if unit.label in labels or (unit.points & labels and not self._saved(unit)):
                self.state["refused"][unit.label] = {"signature": unit.signature, "names": sorted(unit.names)}

    def _find(self, again=False):
        found = units.find(self.directory, self.account)
        if self.project is not None:
            found.update(self.project.find(again))
        return found

    @property
    def kept(self):
        """As the run's record has them: oldest first."""
        return self.state["kept"]

    def latest(self):
        return self.kept[-1] if self.kept else None

    def look(self, final=False, cut=False, ended=None):
        """Saves what is whole and was not saved. True where a checkpoint was recorded. Failure of the bucket: look again.

        `final`: the training has ended, at `ended` (seconds since the epoch). `cut`: by a signal, so that what was changing
        within the last seconds, and was not renamed in, may be half of something: it is not saved, not by a later attempt either."""
        before = self.kept[-1:]
        there = self._find(again=final)
        self._forget(there)
        now = self.clock()
        if final and cut:
            self._refuse(there, self._doubtful(there, self.wall() if ended is None else ended))
        if final:
            # Before anything is sent: the next attempt must know what is doubtful, even if the store is out of reach.
            self._save_state(judged=self.attempt)
        self._finish()
        whole = {unit.label for unit in there.values() if self._whole(unit, now, final)}
        new = sorted((there[label] for label in whole if self._wanted(there[label])), key=lambda unit: unit.order)
        new = [unit for unit in new if not unit.missing or (final and not cut and unit.to is None)]
        if not final:
            new = [unit for unit in new if not self._awaits_pointer(unit, there, now)]
        if self.every:
            new = new[-1:] if final or self._due() else []
        if len(whole) == len(there):
            self.waiting = None
        for unit in self._order_of_saving(new):
            # It may have been saved in another's set meanwhile.
            if self._saved(unit):
                continue
            chosen = self._set(unit, there, whole, final, cut)
            if chosen is not None:
                self._save(unit, *chosen)
            elif self.waiting is None:
                self.waiting = now
        if final:
            self._save_state(ended=True)
        return self.kept[-1:] != before

    def _order_of_saving(self, new):
        """One set for each older version, as many as are kept; then one for all the newest, which is called by the last of them."""
        newest = {unit.family: unit for unit in new}
        older = [unit for unit in new if newest[unit.family] is not unit]
        return older[max(0, len(older) + 1 - self.keep):] + [unit for unit in reversed(new) if newest[unit.family] is unit]

    def _doubtful(self, there, ended):
        for unit in there.values():
            if not self._wanted(unit) or self._is_pending(unit):
                continue
            if unit.is_pointer:
                if unit.missing:
                    yield unit
            elif unit.unfinished or (unit.changed > ended - units.QUIET and not unit.marked and not unit.switched_in):
                yield unit

    def _whole(self, unit, now, final):
        if unit.why:
            self.unfit[unit.label] = unit.why
            return False
        self.unfit.pop(unit.label, None)
        signature, since = self.watched.get(unit.label, (None, None))
        if signature != unit.signature:
            since = now
            self.watched[unit.label] = (unit.signature, now)
        return unit.marked or (not unit.unfinished and (final or bool(unit.points) or now - since >= units.QUIET))

    def _wanted(self, unit):
        """Not saved as it is, not refused, not about to be removed, and not older than what was saved last."""
        return not self._saved(unit) and not self._refused(unit) and not self._shrinks(unit) and list(unit.order) >= self.state["order"]

    def _saved(self, unit):
        seen = self.state["seen"].get(unit.label)
        return seen is not None and seen["signature"] == unit.signature

    def _is_pending(self, unit):
        """Whether it was whole, and all of it is in the store but for the manifest."""
        seen = (self.state["pending"] or {"seen": {}})["seen"].get(unit.label)
        return seen is not None and seen["signature"] == unit.signature

    def _refused(self, unit):
        refused = self.state["refused"].get(unit.label)
        return refused is not None and refused["signature"] == unit.signature

    def _shrinks(self, unit):
        seen = self.state["seen"].get(unit.label)
        return seen is not None and len(unit.files) < seen["files"] and unit.order[0] <= seen["order"]

    def _awaits_pointer(self, unit, there, now):
        """Whether a pointer that says what to resume from is about to name it: it names an older unit of the family."""
        if now - self.watched[unit.label][1] >= PATIENCE:
            return False
        for each in there.values():
            if each.points and unit.label not in each.points and pointers.is_current(each.label):
                if any(there[label].family == unit.family and there[label].order < unit.order for label in each.points if label in there):
                    return True
        return False

    def _set(self, unit, there, whole, final, cut):
        """(units, names that are taken over from the last set) of the checkpoint in which `unit` is the newest; None: not now."""
        families = {}
        for each in sorted(there.values(), key=lambda each: each.order, reverse=True):
            families.setdefault(each.family, []).append(each)
        before = {each["name"] for each in self._before()["names"]}
        patient = not final and (self.waiting is None or self.clock() - self.waiting < PATIENCE)
        chosen, kept = {unit.label: unit}, set()
        for family in families.values():
            if unit in family:
                continue
            newest = family[0]
            usable = next((each for each in family if self._usable(each, whole)), None)
            if usable is not None and (usable is newest or not newest.is_pointer):
                chosen[usable.label] = usable
            elif newest.why or self._shrinks(newest) or (newest.to is not None and newest.missing) or any(there[label].why for label in newest.points):
                continue
            elif newest.missing and final and not cut:
                # Nothing is to come that it could name.
                chosen[newest.label] = newest
            elif unit.marked:
                kept |= set() if newest.is_pointer else before & set(newest.names)
            elif patient or newest.points or (final and cut and (newest.missing or before & set(newest.names))):
                # It is being written, or what it names; or it was cut off: the last set holds.
                return None
            elif not newest.missing:
                kept |= before & set(newest.names)
        left = list(chosen.values())
        while left:
            for label in left.pop().points:
                if label not in chosen:
                    if label not in there or not self._usable(there[label], whole):
                        return None
                    chosen[label] = there[label]
                    left.append(there[label])
        return list(chosen.values()), kept

    def _before(self):
        """The last set of the run itself, of which names may be taken over: their parts are in the run's store."""
        last = self.state["last"]
        return last if last and last["own"] else {"names": [], "files": []}

    def _usable(self, unit, whole):
        if self._saved(unit):
            return True
        if unit.label not in whole or self._refused(unit) or self._shrinks(unit):
            return False
        return not unit.missing and unit.points <= whole

    def _due(self):
        return self.state["at"] is None or self.wall() * 1000 - self.state["at"] >= self.every * 1000

    def _forget(self, there):
        for known in (self.watched, self.unfit, self.read, self.state["refused"], self.state["seen"]):
            for label in [label for label in known if label not in there]:
                del known[label]

    def _save(self, unit, chosen, kept):
        """`chosen`: the units of the set; `kept`: names that are taken over from the last set."""
        try:
            found = {each.label: self._entries(each) for each in chosen}
        except Changed:
            found = None
        now = self._find()
        changed = [each.label for each in chosen if each.label not in now or now[each.label].signature != each.signature]
        if found is None or changed:
            for label in changed or [unit.label]:
                self.watched.pop(label, None)
            return
        before = self._before()
        names = [each for each in before["names"] if each["name"] in kept]
        entries = [each for each in before["files"] if owner(each["path"], kept) is not None]
        for each in chosen:
            entries += found[each.label]
            names += [dict({"name": name, "kind": kind}, **({"to": each.to} if kind == "link" else {})) for name, kind in each.names.items()]
        made = {"names": sorted(names, key=lambda each: each["name"]), "files": sorted(entries, key=lambda each: each["path"])}
        seen = {each.label: {"signature": each.signature, "files": len(each.files), "order": each.order[0]} for each in chosen}
        if self.state["last"] and content(self.state["last"]) == content(made):
            self.state["seen"].update(seen)
            self._save_state()
            return
        number = self.state["number"] + 1
        # A pointer is called by what it names.
        label = min(unit.points) if unit.points else unit.label
        manifest = dict({"v": 1, "n": number, "unit": label, "at": int(self.wall() * 1000), "attempt": self.attempt}, **made)
        # Written down before it is sent: whoever is killed in between sends the same under the same number.
        self._save_state(number=number, pending={"manifest": json.dumps(manifest), "seen": seen, "order": unit.order})
        self._finish()

    def _entries(self, unit):
        signature, entries = self.read.get(unit.label, (None, None))
        if signature != unit.signature:
            entries = self._send(unit)
            self.read[unit.label] = (unit.signature, entries)
        return entries

    def _send(self, unit):
        if not in_project(unit.label):
            return self.parts.save_all(self.directory, unit.files)
        saved = self.parts.save_all(self.project.work, [self.project.below(path) for path in unit.files])
        return [dict(entry, path=path) for path, entry in zip(unit.files, saved)]

    def _finish(self):
        """Writes the manifest of what is in the store but for that, and records it when S3 has it."""
        pending = self.state["pending"]
        if pending is None:
            return
        data = pending["manifest"].encode()
        manifest = json.loads(pending["manifest"])
        self.bucket.put("checkpoint/%d.json" % manifest["n"], data)
        entry = {
            "n": manifest["n"], "unit": manifest["unit"], "sha256": hashlib.sha256(data).hexdigest(), "size": sum(each["size"] for each in manifest["files"]),
            "files": len(manifest["files"]), "at": manifest["at"], "attempt": manifest["attempt"],
        }
        self.state["seen"].update(pending["seen"])
        self._save_state(
            pending=None, kept=(self.kept + [entry])[-self.keep:], last=dict(self._last(manifest), own=True), at=manifest["at"],
            order=list(pending["order"]),
        )

    def restored(self, manifest):
        """What was put into the directory by `restore` is saved already: only a change of it makes a checkpoint of it."""
        names = {each["name"] for each in manifest["names"]}
        for unit in self._find().values():
            if set(unit.names) <= names:
                self.state["seen"][unit.label] = {"signature": unit.signature, "files": len(unit.files), "order": unit.order[0]}
        self._save_state(last=dict(self._last(manifest), own=False))

    def expects(self, manifest):
        """What `manifest`, of the run itself, describes is to be put into the directory, and is saved already."""
        self._save_state(last=dict(self._last(manifest), own=True))

    def _last(self, manifest):
        self.waiting = None
        return {"names": manifest["names"], "files": manifest["files"]}

    def _save_state(self, **changes):
        self.state.update(changes)
        files.write_json(self.path, self.state, 0o600)


def content(made):
    """The same for the same names and files."""
    kinds = [[each["name"], each["kind"], each.get("to")] for each in made["names"]]
    entries = [[each["path"], each["size"], each["sha256"], each["executable"]] for each in made["files"]]
    return hashlib.sha256(json.dumps([sorted(kinds, key=str), sorted(entries)]).encode()).hexdigest()


def last_number(bucket):
    """The last number that was used in the store, for who goes on without the state of who began. Failure NO_ROLE without a role."""
    return numbered(name for name, _ in bucket.list("checkpoint/"))


def numbered(names):
    """The last number among the names of a run's objects."""
    names = [name[len("checkpoint/"):] for name in names if name.startswith("checkpoint/")]
    return max([0] + [int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()])
