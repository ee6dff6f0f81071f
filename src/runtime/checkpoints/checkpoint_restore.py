"""A saved checkpoint, put back into the checkpoint directory and into the project."""

from __future__ import annotations

import hashlib
import os
import stat

from ..disk.trash import remove_tree
from ..system import account as accounts
from ..system import safe_walk
from ..system.bounded import parse
from ..system.errors import Failure
from ..system.file_hash import hash_file
from . import part_download

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable, Collection, Dict, List, Mapping, Protocol, Tuple

    Entry = Dict[str, Any]
    Manifest = Dict[str, Any]
    Name = Dict[str, Any]
    Moves = List[Tuple[str, str]]

    class InProject(Protocol):
        """The checkpoints in a project, as `project_files` has them."""

        work: str

        def below(self, name: str) -> str: ...
        def refuse_others(self, manifest: Manifest) -> None: ...
        def put(self, stage: str, moves: Moves) -> None: ...


# The kinds of names, in the order in which they are put in place.
ORDER = ("directory", "file", "link")
# How the name of what lies in the project begins; the rest is its path relative to the project.
PREFIX = "./"


def restore(
    data: bytes,
    sha256: str,
    directory: str,
    *,
    get_part: Callable[[str], bytes | bytearray | None],
    account: pwd.struct_passwd,
    project: InProject | None = None,
) -> Manifest:
    """Makes the names that a checkpoint's object describes, verified, the account's: beside, then
    by rename, in place of what stands there.

    What `directory` lies in is root's; `project` is a `project_files.ProjectFiles`. A name that
    stands there as it should be stays. `data` are the object's bytes, `sha256` what they must be;
    `get_part(sha256)` gives a part's bytes, or None, by several threads. Its manifest. Failure:
    CHECKPOINT_MISMATCH, PART_MISMATCH, PATH_BLOCKED, or of `get_part`.
    """
    manifest = read(data, sha256)
    if project is not None:
        project.refuse_others(manifest)
    if not os.path.isdir(directory):
        os.makedirs(directory)
        accounts.own(directory, account)
    wanted = lacking(manifest, directory, account, project=project)
    # Beside the directory, where the account can exchange nothing, and can't enter.
    stage = directory + ".restore"
    remove_tree(stage)
    os.mkdir(stage, 0o700)
    os.mkdir(os.path.join(stage, "new"))
    os.mkdir(os.path.join(stage, "old"))
    try:
        targets: list[tuple[Entry, str]] = []
        for number, (each, entries) in enumerate(wanted):
            made = os.path.join(stage, "new", str(number))
            if each["kind"] == "directory":
                make(made, account)
            elif each["kind"] == "link":
                os.symlink(each["to"], made)
                accounts.own(made, account)
            for entry in entries:
                # Empty for a file that has the name itself.
                at, below = made, entry["path"][len(each["name"]) + 1 :]
                for name in below.split("/")[:-1]:
                    at = os.path.join(at, name)
                    if not os.path.isdir(at):
                        make(at, account)
                targets.append((
                    dict(entry, path=without_prefix(entry["path"])),
                    os.path.join(made, below) if below else made,
                ))
        part_download.restore_all(targets, get_part)
        for _, target in targets:
            accounts.own(target, account)
        # What names others comes last.
        moves = [
            (str(number), each["name"])
            for number, (each, _) in sorted(
                enumerate(wanted), key=lambda each: ORDER.index(each[1][0]["kind"])
            )
        ]
        put([move for move in moves if not in_project(move[1])], stage, directory)
        inner = [move for move in moves if in_project(move[1])]
        if inner and project is not None:
            project.put(stage, inner)
    finally:
        remove_tree(stage)
    return manifest


def put(moves: Moves, stage: str, directory: str) -> None:
    for number, name in moves:
        place = os.path.join(directory, name)
        if os.path.lexists(place):
            os.rename(place, os.path.join(stage, "old", number))
        os.rename(os.path.join(stage, "new", number), place)


def lacking(
    manifest: Manifest,
    directory: str,
    account: pwd.struct_passwd,
    *,
    project: InProject | None = None,
) -> list[tuple[Name, list[Entry]]]:
    """(name, its files) of each name of a checkpoint that does not stand where it belongs as the
    checkpoint has it.

    Failure PATH_BLOCKED where it has names in a project, and there is none.
    """
    names: dict[str | None, list[Entry]] = {each["name"]: [] for each in manifest["names"]}
    for entry in manifest["files"]:
        names[owner(entry["path"], names)].append(entry)
    found: list[tuple[Name, list[Entry]]] = []
    for each in manifest["names"]:
        entries, base, at = names[each["name"]], directory, str
        if in_project(each["name"]):
            if project is None:
                raise Failure(
                    "PATH_BLOCKED",
                    "the checkpoint holds %s, and the run has no checkpoints in its project"
                    % safe_walk.shown(each["name"]),
                )
            base, at = project.work, project.below
        if not stands(base, at, each, entries=entries, account=account):
            found.append((each, entries))
    return found


def owner(path: str, names: Collection[str | None] | Mapping[str, Any]) -> str | None:
    """That of the names which a path is, or is below; None where it is none's."""
    while path not in names:
        path, slash, _ = path.rpartition("/")
        if not slash:
            return None
    return path


def stands(
    base: str,
    at: Callable[[str], str],
    each: Name,
    *,
    entries: list[Entry],
    account: pwd.struct_passwd,
) -> bool:
    """Whether a name of a checkpoint stands as the checkpoint has it, and is the account's. It is
    `at(name)` below `base`.
    """
    place = at(each["name"])
    try:
        if each["kind"] == "link":
            return safe_walk.readlink(base, place) == each["to"]
        found = safe_walk.lstat(base, place)
    except OSError:
        return False
    if stat.S_ISDIR(found.st_mode) != (each["kind"] == "directory") or stat.S_ISLNK(found.st_mode):
        return False
    there = {place: found}
    if each["kind"] == "directory":
        there.update(safe_walk.walk(base, place))
    if os.geteuid() == 0 and any(below.st_uid != account.pw_uid for below in there.values()):
        return False
    there = {path: below for path, below in there.items() if not stat.S_ISDIR(below.st_mode)}
    wanted = {at(entry["path"]): entry for entry in entries}
    return set(there) == set(wanted) and all(
        is_file(base, path, wanted[path], found=there[path]) for path in wanted
    )


def is_file(base: str, path: str, entry: Entry, *, found: os.stat_result) -> bool:
    if (
        not stat.S_ISREG(found.st_mode)
        or found.st_size != entry["size"]
        or bool(found.st_mode & 0o100) != entry["executable"]
    ):
        return False
    try:
        descriptor = safe_walk.open_file(base, path)
    except OSError:
        return False
    try:
        return hash_file(descriptor) == entry["sha256"]
    finally:
        os.close(descriptor)


def make(path: str, account: pwd.struct_passwd) -> None:
    os.mkdir(path, 0o755)
    accounts.own(path, account)


def read(data: bytes, sha256: str) -> Manifest:
    """The manifest of a checkpoint; CHECKPOINT_MISMATCH where it is not the one that is meant, or
    not of its shape.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Failure(
            "CHECKPOINT_MISMATCH",
            "the checkpoint is not the one to be restored",
            sha256=sha256,
        )
    try:
        manifest = parse(data)
        names, entries = manifest["names"], manifest["files"]
        if manifest["v"] != 1 or not is_name(manifest["unit"]) or not entries or not names:
            raise ValueError("it is not of this version or shape")
        kinds = {each["name"]: each["kind"] for each in names}
        for each in names:
            if not is_name(each["name"]) or each["kind"] not in ORDER:
                raise ValueError("a name is not valid")
            if each["kind"] == "link" and not leads_to_another(each, kinds):
                raise ValueError("a link leads out of it")
            if owner(each["name"].rpartition("/")[0], kinds) is not None:
                raise ValueError("a name is in another")
        for entry in entries:
            part_download.check(dict(entry, path=without_prefix(entry["path"])))
        paths = [entry["path"] for entry in entries]
        of = {path: owner(path, kinds) for path in paths}
        for path in paths:
            if of[path] is None or kinds[of[path]] != ("file" if of[path] == path else "directory"):
                raise ValueError("it names files of other runs")
        if len(kinds) < len(names) or {
            name for name, kind in kinds.items() if kind != "link"
        } != set(of.values()):
            raise ValueError("it has a name twice, or without a file")
        folders = {
            "/".join(path.split("/")[:depth])
            for path in paths
            for depth in range(1, path.count("/") + 1)
        }
        if len(set(paths)) < len(paths) or folders & set(paths):
            raise ValueError("it names a file twice")
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(
            "CHECKPOINT_MISMATCH", "the checkpoint can not be read: %s" % error, sha256=sha256
        )
    return manifest


def leads_to_another(link: Name, kinds: Mapping[str, str]) -> bool:
    """Whether a link leads to another of the names, beside it."""
    directory = link["name"].rpartition("/")[0]
    to = directory + "/" + link["to"] if directory else link["to"]
    return "/" not in link["to"] and to != link["name"] and to in kinds


def without_prefix(path: Any) -> Any:
    return path[len(PREFIX) :] if isinstance(path, str) and in_project(path) else path


def is_name(text: object) -> bool:
    """Whether it names something in the checkpoint directory, or in the project."""
    if not isinstance(text, str) or "\0" in text:
        return False
    return (
        all(part not in ("", ".", "..") for part in text[len(PREFIX) :].split("/"))
        if in_project(text)
        else text not in ("", ".", "..") and "/" not in text
    )


def in_project(name: str) -> bool:
    """Whether a name, or a path, of a checkpoint is in the project. No name in the checkpoint
    directory begins so.
    """
    return name.startswith(PREFIX)
