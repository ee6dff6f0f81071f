"""A saved checkpoint, put back into the checkpoint directory."""
import hashlib
import os
import stat

from . import account as accounts, files, inside, together
from .bounded import parse
from .failure import Failure
from .trash import remove_tree

# The kinds of names, in the order in which they are put in place.
ORDER = ("directory", "file", "link")


def restore(data, sha256, directory, get_part, account):
    """Makes the names that a checkpoint's object describes, verified, the account's: beside, then by rename, in place of what stands there.

    What `directory` lies in is root's. A name that stands there as it should be stays. `data` are the object's bytes, `sha256` what they must be; `get_part(sha256)` gives
    a part's bytes, or None, by several threads. Its manifest. Failure: CHECKPOINT_MISMATCH, PART_MISMATCH, or of `get_part`."""
    manifest = read(data, sha256)
    if not os.path.isdir(directory):
        os.makedirs(directory)
        accounts.own(directory, account)
    wanted = lacking(manifest, directory, account)
    # Beside the directory, where the account can exchange nothing, and can't enter.
    stage = directory + ".restore"
    remove_tree(stage)
    os.mkdir(stage, 0o700)
    os.mkdir(os.path.join(stage, "new"))
    os.mkdir(os.path.join(stage, "old"))
    try:
        targets = []
        for each, entries in wanted:
            made = os.path.join(stage, "new", each["name"])
            if each["kind"] == "directory":
                make(made, account)
            elif each["kind"] == "link":
                os.symlink(each["to"], made)
                accounts.own(made, account)
            for entry in entries:
                at = os.path.join(stage, "new")
                for name in entry["path"].split("/")[:-1]:
                    at = os.path.join(at, name)
                    if not os.path.isdir(at):
                        make(at, account)
                targets.append((entry, os.path.join(stage, "new", entry["path"])))
        together.restore_all(targets, get_part)
        for _, target in targets:
            accounts.own(target, account)
        # What names others comes last.
        for each, _ in sorted(wanted, key=lambda each: ORDER.index(each[0]["kind"])):
            place = os.path.join(directory, each["name"])
            if os.path.lexists(place):
                os.rename(place, os.path.join(stage, "old", each["name"]))
            os.rename(os.path.join(stage, "new", each["name"]), place)
    finally:
        remove_tree(stage)
    return manifest


def lacking(manifest, directory, account):
    """(name, its files) of each name of a checkpoint that does not stand in the directory as the checkpoint has it."""
    named = [(each, [entry for entry in manifest["files"] if top(entry) == each["name"]]) for each in manifest["names"]]
    return [(each, entries) for each, entries in named if not stands(directory, each, entries, account)]


def top(entry):
    return entry["path"].partition("/")[0]


def stands(directory, each, entries, account):
    """Whether a name of a checkpoint stands in the directory as the checkpoint has it, and is the account's."""
    name = each["name"]
    place = os.path.join(directory, name)
    if each["kind"] == "link":
        return os.path.islink(place) and os.readlink(place) == each["to"]
    try:
        found = os.lstat(place)
    except OSError:
        return False
    if stat.S_ISDIR(found.st_mode) != (each["kind"] == "directory") or stat.S_ISLNK(found.st_mode):
        return False
    there = dict({name: found}, **(dict(inside.walk(directory, name)) if each["kind"] == "directory" else {}))
    if os.geteuid() == 0 and any(below.st_uid != account.pw_uid for below in there.values()):
        return False
    there = {path: below for path, below in there.items() if not stat.S_ISDIR(below.st_mode)}
    return set(there) == {entry["path"] for entry in entries} and all(is_file(directory, entry, there[entry["path"]]) for entry in entries)


def is_file(directory, entry, found):
    if not stat.S_ISREG(found.st_mode) or found.st_size != entry["size"] or bool(found.st_mode & 0o100) != entry["executable"]:
        return False
    try:
        descriptor = inside.open_file(directory, entry["path"])
    except OSError:
        return False
    try:
        return files.hash_file(descriptor) == entry["sha256"]
    finally:
        os.close(descriptor)


def make(path, account):
    os.mkdir(path, 0o755)
    accounts.own(path, account)


def read(data, sha256):
    """The manifest of a checkpoint; CHECKPOINT_MISMATCH where it is not the one that is meant, or not of its shape."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Failure("CHECKPOINT_MISMATCH", "the checkpoint is not the one that is to be restored", sha256=sha256)
    try:
        manifest = parse(data)
        names, entries = manifest["names"], manifest["files"]
        if manifest["v"] != 1 or not is_name(manifest["unit"]) or not entries or not names:
            raise ValueError("it is not of this version or shape")
        kinds = {each["name"]: each["kind"] for each in names}
        for each in names:
            if not is_name(each["name"]) or each["kind"] not in ORDER:
                raise ValueError("a name is none")
            if each["kind"] == "link" and (each["to"] == each["name"] or each["to"] not in kinds):
                raise ValueError("a link leads out of it")
        for entry in entries:
            together.check(entry)
        paths = [entry["path"] for entry in entries]
        for path in paths:
            if kinds.get(path.partition("/")[0]) != ("directory" if "/" in path else "file"):
                raise ValueError("it names files that are not its own")
        if len(kinds) < len(names) or {name for name, kind in kinds.items() if kind != "link"} != {path.partition("/")[0] for path in paths}:
            raise ValueError("it has a name twice, or without a file")
        folders = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}
        if len(set(paths)) < len(paths) or folders & set(paths):
            raise ValueError("it names a file twice")
    except (ValueError, KeyError, TypeError) as error:
        raise Failure("CHECKPOINT_MISMATCH", "the checkpoint can not be read: %s" % error, sha256=sha256)
    return manifest


def is_name(text):
    return isinstance(text, str) and text not in ("", ".", "..") and "/" not in text and "\0" not in text
