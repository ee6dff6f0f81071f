"""Snapshots: docs/FORMAT.md, "Snapshot"."""
import hashlib
import posixpath
import re

from .failure import Failure

HEADER = b"nx-ec2 snapshot 1"
FILE = re.compile(rb"f ([x-]) (\d+) ([0-9a-f]{64}) (.+)", re.DOTALL)


def parse(data, wanted_id):
    """The entries of a canonical form: {path: (kind, ...)}; paths are bytes. Refuses what could escape a tree."""
    if hashlib.sha256(data).hexdigest() != wanted_id:
        raise Failure("SNAPSHOT_MISMATCH", "the snapshot is not what the plan names")
    fields = data.split(b"\0")
    if fields[0] != HEADER or fields[-1] != b"":
        raise Failure("SNAPSHOT_MISMATCH", "the snapshot is not of this version")
    entries = {}
    at = 1
    while at < len(fields) - 1:
        field = fields[at]
        at += 1
        match = FILE.fullmatch(field)
        if match:
            path, entry = match.group(4), ("file", match.group(1) == b"x", int(match.group(2)), match.group(3).decode())
        elif field.startswith(b"l "):
            path, entry = field[2:], ("link", fields[at])
            at += 1
            check_target(path, entry[1])
        elif field.startswith(b"d "):
            path, entry = field[2:], ("directory",)
        else:
            raise Failure("SNAPSHOT_MISMATCH", "a record of the snapshot is damaged")
        check_path(path)
        entries[path] = entry
    for path in entries:
        parent = posixpath.dirname(path)
        while parent:
            if parent in entries:
                raise unsafe(path)
            parent = posixpath.dirname(parent)
    return entries


def check_path(path):
    if len(path) > 4096 or any(part in (b"", b".", b"..") or len(part) > 255 for part in path.split(b"/")):
        raise unsafe(path)


def check_target(path, target):
    resolved = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if not target or target.startswith(b"/") or resolved == b".." or resolved.startswith(b"../"):
        raise unsafe(path)


def unsafe(path):
    return Failure("UNSAFE_PATH", "an entry would leave the tree", path=path.decode("utf-8", "replace"))
