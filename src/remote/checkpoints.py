"""Checkpoints: what a training leaves in its checkpoint directory, saved in the store unit by unit."""
import hashlib
import json
import os
import time

from . import files, units
from .parts import Changed


class Checkpoints:
    """The checkpoints of one run. Its state is `checkpoints.json` in the run's directory: whoever is killed goes on from there.

    `keep`: so many are named, the newest. `every`: seconds between two at the least, None: as they come. `kept` and `number`:
    where another instance left off: the record's list, and the last number that was used (`last_number`). `directory` is the training's, of
    which nothing is changed here."""

    def __init__(self, directory, home, parts, bucket, keep, every, attempt, kept=(), number=0, clock=time.monotonic, wall=time.time, account=None):
        self.account = account
        self.directory, self.parts, self.bucket, self.keep, self.every, self.attempt = directory, parts, bucket, keep, every, attempt
        self.clock, self.wall = clock, wall
        self.path = os.path.join(home, "checkpoints.json")
        # name -> (signature, since when)
        self.watched = {}
        # name -> why a unit can not be saved
        self.unfit = {}
        self.state = files.read_json(self.path) or {
            "v": 1, "number": 0, "kept": [], "pending": None, "at": None, "order": [], "seen": {}, "refused": {}, "attempt": attempt, "ended": False,
        }
        self._adopt(list(kept), number)
        if self.state["attempt"] != attempt:
            self._begin()

    def _adopt(self, kept, number):
        """Where another instance went on after our last attempt, its list and its numbers hold."""
        state, newest = self.state, max([0] + [each["n"] for each in kept])
        if newest > max([0] + [each["n"] for each in state["kept"]]):
            state["kept"] = kept
        if state["pending"] and json.loads(state["pending"]["manifest"])["n"] < max(number, newest):
            state["pending"] = None
        state["number"] = max(state["number"], number, newest)

    def _begin(self):
        """Another attempt. What one that was cut off has left, and nobody looked at, may be half of something."""
        if not self.state["ended"]:
            for name, unit in units.find(self.directory, self.account).items():
                if not unit.marked and not self._saved(unit):
                    self.state["refused"][name] = unit.signature
        self._save_state(attempt=self.attempt, ended=False)

    @property
    def kept(self):
        """As the run's record has them: oldest first."""
        return self.state["kept"]

    def latest(self):
        return self.kept[-1] if self.kept else None

    def look(self, final=False, killed=False, ended=None):
        """Saves what is whole and was not saved. True where a checkpoint was recorded. Failure of the bucket: look again.

        `final`: the training has ended, at `ended` (seconds since the epoch). `killed`: by a signal, so that what was changing
        within the last seconds may be half of something, and is not saved, not by a later attempt either."""
        before = self.kept[-1:]
        self._finish()
        there = units.find(self.directory, self.account)
        self._forget(there)
        now = self.clock()
        whole = sorted((unit for unit in there.values() if self._whole(unit, now, final) and self._wanted(unit)), key=lambda unit: unit.order)
        if final and killed:
            ended = self.wall() if ended is None else ended
            for unit in [unit for unit in there.values() if self._wanted(unit)]:
                if unit.unfinished or (unit.changed > ended - units.QUIET and not unit.marked):
                    self.state["refused"][unit.name] = unit.signature
            whole = [unit for unit in whole if self._wanted(unit)]
        if self.every:
            whole = whole[-1:] if final or self._due() else []
        for unit in whole[-self.keep:]:
            self._save(unit)
        if final:
            self._save_state(ended=True)
        return self.kept[-1:] != before

    def _whole(self, unit, now, final):
        if unit.why:
            self.unfit[unit.name] = unit.why
            return False
        self.unfit.pop(unit.name, None)
        signature, since = self.watched.get(unit.name, (None, None))
        if signature != unit.signature:
            since = now
            self.watched[unit.name] = (unit.signature, now)
        return unit.marked or (not unit.unfinished and (final or now - since >= units.QUIET))

    def _wanted(self, unit):
        """Not saved as it is, not refused, not about to be removed, and not older than what was saved last."""
        if self._saved(unit) or self.state["refused"].get(unit.name) == unit.signature:
            return False
        seen = self.state["seen"].get(unit.name)
        if seen and len(unit.files) < seen["files"] and unit.order[0] <= seen["order"]:
            return False
        return list(unit.order) >= self.state["order"]

    def _saved(self, unit):
        seen = self.state["seen"].get(unit.name)
        return seen is not None and seen["signature"] == unit.signature

    def _due(self):
        return self.state["at"] is None or self.wall() * 1000 - self.state["at"] >= self.every * 1000

    def _forget(self, there):
        kept = {each["unit"] for each in self.kept}
        for known in (self.watched, self.unfit, self.state["refused"], self.state["seen"]):
            for name in [name for name in known if name not in there and (known is not self.state["seen"] or name not in kept)]:
                del known[name]

    def _save(self, unit):
        try:
            entries = self.parts.save_all(self.directory, unit.files)
        except Changed:
            entries = None
        now = units.find(self.directory, self.account).get(unit.name)
        if entries is None or now is None or now.signature != unit.signature:
            self.watched.pop(unit.name, None)
            return
        seen = {"signature": unit.signature, "content": content(entries), "files": len(entries), "order": unit.order[0]}
        if self.state["seen"].get(unit.name, {}).get("content") == seen["content"]:
            self.state["seen"][unit.name] = seen
            self._save_state()
            return
        number = self.state["number"] + 1
        manifest = {
            "v": 1, "n": number, "unit": unit.name, "kind": "directory" if unit.directory else "file", "at": int(self.wall() * 1000),
            "attempt": self.attempt, "files": entries,
        }
        # Written down before it is sent: whoever is killed in between sends the same under the same number.
        self._save_state(number=number, pending={"manifest": json.dumps(manifest), "seen": seen, "order": unit.order})
        self._finish()

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
        self.state["seen"][manifest["unit"]] = pending["seen"]
        self._save_state(pending=None, kept=(self.kept + [entry])[-self.keep:], at=manifest["at"], order=list(pending["order"]))

    def restored(self, manifest):
        """What was put into the directory by `restore` is saved already: only a change of it makes a checkpoint of it."""
        unit = units.find(self.directory, self.account).get(manifest["unit"])
        if unit is not None:
            self.state["seen"][unit.name] = {
                "signature": unit.signature, "content": content(manifest["files"]), "files": len(manifest["files"]), "order": unit.order[0],
            }
            self._save_state()

    def expects(self, manifest):
        """What `manifest` describes is to be put into the directory, and is saved already."""
        self.state["seen"][manifest["unit"]] = {"signature": None, "content": content(manifest["files"]), "files": len(manifest["files"]), "order": 0}
        self._save_state()

    def _save_state(self, **changes):
        self.state.update(changes)
        files.write_json(self.path, self.state, 0o600)


def content(entries):
    """The same for the same files."""
    return hashlib.sha256(json.dumps(sorted([each["path"], each["size"], each["sha256"], each["executable"]] for each in entries)).encode()).hexdigest()


def last_number(bucket):
    """The last number that was used in the store, for who goes on without the state of who began. Failure NO_ROLE without a role."""
    return numbered(name for name, _ in bucket.list("checkpoint/"))


def numbered(names):
    """The last number among the names of a run's objects."""
    names = [name[len("checkpoint/"):] for name in names if name.startswith("checkpoint/")]
    return max([0] + [int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()])
