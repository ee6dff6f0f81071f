"""A tree: the snapshot that it holds as it was recorded, and what is really there."""
import array
import hashlib
import os
import stat

from . import account as accounts, files, snapshot
from .directories import Directories
from .failure import Failure
from .snapshot import text

# What a file of ours may look like: others of the mode's bits (setuid, say) are never ours.
MODES = {False: (0o100644, 0o100444), True: (0o100755, 0o100555)}
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# A file that is larger than LARGE, and any in a snapshot of more than MANY entries, is shared with runs by hard link.
LARGE = 1024 * 1024
MANY = 5000


class Tree:
    def __init__(self, root, name, account):
        self.directory = os.path.join(root, "trees", name)
        self.files = os.path.join(self.directory, "files")
        self.account = account
        self.agent = os.geteuid()
        # Whether a file of root's is one that the training user can't change.
        self.can_share = self.agent == 0 and account.pw_uid != 0
        try:
            os.mkdir(self.files, 0o755)
            accounts.own(self.files, account)
        except FileExistsError:
            pass
        self.directories = Directories(self.files, account)
        self.pending = self._read_pending()
        self.data = self._read("manifest")
        self.head = hashlib.sha256(self.data).hexdigest() if self.data else None
        try:
            self.entries = snapshot.parse(self.data, self.head) if self.data else {}
        except Failure:
            self.data, self.head, self.entries = b"", None, {}
        self.rows = self._read_index()

    def _read(self, name):
        try:
            with open(os.path.join(self.directory, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _read_pending(self):
        """Paths that a killed sync may have brought or removed; None where none was killed."""
        path = os.path.join(self.directory, "pending")
        return set(self._read("pending").split(b"\0")[:-1]) if os.path.exists(path) else None

    def _read_index(self):
        """{path: what lstat said of the file after it was written}; empty where the index is not the manifest's."""
        data = self._read("index")
        line = ("%s\n" % self.head).encode()
        if not data.startswith(line) or len(data) != len(line) + 32 * len(self.entries):
            return {}
        numbers = array.array("Q", data[len(line):])
        return dict(zip(self.entries, zip(numbers[0::4], numbers[1::4], numbers[2::4], numbers[3::4])))

    def record(self, head, data, entries, rows):
        """The head is recorded last; a kill in between leaves an index that is nobody's, or a manifest that is true."""
        numbers = array.array("Q")
        none = (0, 0, 0, 0)
        for path in entries:
            numbers.extend(rows.get(path, none))
        files.write_atomically(os.path.join(self.directory, "index"), ("%s\n" % head).encode() + numbers.tobytes(), durable=False)
        if head != self.head:
            files.write_atomically(os.path.join(self.directory, "manifest"), data)
        self.head, self.data, self.entries, self.rows = head, data, entries, rows

    def settle(self):
        """The head is recorded: nothing is under way any more."""
        if os.path.exists(os.path.join(self.directory, "pending")):
            os.unlink(os.path.join(self.directory, "pending"))
        self.pending = None

    def shares(self, size, count, clones):
        """Whether a file of a snapshot of so many entries is written for sharing: root's, and read-only.

        `clones`: the file system has a better way for large ones."""
        return self.can_share and (count > MANY or (size > LARGE and not clones))

    def is_shared(self, status):
        return self.can_share and status.st_uid == 0 and not status.st_mode & 0o222

    def row(self, status):
        """What the index keeps. Each link to a shared file changes its ctime, and nobody but root can change the file."""
        ctime = 0 if self.is_shared(status) else status.st_ctime_ns
        return status.st_size, max(0, status.st_mtime_ns), status.st_ino, max(0, ctime)

    def is_known(self, path, entry, status):
        """Whether a file is, by lstat alone, the one that was written for this entry."""
        return status.st_mode in MODES[entry[1]] and self.rows.get(path) == self.row(status) and self.entries.get(path) == entry

    def is_dressed(self, entry, status):
        """Whether mode, owner and links of a file are what they should be."""
        if status.st_mode not in MODES[entry[1]]:
            return False
        if self.is_shared(status):
            return True
        return status.st_nlink == 1 and status.st_uid in (self.agent, self.account.pw_uid)

    def has(self, path, entry, status):
        """Whether an entry's kind and content are there, whatever its mode and owner; a file is read and hashed."""
        if status is None:
            return False
        if entry[0] == "directory":
            return stat.S_ISDIR(status.st_mode)
        if entry[0] == "link":
            parent, name = self.directories.of(path)
            return stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=parent) == entry[1]
        return stat.S_ISREG(status.st_mode) and status.st_size == entry[2] and self.hash(path) == entry[3]

    def hash(self, path):
        try:
            descriptor = self.open(path)
        except OSError:
            return None
        try:
            return files.hash_file(descriptor) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        finally:
            os.close(descriptor)

    def open(self, path):
        """A descriptor to read a file by."""
        parent, name = self.directories.of(path)
        if parent is None:
            raise FileNotFoundError(path)
        return os.open(name, READ, dir_fd=parent)

    def close(self):
        self.directories.close()


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
