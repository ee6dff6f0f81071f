"""The project of a run, as far as checkpoints are written to it: restored, and moved aside.

The project is the training's: all in it is reached from descriptors, and written to by a process of
its user.
"""

from __future__ import annotations

import os

from ..run_dir.written_files import Inputs, Outputs
from ..system import account as accounts
from ..system import safe_walk
from ..system.errors import Failure
from . import pointers
from .checkpoint_restore import PREFIX, in_project, owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd

    from ..system.documents import RunSpec
    from .checkpoint_restore import Manifest, Moves


class ProjectFiles:
    def __init__(self, run_dir: str, spec: RunSpec, account: pwd.struct_passwd) -> None:
        self.run_dir, self.root, self.account = run_dir, spec["projectRoot"], account
        self.work = os.path.join(run_dir, "work")
        self.rules = Outputs(spec, "checkpoints")

    def below(self, name: str) -> str:
        """Where what has this name in a checkpoint lies, relative to the work directory."""
        return below(self.root, name)

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
        new, old = os.path.join(stage, "new"), os.path.join(stage, "old")
        for each in (new, old):
            accounts.own(each, self.account)
        made, spent, work = (safe_walk.open_directory(each) for each in (new, old, self.work))

        def move() -> None:
            for number, name in moves:
                parent, last = self._parent(work, name, make=True)
                try:
                    replace(number, last, made=made, parent=parent, spent=spent)
                finally:
                    os.close(parent)

        try:
            accounts.act(self.account, move)
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
        os.makedirs(aside, exist_ok=True)
        accounts.own(aside, self.account)
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
            return accounts.act(self.account, move)
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


def below(root: str, name: str) -> str:
    """Where what has a name, or path, in a checkpoint lies, relative to the work directory. `root`:
    the project's.
    """
    return os.path.normpath(os.path.join(root, name))


def replace(number: str, name: str, *, made: int, parent: int, spent: int) -> None:
    try:
        os.rename(name, number, src_dir_fd=parent, dst_dir_fd=spent)
    except FileNotFoundError:
        pass
    os.rename(number, name, src_dir_fd=made, dst_dir_fd=parent)
