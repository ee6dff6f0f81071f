"""The switch: from here on the tree changes. Killed anywhere, what it had in hand stands in `pending`."""
import os
import stat
import time

from ..system import account as accounts
from ..system import atomic_files, safe_walk
from ..system.dirfd_cache import Directories
from ..system.errors import Failure, text
from .snapshot import parents_of


def switch(tree, wanted, found, contents, stage, progress, obstacles, force):
    """Makes the tree's files the snapshot's. (rows of the files, the directory of what was kept or None)"""
    kept = None
    if found.displaced and not force:
        kept = keep(tree, found.displaced)
    changing = set(found.gone).union(found.lacking, tree.pending or ())
    atomic_files.write_atomically(os.path.join(tree.directory, "pending"), b"".join(path + b"\0" for path in sorted(changing)))
    if stage is not None:
        stage.keep = True
    remove(tree, wanted, found.gone, obstacles)
    rows = dict(found.right)
    for number, path in enumerate(found.lacking):
        entry = wanted[path]
        if entry[0] == "directory":
            place_directory(tree, path)
        elif entry[0] == "link":
            name = stage.name("link", number)
            os.symlink(entry[1], name, dir_fd=stage.descriptor)
            if tree.can_share:
                os.chown(name, tree.account.pw_uid, tree.account.pw_gid, dir_fd=stage.descriptor, follow_symlinks=False)
            place(tree, path, name, stage)
        else:
            rows[path] = tree.row(place(tree, path, contents.names[path], stage))
        progress()
    return rows, kept


def keep(tree, paths):
    """Moves what no sync wrote to a directory of its own beside the tree, where the training user finds it."""
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
            # A file that a run shares stays root's, whatever was done to it, and so does what the user can't read.
            if tree.can_share and status.st_nlink == 1 and (not stat.S_ISREG(status.st_mode) or safe_walk.may_read(status, tree.account)):
                os.chown(name, tree.account.pw_uid, tree.account.pw_gid, dir_fd=beside, follow_symlinks=False)
    finally:
        target.close()
    os.chmod(root, 0o755)
    accounts.own(root, tree.account)
    return root


def remove(tree, wanted, gone, obstacles):
    """Removes paths, the deepest first, and the directories that they leave empty and no entry needs."""
    for path in sorted(gone, key=len, reverse=True) + sorted(obstacles):
        unlink(tree, path)
    if gone:
        needed = parents_of(wanted).union(wanted)
        for path in sorted(parents_of(gone) - needed, key=len, reverse=True):
            rmdir(tree, path)


def unlink(tree, path):
    parent, name = tree.directories.of(path)
    if parent is None:
        return
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        rmdir(tree, path)


def rmdir(tree, path):
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


def place_directory(tree, path):
    status = tree.directories.lstat(path)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        unlink(tree, path)
    tree.directories.make(path)


def place(tree, path, staged, stage):
    """Switches one path to what is staged; what lstat says of it then."""
    directory, _, name = path.rpartition(b"/")
    parent = tree.directories.make(directory)
    try:
        os.rename(staged, name, src_dir_fd=stage.descriptor, dst_dir_fd=parent)
    except (IsADirectoryError, NotADirectoryError, FileExistsError):
        empty(tree, path)
        parent = tree.directories.make(directory)
        os.rename(staged, name, src_dir_fd=stage.descriptor, dst_dir_fd=parent)
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def empty(tree, path):
    """Removes a directory that holds nothing but directories."""
    descriptor = tree.directories.get(path)
    for name in os.listdir(descriptor) if descriptor is not None else ():
        empty(tree, path + b"/" + os.fsencode(name))
    if not rmdir(tree, path):
        raise Failure("PATH_BLOCKED", "a directory stands where a file belongs", path=text(path))
