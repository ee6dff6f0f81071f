"""Changes the tree. Killed anywhere, the paths that it was changing stand in `pending`."""

from __future__ import annotations

import os
import stat
import time

from ..system import account as accounts
from ..system import atomic_files, safe_walk
from ..system.dirfd_cache import Directories
from ..system.errors import Failure, text
from .snapshot import parents_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Collection

    from .content_sources import Contents
    from .snapshot import Entries
    from .staging import Stage
    from .tree import StatKeys, Tree
    from .tree_diff import Comparison

    Progress = Callable[[], object]


def apply_changes(
    tree: Tree,
    wanted: Entries,
    found: Comparison,
    *,
    contents: Contents | None,
    stage: Stage | None,
    progress: Progress,
    blocking_parents: Collection[bytes],
    force: bool,
) -> tuple[StatKeys, str | None]:
    """Makes the tree's files the snapshot's. (stat keys of the files, the directory of what was
    moved aside or None)
    """
    kept = None
    if found.blocking and not force:
        kept = move_aside(tree, found.blocking)
    changing = set(found.deleted).union(found.missing, tree.pending or ())
    atomic_files.write_atomically(
        os.path.join(tree.directory, "pending"), b"".join(path + b"\0" for path in sorted(changing))
    )
    if stage is not None:
        stage.keep = True
    remove(tree, wanted, found.deleted, blocking_parents=blocking_parents)
    stat_keys = dict(found.up_to_date)
    for number, path in enumerate(found.missing):
        entry = wanted[path]
        if entry[0] == "directory":
            make_directory(tree, path)
            progress()
            continue
        assert contents and stage
        if entry[0] == "link":
            name = stage.name("link", number)
            os.symlink(entry[1], name, dir_fd=stage.descriptor)
            if tree.can_share:
                os.chown(
                    name,
                    tree.account.pw_uid,
                    tree.account.pw_gid,
                    dir_fd=stage.descriptor,
                    follow_symlinks=False,
                )
            move_into_place(tree, path, name, stage=stage)
        else:
            status = move_into_place(tree, path, contents.names[path], stage=stage)
            stat_keys[path] = tree.stat_key(status)
        progress()
    return stat_keys, kept


def move_aside(tree: Tree, paths: Collection[bytes]) -> str:
    """Moves what no sync wrote to a directory of its own beside the tree, where the training user
    finds it.
    """
    now = time.time()
    name = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + "%03dZ" % (now * 1000 % 1000)
    root = os.path.join(tree.directory, "kept", name)
    # Nobody else can enter it before it is done, and so exchange what root gives away in it.
    os.makedirs(root, 0o700)
    target = Directories(root, tree.account)
    try:
        for path in paths:
            parent, name = tree.directories.of(path)
            beside = target.make(path.rpartition(b"/")[0])
            os.rename(name, name, src_dir_fd=parent, dst_dir_fd=beside)
            status = os.stat(name, dir_fd=beside, follow_symlinks=False)
            # A file that a run shares stays root's, whatever was done to it, and so does what the
            # user can't read.
            if (
                tree.can_share
                and status.st_nlink == 1
                and (not stat.S_ISREG(status.st_mode) or safe_walk.may_read(status, tree.account))
            ):
                os.chown(
                    name,
                    tree.account.pw_uid,
                    tree.account.pw_gid,
                    dir_fd=beside,
                    follow_symlinks=False,
                )
    finally:
        target.close()
    os.chmod(root, 0o755)
    accounts.own(root, tree.account)
    return root


def remove(
    tree: Tree, wanted: Entries, gone: Collection[bytes], *, blocking_parents: Collection[bytes]
) -> None:
    """Removes paths, the deepest first, and the directories that they leave empty and no entry
    needs.
    """
    for path in sorted(gone, key=len, reverse=True) + sorted(blocking_parents):
        unlink(tree, path)
    if gone:
        needed = parents_of(wanted).union(wanted)
        for path in sorted(parents_of(gone) - needed, key=len, reverse=True):
            rmdir(tree, path)


def unlink(tree: Tree, path: bytes) -> None:
    parent, name = tree.directories.of(path)
    if parent is None:
        return
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        rmdir(tree, path)


def rmdir(tree: Tree, path: bytes) -> bool:
    """Whether there was an empty directory, which is gone now."""
    tree.directories.forget(path)
    parent, name = tree.directories.of(path)
    try:
        if parent is not None:
            os.rmdir(name, dir_fd=parent)
            return True
    except OSError:
        pass
    return False


def make_directory(tree: Tree, path: bytes) -> None:
    status = tree.directories.lstat(path)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        unlink(tree, path)
    tree.directories.make(path)


def move_into_place(tree: Tree, path: bytes, staged: str, *, stage: Stage) -> os.stat_result:
    """Switches one path to what is staged; what lstat says of it then."""
    directory, _, name = path.rpartition(b"/")
    parent = tree.directories.make(directory)
    try:
        os.rename(staged, name, src_dir_fd=stage.descriptor, dst_dir_fd=parent)
    except (IsADirectoryError, NotADirectoryError, FileExistsError):
        remove_empty_dirs(tree, path)
        parent = tree.directories.make(directory)
        os.rename(staged, name, src_dir_fd=stage.descriptor, dst_dir_fd=parent)
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def remove_empty_dirs(tree: Tree, path: bytes) -> None:
    """Removes a directory that holds nothing but directories."""
    descriptor = tree.directories.get(path)
    for name in os.listdir(descriptor) if descriptor is not None else ():
        remove_empty_dirs(tree, path + b"/" + os.fsencode(name))
    if not rmdir(tree, path):
        raise Failure("PATH_BLOCKED", "a directory stands where a file belongs", path=text(path))
