"""Room on the instance: what is no longer used goes, by age, by number and by need.
docs/reference/formats.md, "Garbage on the instance".
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time

from ..run_dir.run_id import RUN_ID
from ..system import atomic_files
from . import shared_cache
from .trash import Trash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Pattern, TypedDict

    class Removed(TypedDict):
        """A path is relative to the root."""

        path: str
        why: str

    class Result(TypedDict):
        """Bytes."""

        removed: list[Removed]
        freed: int
        free: int


HOUR = 3600
DAY = 24 * HOUR
# A saved run's files, and its environment: what a look at a run of yesterday still finds.
WORK = DAY
# Its record and log, which are in the store too. The newest stay, for `remote-logs` of what was not
# looked at for long.
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
# Runtimes are small, and fetched again: a few clients' versions are in use at once.
RUNTIME_AGE = 30 * DAY
RUNTIMES = 5
# Programs that are fetched again: the time of a directory is that of its last use.
TOOL = 30 * DAY
# What is new may lack its record or its lock for a moment.
STARTING = HOUR
# The part of the disk below which things go before their time.
FREE = 0.1
KEPT_NAME = re.compile(r"\d{8}T\d{9}Z")
RUNTIME_NAME = re.compile(r"[0-9a-f]{64}")


class Item:
    """Something that may go: `locks` are taken first, and are another's where it is in use. `due`:
    its time is over; `early`: it may go before, where room is short.
    """

    def __init__(
        self,
        path: str,
        used: float,
        *,
        why: str,
        due: bool,
        locks: Iterable[str] = (),
        early: bool = False,
    ) -> None:
        self.path, self.used, self.why, self.due, self.locks, self.early = (
            path,
            used,
            why,
            due,
            locks,
            early,
        )


def make_room(root: str, needed: int = 0, now: float | None = None) -> Result:
    """Removes what may go until the disk has `needed` bytes and a tenth of it free, and whatever is
    past its time anyway.

    {"removed": [{"path": relative to the root, "why"}, …], "freed": bytes, "free": bytes}. Nothing
    of a live run goes, nor what was never saved before its month is over. Of several at once, one
    does it, and the others do nothing.
    """
    result: Result = {"removed": [], "freed": 0, "free": 0}
    descriptor = os.open(
        os.path.join(root, "room.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600
    )
    try:
        if shared_cache.take(descriptor, fcntl.LOCK_EX):
            trash = Trash(root)
            trash.empty()
            Room(
                root,
                needed=needed,
                now=time.time() if now is None else now,
                trash=trash,
                result=result,
            ).make()
            result["freed"] = trash.freed
    finally:
        os.close(descriptor)
    result["free"] = space(root)[0]
    return result


def is_saved(path: str) -> bool:
    """Whether all that is of use of a run is in the store; a command beside the trainings has
    nothing that is.
    """
    record = atomic_files.read_object(os.path.join(path, "run.json"))
    if record.get("kind") == "exec":
        return record.get("state") == "ended"
    return atomic_files.read_object(os.path.join(path, "report.json")).get("saved") is True


def is_short(root: str) -> bool:
    free, total = space(root)
    return free < total * FREE


def space(root: str) -> tuple[int, int]:
    """(free for the training user, all), bytes."""
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


class Room:
    def __init__(self, root: str, *, needed: int, now: float, trash: Trash, result: Result) -> None:
        self.root, self.needed, self.now, self.trash, self.result = root, needed, now, trash, result

    def make(self) -> None:
        found = sorted(
            self.runs() + self.shared() + self.drift() + self.runtimes() + self.tools(),
            key=lambda item: item.used,
        )
        for item in found:
            if item.due:
                self.remove(item)
        for item in found:
            if not self.is_short():
                return
            if item.early and not item.due:
                self.remove(item)

    def is_short(self) -> bool:
        free, total = space(self.root)
        return free < max(total * FREE, self.needed)

    def remove(self, item: Item) -> None:
        """Moves it out of the way and deletes it, unless it is in use, or gone."""
        taken: list[int] = []
        try:
            for path in item.locks:
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
                except FileNotFoundError:
                    continue
                taken.append(descriptor)
                if not shared_cache.take(descriptor, fcntl.LOCK_EX):
                    return
            if self.trash.take(item.path):
                self.result["removed"].append({
                    "path": os.path.relpath(item.path, self.root),
                    "why": item.why,
                })
        finally:
            for descriptor in taken:
                os.close(descriptor)
        self.trash.empty()

    def age(self, used: float) -> float:
        return self.now - used

    def runs(self) -> list[Item]:
        found: list[Item] = []
        saved = 0
        for path in reversed(self.inside("runs", RUN_ID)):
            used = last(path, "collected", "report.json", "run.json")
            locks = [os.path.join(path, "lock"), os.path.join(path, "report.lock")]
            if not is_saved(path):
                found.append(
                    Item(
                        path,
                        used,
                        why="not saved, and older than 30 days",
                        due=self.age(used) > UNSAVED,
                        locks=locks,
                    )
                )
                continue
            saved += 1
            due = self.age(used) > RUN and saved > RUNS
            found.append(
                Item(
                    path,
                    used,
                    why="a saved run",
                    due=due,
                    locks=locks,
                    early=self.age(used) > STARTING,
                )
            )
            for name in () if due else ("work", "env", "uv-cache"):
                part = os.path.join(path, name)
                if is_directory(part):
                    found.append(
                        Item(
                            part,
                            used,
                            why="files of a saved run",
                            due=self.age(used) > WORK,
                            locks=locks,
                            early=True,
                        )
                    )
        return found

    def shared(self) -> list[Item]:
        """What several runs use: each has the lock that they share, and the time when it was used
        last.
        """
        found: list[Item] = []
        for kind, limit, count in (
            ("envs", ENVIRONMENT, ENVIRONMENTS),
            ("data", DATA, None),
            ("cache", CACHE, None),
        ):
            paths = sorted(self.inside(kind), key=lambda path: last(path, "used"), reverse=True)
            for n, path in enumerate(paths):
                used = last(path, "used")
                # An environment that is not done, and that nobody makes, is what a kill left.
                done = kind != "envs" or os.path.exists(os.path.join(path, "done.json"))
                due = (
                    self.age(used) > limit
                    or (count is not None and n >= count)
                    or (not done and self.age(used) > DAY)
                )
                found.append(
                    Item(
                        path,
                        used,
                        why="not used recently",
                        due=due,
                        locks=[os.path.join(path, "lock")],
                        early=done or self.age(used) > STARTING,
                    )
                )
        return found

    def drift(self) -> list[Item]:
        found: list[Item] = []
        for tree in self.inside("trees"):
            for path in self.inside(
                os.path.join("trees", os.path.basename(tree), "kept"), KEPT_NAME
            ):
                used = last(path)
                found.append(
                    Item(
                        path,
                        used,
                        why="moved aside more than 30 days ago",
                        due=self.age(used) > DRIFT,
                    )
                )
        return found

    def runtimes(self) -> list[Item]:
        at = os.path.join(self.root, "runtime")
        names = (
            [name for name in os.listdir(at) if RUNTIME_NAME.fullmatch(name)]
            if is_directory(at)
            else []
        )
        paths = sorted((os.path.join(at, name) for name in names), key=last, reverse=True)
        return [
            Item(
                path,
                last(path),
                why="an old runtime",
                due=n >= RUNTIMES and self.age(last(path)) > RUNTIME_AGE,
            )
            for n, path in enumerate(paths)
        ]

    def tools(self) -> list[Item]:
        paths = self.inside("tools")
        return [
            Item(
                path,
                last(path),
                why="a tool that was not used for 30 days",
                due=self.age(last(path)) > TOOL,
            )
            for path in paths
        ]

    def inside(self, kind: str, pattern: Pattern[str] = re.compile(r"[^.].*")) -> list[str]:
        """The directories of a kind, by name; never through a link."""
        at = self.root
        for part in kind.split(os.sep):
            at = os.path.join(at, part)
            if not is_directory(at):
                return []
        return [
            os.path.join(at, name)
            for name in sorted(os.listdir(at))
            if pattern.fullmatch(name) and is_directory(os.path.join(at, name))
        ]


def is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def last(path: str, *names: str) -> float:
    """The latest time of the named files in a directory; of the directory, or the file, itself
    where there are none.
    """
    times: list[float] = []
    for name in names:
        try:
            times.append(os.lstat(os.path.join(path, name)).st_mtime)
        except OSError:
            pass
    try:
        return max(times) if times else os.lstat(path).st_mtime
    except OSError:
        return 0
