"""Chains of manifests, by which a tree that holds something else is repaired:
docs/reference/formats.md, "Store".
"""

from __future__ import annotations

from ..aws.http_pool import in_parallel, is_absent
from ..system.bounded import TooLarge, inflate, parse
from ..system.errors import Failure
from . import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from ..aws.http_pool import Connections
    from ..system.documents import SyncSpecHistoryItem
    from .snapshot import Entries


LONGEST_CHAIN = 17
# Stored; unpacked: a whole one, and one that changes another, whose hash is known only when it was
# applied.
RECORD_LIMIT_BYTES = 64 * 1024 * 1024
TEXT_LIMIT_BYTES = 256 * 1024 * 1024
CHANGE_LIMIT_BYTES = 16 * 1024 * 1024


class Absent(Exception):
    """The store has a record no more: there is no history, then, and what lacks is asked for."""


class History:
    """`entries` and `data` of the last record's snapshot; the recipes and contents (`inline`, zlib,
    base64) that its chain brings.
    """

    recipes: dict[str, list[list[Any]]]
    inline: dict[str, str]
    entries: Entries
    data: bytes

    def __init__(self, connections: Connections, history: Sequence[SyncSpecHistoryItem]) -> None:
        if not 0 < len(history) <= LONGEST_CHAIN:
            raise Failure("BAD_PLAN", "the plan names %d manifests" % len(history))
        records: dict[int, Any] = {}

        def fetch(number: int) -> None:
            records[number] = read_record(connections, history[number], whole=number == 0)

        in_parallel(range(len(history)), fetch)
        self.recipes, self.inline, self.entries, self.data = {}, {}, {}, b""
        before = None
        for number, each in enumerate(history):
            self.add(each["snapshot"], records.pop(number), before)
            before = each["snapshot"]
        self.snapshot = before

    def add(self, name: str, record: Any, before: str | None) -> None:
        try:
            if record["v"] != 1 or record["snapshot"] != name or record["base"] != before:
                raise ValueError("it belongs to another tree")
            if before is None:
                self.data = record["canonical"].encode()
                self.entries = snapshot.parse(self.data, name)
            else:
                self.entries, self.data = snapshot.fold(
                    self.entries, record["deleted"], records=record["entries"], wanted_id=name
                )
            self.recipes.update(record["recipes"])
            self.inline.update(record["inline"])
        except Failure as failure:
            raise mismatch(name, failure.message, failure.code)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise mismatch(name, "it is damaged: %r" % error)


def read_record(connections: Connections, each: SyncSpecHistoryItem, whole: bool = True) -> Any:
    name = each["snapshot"]
    answer = connections.get("record", each["url"], limit=RECORD_LIMIT_BYTES, snapshot=name)
    if is_absent(answer):
        raise Absent()
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
        if len(answer.body) > RECORD_LIMIT_BYTES:
            raise TooLarge("it has more than %d bytes" % RECORD_LIMIT_BYTES)
        return parse(inflate(answer.body, TEXT_LIMIT_BYTES if whole else CHANGE_LIMIT_BYTES))
    except (ValueError, RecursionError) as error:
        raise mismatch(name, "it can't be read: %s" % error)


def mismatch(name: str, why: str, code: str = "SNAPSHOT_MISMATCH") -> Failure:
    return Failure(
        code, "the manifest of snapshot %s is not valid: %s" % (name, why), snapshot=name
    )
