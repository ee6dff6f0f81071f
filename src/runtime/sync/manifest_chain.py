"""Chains of manifests, by which a tree that holds something else is repaired:
docs/reference/formats.md, "Store".
"""

from __future__ import annotations

from ..aws.http_pool import in_parallel, may_be_absent
from ..system.bounded import TooLarge, inflate, parse
from ..system.errors import Failure
from . import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from ..aws.http_pool import Connections
    from ..system.documents import SyncSpecHistoryItem
    from .recipe import Recipe
    from .snapshot import Entries


MAX_CHAIN_LENGTH = 17
# Version 1 has recipes as lists.
VERSIONS = (1, 2)
# A manifest as it is stored; inflated: a full one, and a delta, whose hash is known only when it
# was applied.
MAX_STORED_BYTES = 64 * 1024 * 1024
MAX_FULL_BYTES = 256 * 1024 * 1024
MAX_DELTA_BYTES = 16 * 1024 * 1024


class ManifestMissing(Exception):
    """The store has the manifest no more: there is no history then, and the client is asked for
    what is missing.
    """


class History:
    """`entries` and `data` of the last manifest's snapshot; the recipes and contents (`inline`,
    zlib, base64) that its chain brings.
    """

    recipes: dict[str, Recipe]
    inline: dict[str, str]
    entries: Entries
    data: bytes

    def __init__(self, connections: Connections, history: Sequence[SyncSpecHistoryItem]) -> None:
        if not 0 < len(history) <= MAX_CHAIN_LENGTH:
            raise Failure("BAD_PLAN", "the plan names %d manifests" % len(history))
        manifests: dict[int, Any] = {}

        def fetch(number: int) -> None:
            manifests[number] = read_manifest(connections, history[number], whole=number == 0)

        in_parallel(range(len(history)), fetch)
        self.recipes, self.inline, self.entries, self.data = {}, {}, {}, b""
        before = None
        for number, each in enumerate(history):
            self.add(each["snapshot"], manifests.pop(number), before)
            before = each["snapshot"]
        self.snapshot = before

    def add(self, name: str, manifest: Any, before: str | None) -> None:
        try:
            if manifest["v"] not in VERSIONS:
                raise ValueError("it is of version %r" % manifest["v"])
            if manifest["snapshot"] != name or manifest["base"] != before:
                raise ValueError("it belongs to another tree")
            if before is None:
                self.data = manifest["canonical"].encode()
                self.entries = snapshot.parse(self.data, name)
            else:
                self.entries, self.data = snapshot.fold(
                    self.entries, manifest["deleted"], changed=manifest["entries"], wanted_id=name
                )
            self.recipes.update(manifest["recipes"])
            self.inline.update(manifest["inline"])
        except Failure as failure:
            raise mismatch(name, failure.message, failure.code)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise mismatch(name, "it is damaged: %r" % error)


def read_manifest(connections: Connections, each: SyncSpecHistoryItem, whole: bool = True) -> Any:
    name = each["snapshot"]
    answer = connections.get("manifest", each["url"], limit=MAX_STORED_BYTES, snapshot=name)
    if may_be_absent(answer):
        raise ManifestMissing()
    if answer.status != 200:
        raise Failure(
            "FETCH_FAILED",
            "the manifest of the snapshot %s could not be fetched: HTTP %d" % (name, answer.status),
            what="manifest",
            status=answer.status,
            aws=bytes(answer.body[:2000]).decode("utf-8", "replace"),
            snapshot=name,
        )
    try:
        if len(answer.body) > MAX_STORED_BYTES:
            raise TooLarge("it has more than %d bytes" % MAX_STORED_BYTES)
        return parse(inflate(answer.body, MAX_FULL_BYTES if whole else MAX_DELTA_BYTES))
    except (ValueError, RecursionError) as error:
        raise mismatch(name, "it can't be read: %s" % error)


def mismatch(name: str, why: str, code: str = "SNAPSHOT_MISMATCH") -> Failure:
    return Failure(
        code, "the manifest of snapshot %s is not valid: %s" % (name, why), snapshot=name
    )
