"""Checkpoints in the project: what the paths of `train.checkpoints.paths` name.
docs/reference/formats.md, "Checkpoint".
"""

from __future__ import annotations

import os
import re
import stat
import time

from ..run_dir.written_files import CACHES, Inputs, Outputs
from ..system import account as accounts
from ..system import safe_walk
from ..system.errors import Failure
from ..system.left_processes import open_below
from . import checkpoint_units, pointers, versions
from .checkpoint_restore import PREFIX, in_project, owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Dict, Iterable, Set, Tuple

    from ..system.documents import RunSpec
    from ..system.left_processes import Opened
    from .checkpoint_restore import Manifest, Moves
    from .checkpoint_units import Unit

    # By path: names that may be units, or files of one; and names of pointers.
    Directories = Dict[str, Tuple[Set[str], Set[str]]]


# What frameworks and loggers append to beside their checkpoints.
APPENDED = re.compile(r".*\.(csv|tsv|jsonl)", re.DOTALL)
# Names of directories that are one checkpoint, whatever their numbers count.
UNIT = re.compile(
    r"\d+|.*\.(ckpt|pt|pth|keras|orbax|safetensors|distcp|zarr)", re.DOTALL | re.IGNORECASE
)
# A directory that holds one of these is one checkpoint: Accelerate, the Trainer, PyTorch's
# distributed checkpoints, Orbax, Keras.
HELD = re.compile(
    r"\.metadata|\.complete|_CHECKPOINT_METADATA|_METADATA|saved_model\.pb|trainer_state\.json|"
    r"(optimizer|scheduler)\.(bin|pt)|random_states_\d+\.pkl"
)
# A project is not searched again for so many times as long as the last search took.
REST = 10


class Project:
    """The checkpoints in the project of one run.

    The project is the training's: all in it is reached from descriptors, and written to by a
    process of its user.
    """

    inputs: Inputs | None
    directories: Directories
    due: float | None
    known: dict[str, tuple[str, bool]]

    def __init__(
        self,
        run_dir: str,
        spec: RunSpec,
        account: pwd.struct_passwd | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_dir, self.root, self.account = run_dir, spec["projectRoot"], account
        self.clock, self.work = clock, os.path.join(run_dir, "work")
        self.rules = Outputs(spec, "checkpoints")
        self.inputs = None
        # {directory: (names that may be units, or files of one; names of pointers, which count
        # where they lead to a unit)}
        self.directories, self.due = {}, None
        # {label: (signature, whether all of it is as it was sent)}
        self.known = {}

    def below(self, name: str) -> str:
        """Where what has this name, or path, in a checkpoint lies, relative to the work
        directory.
        """
        return os.path.normpath(os.path.join(self.root, name))

    def find(self, again: bool = False) -> dict[str, Unit]:
        """The units by their labels. There is none before the training begins, and what the sync or
        the set-up has put there is none.

        `again`: the project is searched anew, however long that takes.
        """
        if not self.rules.rules or not self._has_begun():
            return {}
        began = self.clock()
        if again or self.due is None or began >= self.due:
            self.directories = self._search()
            now = self.clock()
            self.due = now + REST * (now - began)
        there: dict[str, Unit] = {}
        for directory, (names, extra) in self.directories.items():
            there.update(self._units(directory, names, extra))
        for label in [label for label in self.known if label not in there]:
            del self.known[label]
        return with_named(
            {label: unit for label, unit in there.items() if not self._is_as_sent(unit)}, there
        )

    def open_files(self) -> Opened:
        """What is open for writing below the project; the paths are names in units."""
        start, opened = "" if self.root == "." else self.root + "/", open_below(self.work)
        opened.paths = {
            PREFIX + path[len(start) :] for path in opened.paths if path.startswith(start)
        }
        return opened

    def paths(self) -> set[str]:
        """The files of all units, and the marks beside them, relative to the project."""
        found = self.find(again=True)
        return {
            path[len(PREFIX) :]
            for unit in found.values()
            for path in unit.files + [unit.label + checkpoint_units.MARK]
        }

    def _has_begun(self) -> bool:
        if self.inputs is None or self.inputs.since is None:
            self.inputs = Inputs(self.run_dir)
        return self.inputs.since is not None

    def _units(self, directory: str, names: set[str], extra: set[str]) -> dict[str, Unit]:
        try:
            descriptor = safe_walk.open_directory(self.work, self.below(directory))
        except OSError as error:
            if error.errno not in safe_walk.GONE:
                raise
            return {}
        try:
            found = checkpoint_units.find(
                descriptor,
                self.account,
                names=names | extra,
                at=os.path.join(self.work, self.below(directory)),
            )
        finally:
            os.close(descriptor)
        kept = {label: unit for label, unit in found.items() if not set(unit.names) <= extra}
        kept.update({
            label: unit for label, unit in found.items() if unit.points and unit.points <= set(kept)
        })
        kept = with_named(kept, found)
        for unit in kept.values():
            unit.move_below(PREFIX + (directory + "/" if directory else ""))
        return {unit.label: unit for unit in kept.values()}

    def _is_as_sent(self, unit: Unit) -> bool:
        signature, is_same = self.known.get(unit.label, ("", False))
        if signature != unit.signature:
            is_same = bool(unit.files) and all(self._was(self.below(path)) for path in unit.files)
            self.known[unit.label] = (unit.signature, is_same)
        return is_same

    def _was(self, path: str) -> bool:
        inputs = self.inputs
        assert inputs
        if os.fsencode(path) not in inputs.entries and path not in inputs.present:
            return False
        try:
            was_sent = inputs.was(
                self.work, path, found=safe_walk.lstat(self.work, path), account=self.account
            )[1]
            return bool(was_sent)
        except OSError:
            return False

    def _search(self) -> Directories:
        found: Directories = {}
        try:
            descriptor = safe_walk.open_directory(self.work, self.root)
        except OSError as error:
            if error.errno not in safe_walk.GONE:
                raise
            return found
        try:
            self._search_directory(
                descriptor, "", is_named=False, found=found, depth=safe_walk.DEPTH
            )
        finally:
            os.close(descriptor)
        return found

    def _search_directory(
        self, descriptor: int, path: str, *, is_named: bool, found: Directories, depth: int
    ) -> None:
        """Adds the names of a directory. `is_named`: a rule names it, or one that it is in."""
        if not depth or not safe_walk.may_read(os.fstat(descriptor), self.account):
            return
        there = sorted(os.listdir(descriptor))
        names: set[str] = set()
        for name in there:
            inner = path + "/" + name if path else name
            rules = self.rules
            is_meant = rules.names(inner)
            leads_on = rules.may_hold(inner)
            if checkpoint_units.ON_ITS_WAY.fullmatch(name) and not leads_on:
                continue
            if (
                not is_meant
                and not leads_on
                and (
                    name in CACHES
                    or (
                        is_named
                        and (checkpoint_units.LOGS.fullmatch(name) or APPENDED.fullmatch(name))
                    )
                )
            ):
                continue
            try:
                is_directory = stat.S_ISDIR(
                    os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                )
                if not is_directory:
                    if is_meant or is_named:
                        names.add(name)
                    continue
                below = os.open(name, safe_walk.DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                if error.errno in safe_walk.GONE + safe_walk.OUT_OF_REACH:
                    continue
                raise
            try:
                if (is_meant or is_named) and is_unit(name, os.listdir(below)):
                    names.add(name)
                elif is_meant or is_named or rules.may_match_below(inner):
                    self._search_directory(
                        below,
                        inner,
                        is_named=is_meant or is_named,
                        found=found,
                        depth=depth - 1,
                    )
            finally:
                os.close(below)
        if names:
            found[path] = (
                names,
                set() if is_named else {name for name in pointers.KNOWN if name in there} - names,
            )

    # Putting back, and moving aside.

    def refuse_others(self, manifest: Manifest) -> None:
        """Failure where a checkpoint would be put where no path of today's is, or in place of a
        sent file that is not the unit's own.
        """
        own = {entry["path"] for entry in manifest["files"]} | {
            each["name"] for each in manifest["names"] if each["kind"] == "link"
        }
        names = {each["name"] for each in manifest["names"] if in_project(each["name"])}
        for name in sorted(names):
            if (
                not self.rules.match(name[len(PREFIX) :])
                and name.rpartition("/")[2] not in pointers.KNOWN
            ):
                raise Failure(
                    "PATH_BLOCKED",
                    "the checkpoint holds %s, which no path of train.checkpoints.paths names"
                    % safe_walk.shown(name),
                    path=safe_walk.shown(name),
                )
        for sent in Inputs(self.run_dir).entries if names else ():
            path = (
                os.path.relpath(os.fsdecode(sent), self.root)
                if self.root != "."
                else os.fsdecode(sent)
            )
            if (
                not path.startswith("../")
                and owner(PREFIX + path, names) is not None
                and PREFIX + path not in own
            ):
                raise Failure(
                    "PATH_BLOCKED",
                    "%s was sent, and the checkpoint would replace it" % safe_walk.shown(path),
                    path=safe_walk.shown(path),
                )

    def put(self, stage: str, moves: Moves) -> None:
        """Moves (name in `stage`/new, name of the checkpoint) to where they belong, in this order;
        what stands there to `stage`/old.

        It is done by a process of the account's: whatever stands in the project, root puts nothing
        through it.
        """
        account = self.account
        assert account
        new, old = os.path.join(stage, "new"), os.path.join(stage, "old")
        for each in (new, old):
            accounts.own(each, account)
        made, spent, work = (safe_walk.open_directory(each) for each in (new, old, self.work))

        def move() -> None:
            for number, name in moves:
                parent, last = self._parent(work, name, make=True)
                try:
                    replace(number, last, made=made, parent=parent, spent=spent)
                finally:
                    os.close(parent)

        try:
            accounts.act(account, move)
        except OSError as error:
            raise Failure(
                "PATH_BLOCKED",
                "the checkpoint can't be restored into the project: %s" % error,
                path=self.root,
            )
        finally:
            for each in (made, spent, work):
                os.close(each)

    def move_aside(self, name: str, aside: str) -> bool:
        """Moves what has a name in a checkpoint into the directory `aside`, which is made; whether
        it was there.
        """
        account = self.account
        assert account
        os.makedirs(aside, exist_ok=True)
        accounts.own(aside, account)
        target, work = safe_walk.open_directory(aside), safe_walk.open_directory(self.work)

        def move() -> bool:
            try:
                parent, last = self._parent(work, name)
            except OSError as error:
                if error.errno in safe_walk.GONE:
                    return False
                raise
            try:
                os.rename(
                    last,
                    name[len(PREFIX) :].replace("/", "_"),
                    src_dir_fd=parent,
                    dst_dir_fd=target,
                )
                return True
            except FileNotFoundError:
                return False
            finally:
                os.close(parent)

        try:
            return accounts.act(account, move)
        finally:
            os.close(target)
            os.close(work)

    def _parent(self, work: int, name: str, make: bool = False) -> tuple[int, str]:
        """(the descriptor of the directory that a name is in, the last component)."""
        directory, _, last = self.below(name).rpartition("/")
        descriptor = safe_walk.open_directory(work)
        for each in directory.split("/") if directory else ():
            try:
                if make:
                    try:
                        os.mkdir(each, 0o755, dir_fd=descriptor)
                    except FileExistsError:
                        pass
                inner = os.open(each, safe_walk.DIRECTORY, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = inner
        return descriptor, last


def with_named(chosen: dict[str, Unit], there: dict[str, Unit]) -> dict[str, Unit]:
    """Units with all that pointers among them name."""
    left = list(chosen.values())
    while left:
        for label in left.pop().points:
            if label not in chosen:
                chosen[label] = there[label]
                left.append(there[label])
    return chosen


def replace(number: str, name: str, *, made: int, parent: int, spent: int) -> None:
    try:
        os.rename(name, number, src_dir_fd=parent, dst_dir_fd=spent)
    except FileNotFoundError:
        pass
    os.rename(number, name, src_dir_fd=made, dst_dir_fd=parent)


def is_unit(name: str, there: Iterable[str]) -> bool:
    """Whether a directory is one checkpoint, by its name and by what is there; else each file in it
    is.
    """
    if is_numbered(name) or UNIT.fullmatch(name):
        return True
    return any(HELD.fullmatch(each) for each in there) and not any(
        is_numbered(each) for each in there
    )


def is_numbered(name: str) -> bool:
    """Whether the number of a step, of an epoch or of a checkpoint is in it."""
    return versions.family(name) != name
