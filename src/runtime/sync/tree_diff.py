"""What lies between a tree as it is and a snapshot: what lacks, what drifted, what is in the way."""
import os
import stat

from ..system.errors import Failure, text


class Comparison:
    """What lies between the tree as it is and the snapshot wanted.

    right      {path: row}: files that are as wanted
    lacking    paths to be written, in order
    gone       paths to be removed: syncs brought them, and the snapshot lacks them
    restored   paths of the head that were changed or deleted here
    displaced  paths where something stands that no sync wrote, and that is in the way
    own        {content: path}: what the tree's files hold
    spent      paths in `own` that are about to be removed
    learned    whether a file was found to be right that the index did not know"""

    def __init__(self):
        self.learned = False
        self.right, self.lacking, self.gone, self.restored, self.displaced, self.own, self.spent = {}, [], [], [], [], {}, set()


def compare(tree, wanted, believe=True):
    """Compares everything. A file that lstat knows is believed, unless told not to; any other is read."""
    found = Comparison()
    lstat, head, pending = tree.directories.lstat, tree.entries, tree.pending or ()
    is_known, row = tree.is_known, tree.row
    last, parent = None, None
    for path, entry in wanted.items():
        directory, _, name = path.rpartition(b"/")
        # Asked for again and again: the directory at hand is the one of most paths.
        if directory != last:
            last, parent = directory, tree.directories.get(directory)
        try:
            status = None if parent is None else os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            status = None
        if status is not None:
            if entry[0] != "file":
                if tree.has(path, entry, status):
                    continue
            elif believe and is_known(path, entry, status):
                found.right[path] = row(status)
                continue
        look_closer(tree, found, path, entry, status, believe, pending)
        parent = tree.directories.get(directory)
    for path in sorted(set(head).union(pending).difference(wanted)):
        found.gone.append(path)
        status = lstat(path)
        if status is None or stat.S_ISDIR(status.st_mode):
            continue
        if has_own(tree, path, status, believe):
            if head[path][0] == "file":
                found.own.setdefault(head[path][3], path)
                found.spent.add(path)
        elif path not in pending:
            found.displaced.append(path)
    for path in found.right:
        found.own[wanted[path][3]] = path
    return found


def look_closer(tree, found, path, entry, status, believe, pending):
    """Of a path that is not known to be right."""
    before = tree.entries.get(path)
    if tree.has(path, entry, status):
        if entry[0] == "file":
            found.own.setdefault(entry[3], path)
            if tree.is_dressed(entry, status):
                found.right[path] = tree.row(status)
                found.learned = True
                return
            found.lacking.append(path)
            # It may be the snapshot that wants another mode.
            if before is not None and path not in pending and not (before[0] == "file" and tree.is_dressed(before, status)):
                found.restored.append(path)
        return
    found.lacking.append(path)
    ours = path in pending
    if before is not None and before != entry and has_own(tree, path, status, believe):
        ours = True
        if before[0] == "file":
            found.own.setdefault(before[3], path)
    elif before is not None and not ours:
        found.restored.append(path)
    if status is not None and not ours and not stat.S_ISDIR(status.st_mode):
        found.displaced.append(path)


def has_own(tree, path, status, believe):
    """Whether what stands at a path of the head is what was written for the head."""
    entry = tree.entries.get(path)
    if entry is None or status is None:
        return False
    if believe and entry[0] == "file" and tree.is_known(path, entry, status):
        return True
    return tree.has(path, entry, status)


def check_way(tree, wanted, found, force):
    """Everything that is in the way of what lacks and may not be moved is found before the tree is touched.

    The paths of what may be moved, or overwritten by force, where a directory belongs."""
    gone = set(found.gone)
    obstacles = set()
    seen = set()
    for path in found.lacking:
        status = tree.directories.lstat(path)
        if status is not None and stat.S_ISDIR(status.st_mode) and wanted[path][0] != "directory":
            check_emptied(tree, path, gone)
        parent = path.rpartition(b"/")[0]
        while status is None and parent and parent not in seen:
            seen.add(parent)
            status = tree.directories.lstat(parent)
            if status is not None and not stat.S_ISDIR(status.st_mode) and parent not in gone:
                if not force:
                    raise Failure("PATH_BLOCKED", "something that is no directory is in the way", path=text(parent))
                obstacles.add(parent)
            parent = parent.rpartition(b"/")[0]
    return obstacles


def check_emptied(tree, path, gone):
    """Whether a directory will be empty, but for directories, when what is gone is removed."""
    left = [path]
    while left:
        at = left.pop()
        descriptor = tree.directories.get(at)
        for name in os.listdir(descriptor) if descriptor is not None else ():
            each = at + b"/" + os.fsencode(name)
            status = tree.directories.lstat(each)
            if status is not None and stat.S_ISDIR(status.st_mode):
                left.append(each)
            elif each not in gone:
                raise Failure("PATH_BLOCKED", "a directory that holds other files stands where a file belongs", path=text(path))
