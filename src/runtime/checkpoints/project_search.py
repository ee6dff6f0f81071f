"""Searches a project for what may be checkpoints: names that `train.checkpoints.paths` matches."""

from __future__ import annotations

import os
import re
import stat

from ..run_dir.written_files import CACHES
from ..system import safe_walk
from . import checkpoint_units, pointers, versions

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Dict, Iterable, Set, Tuple

    from ..run_dir.written_files import Outputs

    # By the path of a directory: names in it that may be units, or files of one; and names of
    # pointers, which count if they lead to a unit.
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


def search(
    work: str, root: str, *, rules: Outputs, account: pwd.struct_passwd | None
) -> Directories:
    """The directories of the project `root` in `work` that hold names which a rule matches."""
    try:
        descriptor = safe_walk.open_directory(work, root)
    except OSError as error:
        if error.errno not in safe_walk.GONE:
            raise
        return {}
    try:
        found = Search(rules, account)
        found.add(descriptor, "", is_named=False, depth=safe_walk.MAX_DEPTH)
        return found.directories
    finally:
        os.close(descriptor)


class Search:
    def __init__(self, rules: Outputs, account: pwd.struct_passwd | None) -> None:
        self.rules, self.account = rules, account
        self.directories: Directories = {}

    def add(self, descriptor: int, path: str, *, is_named: bool, depth: int) -> None:
        """Adds the names of a directory and of those below it. `is_named`: a rule names it, or one
        that it is in.
        """
        if not depth or not safe_walk.may_read(os.fstat(descriptor), self.account):
            return
        there = sorted(os.listdir(descriptor))
        names: set[str] = set()
        for name in there:
            if self._look_at(descriptor, path, name, is_named=is_named, depth=depth):
                names.add(name)
        if names:
            pointed = {name for name in pointers.KNOWN if name in there} - names
            self.directories[path] = (names, set() if is_named else pointed)

    def _look_at(
        self, descriptor: int, path: str, name: str, *, is_named: bool, depth: int
    ) -> bool:
        """Returns whether a name may be a unit, or a file of one. Adds what is below a directory
        that is none.
        """
        inner = path + "/" + name if path else name
        is_meant = self.rules.names(inner)
        if self._is_left_out(inner, name, is_named=is_named):
            return False
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                return is_meant or is_named
            below = os.open(name, safe_walk.DIRECTORY, dir_fd=descriptor)
        except OSError as error:
            if error.errno in safe_walk.GONE + safe_walk.OUT_OF_REACH:
                return False
            raise
        try:
            if (is_meant or is_named) and is_unit(name, os.listdir(below)):
                return True
            if is_meant or is_named or self.rules.may_match_below(inner):
                self.add(below, inner, is_named=is_meant or is_named, depth=depth - 1)
            return False
        finally:
            os.close(below)

    def _is_left_out(self, path: str, name: str, *, is_named: bool) -> bool:
        """Whether a name is no checkpoint's, as far as no rule names it: one that is still being
        written, a cache, a log.
        """
        if self.rules.may_hold(path):
            return False
        if checkpoint_units.ON_ITS_WAY.fullmatch(name):
            return True
        if self.rules.names(path):
            return False
        is_log = checkpoint_units.LOGS.fullmatch(name) or APPENDED.fullmatch(name)
        return name in CACHES or (is_named and bool(is_log))


def is_unit(name: str, there: Iterable[str]) -> bool:
    """Whether a directory is one checkpoint, judged by its name and its contents. If it is not,
    each file in it is one.
    """
    if is_numbered(name) or UNIT.fullmatch(name):
        return True
    return any(HELD.fullmatch(each) for each in there) and not any(
        is_numbered(each) for each in there
    )


def is_numbered(name: str) -> bool:
    """Whether the number of a step, of an epoch or of a checkpoint is in it."""
    return versions.family(name) != name
