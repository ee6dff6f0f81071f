"""Room on the instance: what is no longer used goes, by age, by number and by need. docs/FORMAT.md, "Room"."""
import fcntl
import os
import re
import stat
import time

from . import files, kept
from .run import RUN_ID
from .trash import Trash

HOUR = 3600
DAY = 24 * HOUR
# A saved run's files, and its environment: what a look at a run of yesterday still finds.
WORK = DAY
# Its record and log, which are in the store too. The newest stay, for `remote-logs` of what was not looked at for long.
RUN = 14 * DAY
RUNS = 50
# What is nowhere but here has a month to be fetched.
UNSAVED = 30 * DAY
# Two weeks of holidays; each is some gigabytes.
ENVIRONMENT = 14 * DAY
ENVIRONMENTS = 10
DATA = 14 * DAY
# uv's, of one caller: what is in it can be fetched again.
CACHE = 14 * DAY
# Files of a user's that a sync moved aside.
DRIFT = 30 * DAY
# Helpers are small, and fetched again: a few clients' versions are in use at once.
HELPER = 30 * DAY
HELPERS = 5
# Programs that are fetched again: the time of a directory is that of its last use.
TOOL = 30 * DAY
# What is new may lack its record or its lock for a moment.
STARTING = HOUR
# The part of the disk below which things go before their time.
FREE = 0.1
KEPT_NAME = re.compile(r"\d{8}T\d{9}Z")
HELPER_NAME = re.compile(r"[0-9a-f]{64}")


class Item:
    """Something that may go: `locks` are taken first, and are another's where it is in use. `due`: its time is over;
    `early`: it may go before, where room is short."""

    def __init__(self, path, used, why, due, locks=(), early=False):
        self.path, self.used, self.why, self.due, self.locks, self.early = path, used, why, due, locks, early


def make_room(root, needed=0, now=None):
    """Removes what may go until the disk has `needed` bytes and a tenth of it free, and whatever is past its time anyway.

    {"removed": [{"path": relative to the root, "why"}, …], "freed": bytes, "free": bytes}. Nothing of a live run goes, nor what
    was never saved before its month is over. Of several at once, one does it, and the others do nothing."""
    result = {"removed": [], "freed": 0, "free": 0}
    descriptor = os.open(os.path.join(root, "room.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if kept.take(descriptor, fcntl.LOCK_EX):
            trash = Trash(root)
            trash.empty()
            Room(root, needed, time.time() if now is None else now, trash, result).make()
            result["freed"] = trash.freed
    finally:
        os.close(descriptor)
    result["free"] = space(root)[0]
    return result


def is_saved(path):
    """Whether all that is of use of a run is in the store; a command beside the trainings has nothing that is."""
    report, record = (files.read_json(os.path.join(path, name)) for name in ("report.json", "run.json"))
    if isinstance(record, dict) and record.get("kind") == "exec":
        return record.get("state") == "ended"
    return isinstance(report, dict) and report.get("saved") is True


def is_short(root):
    free, total = space(root)
    return free < total * FREE


def space(root):
    """(free for the training user, all), bytes."""
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


class Room:
    def __init__(self, root, needed, now, trash, result):
        self.root, self.needed, self.now, self.trash, self.result = root, needed, now, trash, result

    def make(self):
        found = sorted(self.runs() + self.shared() + self.drift() + self.helpers() + self.tools(), key=lambda item: item.used)
        for item in found:
            if item.due:
                self.remove(item)
        for item in found:
            if not self.is_short():
                return
            if item.early and not item.due:
                self.remove(item)

    def is_short(self):
        free, total = space(self.root)
        return free < max(total * FREE, self.needed)

    def remove(self, item):
        """Moves it out of the way and deletes it, unless it is in use, or gone."""
        taken = []
        try:
            for path in item.locks:
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
                except FileNotFoundError:
                    continue
                taken.append(descriptor)
                if not kept.take(descriptor, fcntl.LOCK_EX):
                    return
            if self.trash.take(item.path):
                self.result["removed"].append({"path": os.path.relpath(item.path, self.root), "why": item.why})
        finally:
            for descriptor in taken:
                os.close(descriptor)
        self.trash.empty()

    def age(self, used):
        return self.now - used

    def runs(self):
        found, saved = [], 0
        for path in reversed(self.inside("runs", RUN_ID)):
            used = last(path, "collected", "report.json", "run.json")
            locks = [os.path.join(path, "lock"), os.path.join(path, "report.lock")]
            if not is_saved(path):
                found.append(Item(path, used, "not saved, and older than 30 days", self.age(used) > UNSAVED, locks))
                continue
            saved += 1
            due = self.age(used) > RUN and saved > RUNS
            found.append(Item(path, used, "a saved run", due, locks, early=self.age(used) > STARTING))
            for name in () if due else ("work", "env", "uv-cache"):
                part = os.path.join(path, name)
                if is_directory(part):
                    found.append(Item(part, used, "files of a saved run", self.age(used) > WORK, locks, early=True))
        return found

    def shared(self):
        """What several runs use: each has the lock that they share, and the time when it was used last."""
        found = []
        for kind, limit, count in (("envs", ENVIRONMENT, ENVIRONMENTS), ("data", DATA, None), ("cache", CACHE, None)):
            paths = sorted(self.inside(kind), key=lambda path: last(path, "used"), reverse=True)
            for n, path in enumerate(paths):
                used = last(path, "used")
                # An environment that is not done, and that nobody makes, is what a kill left.
                done = kind != "envs" or os.path.exists(os.path.join(path, "done.json"))
                due = self.age(used) > limit or (count is not None and n >= count) or (not done and self.age(used) > DAY)
                found.append(Item(path, used, "not used of late", due, [os.path.join(path, "lock")], early=done or self.age(used) > STARTING))
        return found

    def drift(self):
        found = []
        for tree in self.inside("trees"):
            for path in self.inside(os.path.join("trees", os.path.basename(tree), "kept"), KEPT_NAME):
                used = last(path)
                found.append(Item(path, used, "moved aside more than 30 days ago", self.age(used) > DRIFT))
        return found

    def helpers(self):
        at = os.path.join(self.root, "helper")
        names = [name for name in os.listdir(at) if HELPER_NAME.fullmatch(name)] if is_directory(at) else []
        paths = sorted((os.path.join(at, name) for name in names), key=last, reverse=True)
        return [Item(path, last(path), "an old helper", n >= HELPERS and self.age(last(path)) > HELPER) for n, path in enumerate(paths)]

    def tools(self):
        paths = self.inside("tools")
        return [Item(path, last(path), "a tool that was not used for 30 days", self.age(last(path)) > TOOL) for path in paths]

    def inside(self, kind, pattern=re.compile(r"[^.].*")):
        """The directories of a kind, by name; never through a link."""
        at = self.root
        for part in kind.split(os.sep):
            at = os.path.join(at, part)
            if not is_directory(at):
                return []
        return [os.path.join(at, name) for name in sorted(os.listdir(at)) if pattern.fullmatch(name) and is_directory(os.path.join(at, name))]


def is_directory(path):
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def last(path, *names):
    """The latest time of the named files in a directory; of the directory, or the file, itself where there are none."""
    times = []
    for name in names:
        try:
            times.append(os.lstat(os.path.join(path, name)).st_mtime)
        except OSError:
            pass
    try:
        return max(times) if times else os.lstat(path).st_mtime
    except OSError:
        return 0
