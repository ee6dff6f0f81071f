"""The checkpoint of a run on several nodes as one, with the files that each node has saved."""

from __future__ import annotations

import hashlib
import json

from ..system.errors import Failure
from .checkpoint_restore import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from .checkpoint_restore import Manifest


class WholeCheckpoint:
    """`places`: by each part's hash the rank of the node that has it. `own`: what the node that
    restores it has of it.
    """

    def __init__(
        self, manifest: Manifest, places: dict[str, int], *, own: Manifest | None = None
    ) -> None:
        self.manifest, self.places, self.own = manifest, places, own

    @property
    def is_own(self) -> bool:
        """Whether the node has all of it."""
        return self.manifest == self.own

    def under(self, rank: int, own: Manifest) -> WholeCheckpoint | None:
        """It as the node of a rank gets it: of one path its own file. None where this node's files
        can't stand beside the others.
        """
        wider = with_more(own, self.manifest)
        if not is_valid(wider):
            return None
        places = dict.fromkeys(parts_of(own), rank)
        return WholeCheckpoint(wider, used({**self.places, **places}, wider), own=own)


def combined(manifests: Mapping[int, Manifest], own: int) -> WholeCheckpoint:
    """The files of all nodes as one checkpoint. Of one path, a node gets its own file, else that of
    the lowest rank. What can't stand beside the others is left out.
    """
    order = sorted(manifests, key=lambda rank: (rank != own, rank))
    whole = manifests[order[0]]
    places = dict.fromkeys(parts_of(whole), order[0])
    for rank in order[1:]:
        wider = with_more(whole, manifests[rank])
        if is_valid(wider):
            whole = wider
            for part in parts_of(manifests[rank]):
                places.setdefault(part, rank)
    return WholeCheckpoint(whole, used(places, whole), own=manifests.get(own))


def with_more(whole: Manifest, more: Manifest) -> Manifest:
    """A checkpoint with the names and files of another that it lacks."""
    kinds = {each["name"]: each["kind"] for each in whole["names"]}
    paths = {entry["path"] for entry in whole["files"]}
    names = [each for each in more["names"] if each["name"] not in kinds]
    files = [entry for entry in more["files"] if entry["path"] not in paths]
    return {**whole, "names": whole["names"] + names, "files": whole["files"] + files}


def is_valid(manifest: Manifest) -> bool:
    data = json.dumps(manifest).encode()
    try:
        read(data, hashlib.sha256(data).hexdigest())
    except Failure:
        return False
    return True


def parts_of(manifest: Manifest) -> list[str]:
    return [part for entry in manifest["files"] for part in entry["parts"]]


def used(places: Mapping[str, int], manifest: Manifest) -> dict[str, int]:
    return {part: places[part] for part in parts_of(manifest)}
