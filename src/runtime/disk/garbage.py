"""What may be removed from the disk of an instance, and when: docs/reference/formats.md,
"Garbage on the instance".
"""

from __future__ import annotations

import os
import re
import stat

from ..run_dir import saved_run
from ..run_dir.run_id import RUN_ID
from ..system import atomic_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Pattern

HOUR_S = 3600
DAY_S = 24 * HOUR_S
# The work directory and the environment of a saved run: time enough to look at yesterday's run.
WORK_AGE_S = DAY_S
# The record and the log of a saved run, which are in the store too. The newest runs stay, for
# `remote-logs` of a run that nobody has looked at for long.
RUN_AGE_S = 14 * DAY_S
NEWEST_RUNS = 50
# A run that is not saved is nowhere else: there is a month to fetch it.
UNSAVED_AGE_S = 30 * DAY_S
# Environments have some gigabytes each. Two weeks: the project is used again after holidays.
ENVIRONMENT_AGE_S = 14 * DAY_S
NEWEST_ENVIRONMENTS = 10
DATASET_AGE_S = 14 * DAY_S
# uv's cache of one caller: its content can be fetched again.
CACHE_AGE_S = 14 * DAY_S
# Files that a sync found changed in the tree and moved aside.
MOVED_ASIDE_AGE_S = 30 * DAY_S
# Runtimes are small, and fetched again: a few clients' versions are in use at once.
RUNTIME_AGE_S = 30 * DAY_S
NEWEST_RUNTIMES = 5
# Programs that are fetched again: the time of a directory is that of its last use.
TOOL_AGE_S = 30 * DAY_S
# Something that is being made has no record and no lock for a moment: it is left alone this long.
MIN_AGE_S = HOUR_S
MOVED_ASIDE_NAME = re.compile(r"\d{8}T\d{9}Z")
RUNTIME_NAME = re.compile(r"[0-9a-f]{64}")


class Item:
    """Something that may be removed. `locks`: are taken first, and held by others while it is in
    use. `due`: it is removed now; `early`: it is removed before its time if the disk is nearly
    full.
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
        self.path, self.used, self.why = path, used, why
        self.due, self.locks, self.early = due, locks, early


class Garbage:
    """Finds it below a root. `now`: seconds since the epoch."""

    def __init__(self, root: str, now: float) -> None:
        self.root, self.now = root, now

    def items(self) -> list[Item]:
        """All items, of which the one that was not used for the longest time is the first."""
        items = self._runs() + self._shared() + self._moved_aside() + self._runtimes()
        return sorted(items + self._tools(), key=lambda item: item.used)

    def _age_s(self, used: float) -> float:
        return self.now - used

    def _runs(self) -> list[Item]:
        found: list[Item] = []
        saved = 0
        for path in reversed(self._inside("runs", RUN_ID)):
            used = last_change(path, "collected", "report.json", "run.json")
            age_s = self._age_s(used)
            locks = [os.path.join(path, "lock"), os.path.join(path, "report.lock")]
            if not is_saved(path):
                due, why = age_s > UNSAVED_AGE_S, "not saved, and older than 30 days"
                found.append(Item(path, used, why=why, due=due, locks=locks))
                continue
            saved += 1
            due, early = age_s > RUN_AGE_S and saved > NEWEST_RUNS, age_s > MIN_AGE_S
            found.append(Item(path, used, why="a saved run", due=due, locks=locks, early=early))
            if not due:
                found += self._files_of_saved_run(path, used, locks)
        return found

    def _files_of_saved_run(self, path: str, used: float, locks: list[str]) -> list[Item]:
        due, why = self._age_s(used) > WORK_AGE_S, "files of a saved run"
        parts = [os.path.join(path, name) for name in ("work", "env", "uv-cache")]
        return [
            Item(part, used, why=why, due=due, locks=locks, early=True)
            for part in parts
            if is_directory(part)
        ]

    def _shared(self) -> list[Item]:
        """What several runs use: it has a lock that they share, and the time of its last use."""
        found: list[Item] = []
        for kind, limit_s, count in (
            ("envs", ENVIRONMENT_AGE_S, NEWEST_ENVIRONMENTS),
            ("data", DATASET_AGE_S, None),
            ("cache", CACHE_AGE_S, None),
        ):
            paths = sorted(
                self._inside(kind), key=lambda path: last_change(path, "used"), reverse=True
            )
            for n, path in enumerate(paths):
                used = last_change(path, "used")
                age_s = self._age_s(used)
                # A process that was killed has left an environment that is not complete.
                is_complete = kind != "envs" or os.path.exists(os.path.join(path, "done.json"))
                due = (
                    age_s > limit_s
                    or (count is not None and n >= count)
                    or (not is_complete and age_s > DAY_S)
                )
                locks = [os.path.join(path, "lock")]
                early = is_complete or age_s > MIN_AGE_S
                why = "not used recently"
                found.append(Item(path, used, why=why, due=due, locks=locks, early=early))
        return found

    def _moved_aside(self) -> list[Item]:
        found: list[Item] = []
        for tree in self._inside("trees"):
            kept = os.path.join("trees", os.path.basename(tree), "kept")
            for path in self._inside(kept, MOVED_ASIDE_NAME):
                used = last_change(path)
                due = self._age_s(used) > MOVED_ASIDE_AGE_S
                found.append(Item(path, used, why="moved aside more than 30 days ago", due=due))
        return found

    def _runtimes(self) -> list[Item]:
        directory = os.path.join(self.root, "runtime")
        names = os.listdir(directory) if is_directory(directory) else []
        paths = [os.path.join(directory, name) for name in names if RUNTIME_NAME.fullmatch(name)]
        found: list[Item] = []
        for n, path in enumerate(sorted(paths, key=last_change, reverse=True)):
            used = last_change(path)
            due = n >= NEWEST_RUNTIMES and self._age_s(used) > RUNTIME_AGE_S
            found.append(Item(path, used, why="an old runtime", due=due))
        return found

    def _tools(self) -> list[Item]:
        found: list[Item] = []
        for path in self._inside("tools"):
            used = last_change(path)
            due = self._age_s(used) > TOOL_AGE_S
            found.append(Item(path, used, why="a tool that was not used for 30 days", due=due))
        return found

    def _inside(self, kind: str, pattern: Pattern[str] = re.compile(r"[^.].*")) -> list[str]:
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


def is_saved(path: str) -> bool:
    """Whether the store has all that is of use of a run. A command beside the trainings has nothing
    to save.
    """
    record = atomic_files.read_object(os.path.join(path, "run.json"))
    if record.get("kind") == "exec":
        return record.get("state") == "ended"
    return saved_run.is_all_saved(atomic_files.read_object(os.path.join(path, "report.json")))


def is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def last_change(path: str, *names: str) -> float:
    """The latest mtime of the named files in a directory; that of the directory, or the file,
    itself where there are none.
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
