"""Chains of manifests, by which a tree that holds something else is repaired:
docs/reference/formats.md, "Store".
"""

from __future__ import annotations

from ..aws.http_pool import in_parallel, may_be_absent
from ..system.bounded import TooLarge, ValueLimit, inflate, parse
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
# The same as it is stored: what nothing compresses becomes a little larger.
MAX_STORED_DELTA_BYTES = MAX_DELTA_BYTES + 64 * 1024
# Manifests that are fetched side by side: a delta is small.
BATCH_SIZE = 4


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
        if len({each["snapshot"] for each in history}) < len(history):
            raise Failure("BAD_PLAN", "the plan names a manifest twice")
        self.recipes, self.inline, self.entries, self.data = {}, {}, {}, b""
        self.contents: set[str] = set()
        self.bytes = 0
        # All that the chain holds together is limited.
        values = ValueLimit()
        before: str | None = None
        for start in range(0, len(history), BATCH_SIZE):
            numbers = range(start, min(start + BATCH_SIZE, len(history)))
            stored: dict[int, bytearray] = {}

            def fetch(number: int, stored: dict[int, bytearray] = stored) -> None:
                stored[number] = fetch_manifest(connections, history[number], number == 0)

            in_parallel(numbers, fetch)
            for number in numbers:
                name = history[number]["snapshot"]
                manifest = parse_manifest(stored.pop(number), name, values, whole=number == 0)
                self.add(name, manifest, before)
                before = name
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
                changed = self.entries
            else:
                self.entries, self.data = snapshot.fold(
                    self.entries, manifest["deleted"], changed=manifest["entries"], wanted_id=name
                )
                changed = snapshot.read_entries(manifest["entries"].encode().split(b"\0")[:-1])
            self.contents.update(entry[3] for entry in changed.values() if entry[0] == "file")
            self.keep(self.recipes, manifest["recipes"])
            self.keep(self.inline, manifest["inline"])
        except Failure as failure:
            raise mismatch(name, failure.message, failure.code)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise mismatch(name, "it is damaged: %r" % error)

    def keep(self, kept: dict[str, Any], brought: dict[str, Any]) -> None:
        """Takes what is brought for contents that a snapshot of the chain has."""
        for content in brought.keys() & self.contents:
            new, old = brought[content], kept.get(content)
            self.bytes += len(new) - len(old or "")
            # A full manifest of the same snapshot could not hold more.
            if self.bytes > MAX_FULL_BYTES:
                raise TooLarge("the chain has more than %d bytes of recipes" % MAX_FULL_BYTES)
            kept[content] = new


def read_manifest(connections: Connections, each: SyncSpecHistoryItem) -> Any:
    """The value of a full manifest."""
    return parse_manifest(fetch_manifest(connections, each), each["snapshot"], ValueLimit())


def fetch_manifest(
    connections: Connections, each: SyncSpecHistoryItem, whole: bool = True
) -> bytearray:
    name = each["snapshot"]
    stored = MAX_STORED_BYTES if whole else MAX_STORED_DELTA_BYTES
    answer = connections.get("manifest", each["url"], limit=stored, snapshot=name)
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
    if len(answer.body) > stored:
        raise mismatch(name, "it can't be read: it has more than %d bytes" % stored)
    return answer.body


def parse_manifest(body: bytearray, name: str, values: ValueLimit, *, whole: bool = True) -> Any:
    try:
        return parse(inflate(body, MAX_FULL_BYTES if whole else MAX_DELTA_BYTES), values)
    except (ValueError, RecursionError) as error:
        raise mismatch(name, "it can't be read: %s" % error)


def mismatch(name: str, why: str, code: str = "SNAPSHOT_MISMATCH") -> Failure:
    return Failure(
        code, "the manifest of snapshot %s is not valid: %s" % (name, why), snapshot=name
    )
