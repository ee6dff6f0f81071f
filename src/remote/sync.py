"""Brings a tree to a snapshot. Killed anywhere, the next sync makes it right: reality is compared, never assumed."""
import base64
import errno
import fcntl
import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import time
import zlib

from . import account as accounts, fetch, files, snapshot
from .failure import Failure

LOCK_WAIT = 20
BLOCK = 1024 * 1024


class TreeLock:
    """The tree's lock, held by flock; its owner is written into it. A child may inherit it."""

    def __init__(self, root, tree):
        if not tree or not all(char.isalnum() or char in "._-" for char in tree) or tree.startswith("."):
            raise Failure("BAD_PLAN", "the tree's id is not one")
        self.directory = os.path.join(root, "trees", tree)

    def __enter__(self):
        os.makedirs(self.directory, exist_ok=True)
        self.descriptor = os.open(os.path.join(self.directory, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.monotonic() > deadline:
                owner = os.pread(self.descriptor, 200, 0).decode("utf-8", "replace")
                age = int(time.time() - os.fstat(self.descriptor).st_mtime)
                raise Failure("BUSY", "another sync is at work on this tree, since %d s" % age, owner=owner, age=age)
            time.sleep(0.1)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, ("%d %s" % (os.getpid(), os.environ.get("SSM_COMMAND_ID", ""))).encode(), 0)
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)


def apply(plan, root):
    part = plan["sync"]
    account = accounts.training_user(plan.get("user"))
    tree = Tree(root, plan["tree"], account)
    wanted = tree.wanted(part)
    stage = os.path.join(tree.directory, "stage")
    shutil.rmtree(stage, ignore_errors=True)
    os.makedirs(stage)
    try:
        return tree.bring(part, wanted, stage)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


class Tree:
    def __init__(self, root, tree, account):
        self.directory = os.path.join(root, "trees", tree)
        self.files = os.fsencode(os.path.join(self.directory, "files"))
        self.account = account
        os.makedirs(self.files, exist_ok=True)
        accounts.own(self.files, account)
        head = files.read_json(os.path.join(self.directory, "head.json")) or {}
        self.head = head.get("snapshot")
        self.index = {os.fsencode(path): row for path, row in (files.read_json(os.path.join(self.directory, "index.json")) or {}).items()}
        self.brought = self._manifest() or {}
        try:
            with open(os.path.join(self.directory, "pending"), "rb") as file:
                self.pending = set(file.read().split(b"\0")[:-1])
        except OSError:
            self.pending = set()

    def _manifest(self):
        try:
            with open(os.path.join(self.directory, "manifest"), "rb") as file:
                data = file.read()
            return snapshot.parse(data, hashlib.sha256(data).hexdigest())
        except (OSError, Failure):
            return None

    def wanted(self, part):
        if part["manifest"] is not None:
            data = zlib.decompress(base64.b64decode(part["manifest"]))
        else:
            try:
                with open(os.path.join(self.directory, "manifest"), "rb") as file:
                    data = file.read()
            except OSError:
                data = b""
            if hashlib.sha256(data).hexdigest() != part["snapshot"]:
                raise Failure("NEEDS", "the tree holds another snapshot", head=self.head, count=0, paths=[])
        self.data = data
        entries = snapshot.parse(data, part["snapshot"])
        limits = part["limits"]
        if len(entries) > limits["entries"]:
            raise Failure("LIMIT", "more entries than declared", limit="entries", value=len(entries))
        return entries

    def bring(self, part, wanted, stage):
        # What is right already, and which contents the tree has anywhere.
        lacking, restored, have = [], [], {}
        for path, entry in wanted.items():
            if self.holds(path, entry):
                if entry[0] == "file":
                    have[entry[3]] = path
            else:
                lacking.append(path)
                if self.brought.get(path) == entry and not self.pending:
                    restored.append(path)
        for path, entry in self.brought.items():
            if entry[0] == "file" and entry[3] not in have and self.holds(path, entry):
                have[entry[3]] = path
        needed = {wanted[path][3] for path in lacking if wanted[path][0] == "file"}
        staged = self.receive(part, needed, stage) if part["archive"] else {}
        missing = [path for path in lacking if wanted[path][0] == "file" and wanted[path][3] not in staged and wanted[path][3] not in have]
        if missing:
            names = [path.decode("utf-8", "replace") for path in missing[:20]]
            # Into an empty tree everything was sent: what lacks then changed on its way into the archive.
            code = "HASH_MISMATCH" if part["archive"] and not self.brought else "NEEDS"
            raise Failure(code, "the tree lacks the contents of %d files" % len(missing), head=self.head, count=len(missing), paths=names)
        # Contents that only the tree has are copied aside before anything is replaced.
        for path in lacking:
            entry = wanted[path]
            if entry[0] == "file" and entry[3] not in staged:
                self.copy_aside(have[entry[3]], entry, os.path.join(stage, entry[3]))
                staged[entry[3]] = True
        gone = [path for path in set(self.brought) | self.pending if path not in wanted]
        # Until the head is recorded, both snapshots are what syncs brought: a kill in between forgets neither.
        pending = os.path.join(self.directory, "pending")
        files.write_atomically(pending, b"".join(path + b"\0" for path in set(self.brought) | self.pending | set(wanted)))
        for path in sorted(gone, key=len, reverse=True):
            self.remove(path)
        last = {}
        for path in lacking:
            if wanted[path][0] == "file":
                last[wanted[path][3]] = path
        size = 0
        for path in lacking:
            size += self.place(path, wanted[path], stage, last)
        index = {}
        for path, entry in wanted.items():
            if entry[0] == "file":
                index[os.fsdecode(path)] = row(os.lstat(os.path.join(self.files, path)))
        files.write_atomically(os.path.join(self.directory, "manifest"), self.data)
        files.write_json(os.path.join(self.directory, "index.json"), index)
        files.write_json(os.path.join(self.directory, "head.json"), {"snapshot": part["snapshot"], "at": int(time.time() * 1000)})
        os.unlink(pending)
        return {
            "head": part["snapshot"], "written": len(lacking), "deleted": len(gone), "bytes": size,
            "restored": [path.decode("utf-8", "replace") for path in restored[:20]], "restoredCount": len(restored),
            "tree": os.fsdecode(self.files), "user": self.account.pw_name,
        }

    def holds(self, path, entry):
        """Whether the tree has this very entry. A file that lstat knows is believed; any other is hashed."""
        full = os.path.join(self.files, path)
        if not self.reachable(path):
            return False
        try:
            found = os.lstat(full)
        except OSError:
            return False
        if entry[0] == "link":
            return stat.S_ISLNK(found.st_mode) and os.readlink(full) == entry[1]
        if entry[0] == "directory":
            return stat.S_ISDIR(found.st_mode)
        if not stat.S_ISREG(found.st_mode) or found.st_size != entry[2] or bool(found.st_mode & 0o100) != entry[1]:
            return False
        known = self.brought.get(path)
        if known == entry and self.index.get(path) == row(found):
            return True
        return hash_file(full) == entry[3]

    def reachable(self, path):
        """No symbolic link on the way to it."""
        at = self.files
        for part in path.split(b"/")[:-1]:
            at = os.path.join(at, part)
            try:
                if not stat.S_ISDIR(os.lstat(at).st_mode):
                    return False
            except OSError:
                return False
        return True

    def receive(self, part, needed, stage):
        """Takes the wanted contents out of the archive, by hash, into the stage; verifies the archive itself."""
        staged = {}
        taken = 0
        with fetch.open_url("archive", part["archive"]["url"]) as answer:
            source = Hashing(answer)
            try:
                with gzip.GzipFile(fileobj=source) as unpacked, tarfile.open(fileobj=unpacked, mode="r|", errorlevel=2) as archive:
                    for number, member in enumerate(archive):
                        if number >= part["limits"]["entries"]:
                            raise Failure("LIMIT", "more members than declared", limit="entries", value=number)
                        if not member.isreg():
                            continue
                        taken += member.size
                        if taken > part["limits"]["bytes"]:
                            raise Failure("LIMIT", "more bytes than declared", limit="bytes", value=taken)
                        content = archive.extractfile(member)
                        beside = os.path.join(stage, "incoming")
                        digest = hashlib.sha256()
                        with open(beside, "wb") as file:
                            while True:
                                data = content.read(BLOCK)
                                if not data:
                                    break
                                digest.update(data)
                                file.write(data)
                            file.flush()
                            os.fsync(file.fileno())
                        if digest.hexdigest() in needed:
                            os.replace(beside, os.path.join(stage, digest.hexdigest()))
                            staged[digest.hexdigest()] = True
                source.drain()
            except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise Failure("ARCHIVE_MISMATCH", "the archive can not be read: %s" % error)
        if source.size != part["archive"]["size"] or source.digest.hexdigest() != part["archive"]["sha256"]:
            raise Failure("ARCHIVE_MISMATCH", "the archive is not what the plan names")
        return staged

    def copy_aside(self, path, entry, target):
        with open(os.path.join(self.files, path), "rb") as source, open(target, "wb") as copy:
            shutil.copyfileobj(source, copy, BLOCK)
        if hash_file(target) != entry[3]:
            raise Failure("HASH_MISMATCH", "a file changed while it was read", count=1, paths=[path.decode("utf-8", "replace")])

    def place(self, path, entry, stage, last):
        full = os.path.join(self.files, path)
        self.make_parents(path)
        try:
            found = os.lstat(full)
        except OSError:
            found = None
        if found is not None and stat.S_ISDIR(found.st_mode) and entry[0] != "directory":
            try:
                os.rmdir(full)
            except OSError:
                raise Failure("PATH_BLOCKED", "a directory stands where a file belongs", path=path.decode("utf-8", "replace"))
        if entry[0] == "directory":
            if found is not None and not stat.S_ISDIR(found.st_mode):
                raise Failure("PATH_BLOCKED", "a file stands where a directory belongs", path=path.decode("utf-8", "replace"))
            os.makedirs(full, exist_ok=True)
            accounts.own(full, self.account)
            return 0
        if entry[0] == "link":
            beside = os.path.join(os.fsencode(stage), b"link")
            os.symlink(entry[1], beside)
            accounts.own(beside, self.account)
            os.replace(beside, full)
            return 0
        content = os.path.join(stage, entry[3])
        if last[entry[3]] != path:
            beside = os.path.join(stage, "copy")
            shutil.copyfile(content, beside)
            content = beside
        os.chmod(content, 0o755 if entry[1] else 0o644)
        accounts.own(content, self.account)
        os.replace(content, full)
        return entry[2]

    def make_parents(self, path):
        at = self.files
        for part in path.split(b"/")[:-1]:
            at = os.path.join(at, part)
            try:
                mode = os.lstat(at).st_mode
            except OSError:
                os.mkdir(at, 0o755)
                accounts.own(at, self.account)
                continue
            if not stat.S_ISDIR(mode):
                raise Failure("PATH_BLOCKED", "something that is no directory is in the way", path=os.path.relpath(at, self.files).decode("utf-8", "replace"))

    def remove(self, path):
        if not self.reachable(path):
            return
        full = os.path.join(self.files, path)
        try:
            if stat.S_ISDIR(os.lstat(full).st_mode):
                os.rmdir(full)
            else:
                os.unlink(full)
        except OSError:
            return
        parent = os.path.dirname(path)
        while parent:
            try:
                os.rmdir(os.path.join(self.files, parent))
            except OSError:
                return
            parent = os.path.dirname(parent)


class Hashing:
    """A stream that hashes what is read through it."""

    def __init__(self, source):
        self.source = source
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size=-1):
        data = self.source.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data

    def drain(self):
        while self.read(BLOCK):
            pass


def parents(path):
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def row(found):
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


def hash_file(path):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while True:
            data = file.read(BLOCK)
            if not data:
                return digest.hexdigest()
            digest.update(data)
