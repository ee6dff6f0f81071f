"""Snapshots: docs/reference/formats.md, "Snapshot"."""

from __future__ import annotations

import posixpath

from ..system.digest import sha256_hex
from ..system.errors import Failure, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, Literal, Sequence, Tuple, Union

    FileEntry = Tuple[Literal["file"], bool, int, str]
    LinkEntry = Tuple[Literal["link"], bytes]
    DirectoryEntry = Tuple[Literal["directory"]]
    Entry = Union[FileEntry, LinkEntry, DirectoryEntry]
    Entries = Dict[bytes, Entry]


HEADER = b"nx-ec2 snapshot 1"
# Of the size of a file: decimal, without a sign and zeros before it.
MAX_SIZE_DIGITS = 18
HEX = b"0123456789abcdef"


def parse(data: bytes, wanted_id: str) -> Entries:
    """The entries of a canonical form, in its order: {path: (kind, …)}; paths are bytes. Refuses
    what could escape a tree.

    An entry is ("file", executable, bytes, content), ("link", target) or ("directory",).
    """
    if sha256_hex(data) != wanted_id:
        raise Failure(
            "SNAPSHOT_MISMATCH", "the snapshot is not what the plan names", snapshot=wanted_id
        )
    return read_verified(data, wanted_id)


def read_verified(data: bytes, wanted_id: str) -> Entries:
    """The same of a canonical form whose hash is known to be this one."""
    fields = data.split(b"\0")
    if fields[0] != HEADER or fields[-1] != b"":
        raise Failure(
            "SNAPSHOT_MISMATCH", "the snapshot is not of this version", snapshot=wanted_id
        )
    return check_tree(read_entries(fields[1:-1]))


def read_entries(fields: Sequence[bytes]) -> Entries:
    """The entries that fields of the canonical form hold, in the order of their paths."""
    entries: Entries = {}
    last = b""
    at = 0
    entry: Entry
    while at < len(fields):
        field = fields[at]
        at += 1
        if field.startswith(b"f "):
            path, entry = parse_file_entry(field)
        elif field.startswith(b"l ") and at < len(fields):
            path, target = field[2:], fields[at]
            entry = ("link", target)
            at += 1
            check_target(path, target)
        elif field.startswith(b"d "):
            path = field[2:]
            entry = ("directory",)
        else:
            raise damaged()
        check_path(path)
        if path <= last:
            raise Failure("SNAPSHOT_MISMATCH", "the entries of the snapshot are out of order")
        last = path
        entries[path] = entry
    return entries


def parse_file_entry(field: bytes) -> tuple[bytes, FileEntry]:
    """(path, entry) of `f <x or -> <bytes> <sha256> <path>`. Without `re`, which takes longer to
    import than a sync that changes nothing takes.
    """
    try:
        _, mode, size, content, path = field.split(b" ", 4)
    except ValueError:
        raise damaged()
    if (
        len(content) != 64
        or content.strip(HEX)
        or not size.isdigit()
        or len(size) > MAX_SIZE_DIGITS
        or (size.startswith(b"0") and size != b"0")
        or mode not in (b"x", b"-")
        or not path
    ):
        raise damaged()
    return path, ("file", mode == b"x", int(size), content.decode())


def damaged() -> Failure:
    return Failure("SNAPSHOT_MISMATCH", "an entry of the snapshot is damaged")


def check_tree(entries: Entries) -> Entries:
    """The entries, if none of them stands where another needs a directory, and no link leads
    through another.
    """
    directories = parents_of(entries)
    for path in directories:
        if path in entries:
            raise unsafe(path)
    links = {path: entry[1] for path, entry in entries.items() if entry[0] == "link"}
    for path, target in links.items():
        # Each of two links can stay in the tree by text, and both together leave it.
        if any(on_the_way in links for on_the_way in parents_of([resolve(path, target)])):
            raise unsafe(path)
    return entries


def parents_of(paths: Iterable[bytes]) -> set[bytes]:
    """All directories that paths lie in."""
    found = {b""}
    for path in paths:
        parent = path.rpartition(b"/")[0]
        while parent not in found:
            found.add(parent)
            parent = parent.rpartition(b"/")[0]
    found.discard(b"")
    return found


def fold(
    entries: Entries, deleted: Iterable[str], *, changed: str, wanted_id: str
) -> tuple[Entries, bytes]:
    """(entries, canonical form) of the snapshot that a delta makes of another; it must have the
    wanted id.
    """
    fields = changed.encode().split(b"\0")
    if fields.pop() != b"":
        raise Failure("SNAPSHOT_MISMATCH", "a delta is damaged", snapshot=wanted_id)
    wanted = dict(entries)
    for path in deleted:
        wanted.pop(path.encode(), None)
    wanted.update(read_entries(fields))
    wanted = dict(sorted(wanted.items()))
    data = canonical(wanted)
    if sha256_hex(data) != wanted_id:
        raise Failure(
            "SNAPSHOT_MISMATCH",
            "the delta does not make the snapshot that the plan names",
            snapshot=wanted_id,
        )
    return check_tree(wanted), data


def canonical(entries: Entries) -> bytes:
    parts = [HEADER]
    for path, entry in entries.items():
        if entry[0] == "file":
            parts.append(
                b"f %s %d %s %s" % (b"x" if entry[1] else b"-", entry[2], entry[3].encode(), path)
            )
        elif entry[0] == "link":
            parts.append(b"l %s\0%s" % (path, entry[1]))
        else:
            parts.append(b"d " + path)
    parts.append(b"")
    return b"\0".join(parts)


def check_path(path: bytes) -> None:
    bounded = b"/%s/" % path
    if (
        b"//" in bounded
        or b"/./" in bounded
        or b"/../" in bounded
        or len(path) > 4096
        or (len(path) > 255 and max(map(len, path.split(b"/"))) > 255)
    ):
        raise unsafe(path)


def check_target(path: bytes, target: bytes) -> None:
    """Refuses a target that leaves the tree, and one with a `..` after a name: that would leave
    what the name leads to.
    """
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    while names and names[0] == b"..":
        del names[0]
    resolved = resolve(path, target)
    if (
        not target
        or target.startswith(b"/")
        or b".." in names
        or resolved == b".."
        or resolved.startswith(b"../")
    ):
        raise unsafe(path)


def resolve(path: bytes, target: bytes) -> bytes:
    """Where a link leads, by text alone."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def unsafe(path: bytes) -> Failure:
    return Failure("UNSAFE_PATH", "an entry would leave the tree", path=text(path))
