"""A saved checkpoint, put back into the checkpoint directory."""
import hashlib
import json
import os

from . import account as accounts, together
from .failure import Failure
from .trash import remove_tree


def restore(data, sha256, directory, get_part, account):
    """Makes the unit that a checkpoint's object describes, verified, the account's: beside, then by rename, in place of what stands there.
    What `directory` lies in is root's.

    `data` are the object's bytes, `sha256` what they must be; `get_part(sha256)` gives a part's bytes, or None, by several threads.
    Its manifest. Failure: CHECKPOINT_MISMATCH, PART_MISMATCH, or of `get_part`."""
    manifest = read(data, sha256)
    unit = manifest["unit"]
    if not os.path.isdir(directory):
        os.makedirs(directory)
        accounts.own(directory, account)
    # Beside the directory, where the account can exchange nothing, and can't enter.
    stage = directory + ".restore"
    remove_tree(stage)
    os.mkdir(stage, 0o700)
    os.mkdir(os.path.join(stage, "new"))
    try:
        made = os.path.join(stage, "new", unit)
        if manifest["kind"] == "directory":
            make(made, account)
        targets = []
        for entry in manifest["files"]:
            at = os.path.join(stage, "new")
            for name in entry["path"].split("/")[:-1]:
                at = os.path.join(at, name)
                if not os.path.isdir(at):
                    make(at, account)
            targets.append((entry, os.path.join(stage, "new", entry["path"])))
        together.restore_all(targets, get_part)
        for _, target in targets:
            accounts.own(target, account)
        place = os.path.join(directory, unit)
        if os.path.lexists(place):
            os.rename(place, os.path.join(stage, "old"))
        os.rename(made, place)
    finally:
        remove_tree(stage)
    return manifest


def make(path, account):
    os.mkdir(path, 0o755)
    accounts.own(path, account)


def read(data, sha256):
    """The manifest of a checkpoint; CHECKPOINT_MISMATCH where it is not the one that is meant, or not of its shape."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Failure("CHECKPOINT_MISMATCH", "the checkpoint is not the one that is to be restored", sha256=sha256)
    try:
        manifest = json.loads(data)
        unit, kind, entries = manifest["unit"], manifest["kind"], manifest["files"]
        if manifest["v"] != 1 or kind not in ("file", "directory") or not isinstance(unit, str) or not entries:
            raise ValueError("it is not of this version or shape")
        if unit in ("", ".", "..") or "/" in unit or "\0" in unit:
            raise ValueError("its unit's name is none")
        for entry in entries:
            together.check(entry)
        paths = [entry["path"] for entry in entries]
        if paths != [unit] if kind == "file" else not all(path.startswith(unit + "/") for path in paths):
            raise ValueError("it names files that are not its unit's")
        folders = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}
        if len(set(paths)) < len(paths) or folders & set(paths):
            raise ValueError("it names a file twice")
    except (ValueError, KeyError, TypeError) as error:
        raise Failure("CHECKPOINT_MISMATCH", "the checkpoint can not be read: %s" % error, sha256=sha256)
    return manifest
