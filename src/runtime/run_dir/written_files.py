"""The files that a run has written in its directory: those of its outputs, and extra ones
elsewhere. docs/reference/formats.md, "Artifacts".
"""

from __future__ import annotations

import os
import re
import stat

from ..sync import snapshot
from ..system import atomic_files, safe_walk
from ..system.errors import Failure
from ..system.file_hash import hash_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Collection, Iterator, Literal, TypedDict

    from ..system.documents import RunSpec

    RuleName = Literal["outputs", "scratch", "checkpoints"]

    class Named(TypedDict):
        path: str
        why: str

    class Skipped(Named, total=False):
        """`unsaved`: of a result that is on this instance alone, the kind of its cause."""

        unsaved: str

    class Unsaved(TypedDict):
        path: str
        why: str
        size: int


SENT, BASELINE = "sent", "baseline.json"
# Directories and files that programs make for themselves: never extra files.
CACHES = frozenset((
    "__pycache__",
    ".venv",
    "venv",
    ".cache",
    ".git",
    ".nx",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".hypothesis",
    ".tox",
    ".nox",
    ".eggs",
    ".triton",
    ".numba_cache",
    ".keras",
    ".torch",
    ".dvc",
    ".Rproj.user",
    ".julia",
))
CACHE_NAMES = re.compile(
    r".*(\.egg-info|\.dist-info|\.pyc|\.pyo|\.swp|\.lock|\.pid|~)|\.DS_Store|\.coverage|core\.\d+",
    re.DOTALL,
)


class Outputs:
    """Tells the paths of outputs, of what is no result ("scratch") or of checkpoints, by rules of
    one form. Paths are relative to the project.
    """

    def __init__(self, spec: RunSpec, name: RuleName = "outputs") -> None:
        if name == "checkpoints":
            rules = spec["checkpoints"]["paths"]
        else:
            rules = spec["artifacts"][name]
        try:
            self.rules = [(re.compile(each["pattern"], re.DOTALL), each["base"]) for each in rules]
        except re.error as error:
            raise Failure("BAD_PLAN", "a glob can't be matched here: %s" % error)

    def match(self, path: str) -> bool:
        """Whether an output names a path, or a directory that it is in."""
        return any(
            pattern.fullmatch(each) for each in _with_parents(path) for pattern, _ in self.rules
        )

    def names(self, path: str) -> bool:
        """Whether a rule names a path itself."""
        return any(pattern.fullmatch(path) for pattern, _ in self.rules)

    def may_match_below(self, directory: str) -> bool:
        """Whether a rule can name something below a directory that it does not name."""
        for pattern, base in self.rules:
            if base.startswith(directory + "/"):
                return True
            # Without wildcards, a rule names its base alone.
            if not pattern.fullmatch(base) and (
                base == "" or directory == base or directory.startswith(base + "/")
            ):
                return True
        return False

    def may_hold(self, directory: str) -> bool:
        """Whether an output names a directory below this one without wildcards, or something in
        such a directory.
        """
        return any(base == directory or base.startswith(directory + "/") for _, base in self.rules)


class Inputs:
    """What the run's directory held before its first attempt. `home` is the run's own."""

    entries: snapshot.Entries
    present: dict[str, list[int]]
    since: int | None

    def __init__(self, home: str) -> None:
        self.entries, self.present, self.since = {}, {}, None
        # What was sent was put there after this time, ns.
        self.before = 0
        try:
            with open(os.path.join(home, SENT), "rb") as file:
                self.entries = snapshot.read_entries(file.read().split(b"\0")[1:-1])
                self.before = os.fstat(file.fileno()).st_ctime_ns
        except FileNotFoundError:
            pass
        path = os.path.join(home, BASELINE)
        baseline = atomic_files.read_json(path)
        if baseline is not None:
            # The training has begun after this file was renamed to its name.
            self.present, self.since = baseline["present"], os.stat(path).st_ctime_ns

    def was(
        self,
        work: str | int,
        path: str,
        *,
        found: os.stat_result,
        account: pwd.struct_passwd | None = None,
    ) -> tuple[bool, bool]:
        """(whether a file was sent; whether the file, whose stat result is `found`, is as it was
        before).
        """
        entry = self.entries.get(os.fsencode(path))
        if entry is None or entry[0] != "file":
            return False, self.present.get(path) == signature(found)
        if found.st_size != entry[2]:
            return True, False
        # A link to the same file, made for another run, changes the time as well, and a clock that
        # is set back gives what the training writes an earlier one: the content decides.
        if self.since is not None and self.before <= found.st_ctime_ns <= self.since:
            return True, True
        try:
            descriptor = safe_walk.open_file(work, path, account)
        except OSError:
            return True, True
        try:
            return True, hash_file(descriptor) == entry[3]
        finally:
            os.close(descriptor)


class Written:
    """What `look` found. `outputs` and `skipped` are relative to the project, `extra` to the run's
    directory.
    """

    outputs: list[tuple[str, os.stat_result]]
    extra: list[tuple[str, os.stat_result]]
    checkpoints: list[tuple[str, os.stat_result]]
    skipped: list[Skipped]
    unsaved: list[Unsaved]

    def __init__(self) -> None:
        # [(path, stat result)]
        self.outputs, self.extra = [], []
        # The same of checkpoints that are no outputs, relative to the run's directory.
        self.checkpoints = []
        # Of outputs, and of extra files, what can't be saved under its name.
        self.skipped, self.unsaved = [], []


def keep_sent(home: str, entries: snapshot.Entries) -> None:
    """Writes down what the run's directory is made of. `entries` as `snapshot` has them."""
    atomic_files.write_atomically(
        os.path.join(home, SENT), snapshot.canonical(entries), durable=False
    )


def keep_baseline(home: str, spec: RunSpec, was_set_up: bool) -> None:
    """Writes down, before the first attempt, what is there besides what was sent. Without a set-up,
    nothing is.
    """
    if os.path.exists(os.path.join(home, BASELINE)):
        return
    present: dict[str, list[int]] = {}
    if was_set_up:
        sent, outputs = Inputs(home).entries, Outputs(spec)
        for path, found in walk(os.path.join(home, "work"), spec, outputs):
            if stat.S_ISREG(found.st_mode) and os.fsencode(path) not in sent:
                present[path] = signature(found)
    atomic_files.write_json(os.path.join(home, BASELINE), {"present": present})


def look(
    work: str | int,
    spec: RunSpec,
    *,
    inputs: Inputs,
    account: pwd.struct_passwd | None = None,
    checkpoints: Collection[str] = (),
) -> Written:
    """The files below a run's directory (`inside` says what `work` may be) that the run has written
    or changed. Failure: BAD_PLAN.

    `checkpoints`: paths in the project that are saved as checkpoints, so that they are no extra
    files.
    """
    written, outputs, scratch = Written(), Outputs(spec), Outputs(spec, "scratch")

    def is_extra(path: str, found: os.stat_result) -> bool:
        own = below(spec, path)
        return not (
            inputs.since is None
            or CACHE_NAMES.fullmatch(path.rpartition("/")[2])
            or (own is not None and scratch.match(own))
            or inputs.was(work, path, found=found, account=account)[1]
        )

    for path, found in walk(work, spec, outputs, account=account):
        own = below(spec, path)
        output = own if own is not None and outputs.match(own) else None
        why = safe_walk.what_else(path, found, account)
        if why:
            # Whether anything in a directory would have matched can not be told.
            is_link = stat.S_ISLNK(found.st_mode)
            if own is not None and (output or (not is_link and outputs.may_hold(own))):
                entry: Skipped = {"path": safe_walk.shown(own), "why": why}
                if not is_link and why != safe_walk.SPECIAL:
                    entry["unsaved"] = "name" if why == safe_walk.NOT_UTF8 else "unreadable"
                written.skipped.append(entry)
            elif stat.S_ISREG(found.st_mode) and is_extra(path, found):
                size = found.st_size
                written.unsaved.append({"path": safe_walk.shown(path), "why": why, "size": size})
        elif stat.S_ISDIR(found.st_mode):
            continue
        elif output is not None:
            was_sent, is_same = inputs.was(work, path, found=found, account=account)
            if not (was_sent and is_same):
                written.outputs.append((output, found))
        elif is_extra(path, found):
            (written.checkpoints if own in checkpoints else written.extra).append((path, found))
    return written


def walk(
    work: str | int, spec: RunSpec, outputs: Outputs, *, account: pwd.struct_passwd | None = None
) -> Iterator[tuple[str, os.stat_result]]:
    """`inside.walk` of a run's directory, without what caches, scratch directories and other file
    systems hold. One that an output names is none of these.
    """
    scratch, device = Outputs(spec, "scratch"), os.stat(work).st_dev

    def is_left_out(path: str, name: str, found: os.stat_result) -> bool:
        own = below(spec, path)
        is_cache = (
            name in CACHES
            or CACHE_NAMES.fullmatch(name)
            or (own is not None and scratch.match(own))
        )
        if (not is_cache and found.st_dev == device) or (spec["projectRoot"] + "/").startswith(
            path + "/"
        ):
            return False
        return own is None or not (outputs.match(own) or outputs.may_hold(own))

    return safe_walk.walk(work, account=account, skip=is_left_out)


def below(spec: RunSpec, path: str) -> str | None:
    """A path in the run's directory relative to the project; None outside of it, and of the project
    itself.
    """
    if spec["projectRoot"] == ".":
        return path
    return (
        path[len(spec["projectRoot"]) + 1 :] if path.startswith(spec["projectRoot"] + "/") else None
    )


def signature(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _with_parents(path: str) -> Iterator[str]:
    yield path
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
