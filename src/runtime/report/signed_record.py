"""A run's record as it lies in the store, where others can write too: docs/reference/formats.md,
"Signed records".
"""

from __future__ import annotations

import base64
import copy
import hmac
import json
import re

from ..system.bounded import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ..aws.bucket import Bucket, Object
    from ..system.documents import RunRecord, RunSpec


RECORD = "record.json"
MAX_RECORD_BYTES = 1024 * 1024
HEAD = re.compile(rb'\{"v":2,"mac":"([0-9a-f]{64})","record":')


class SigningKey:
    """What a run's record is signed with. It comes with the command, or sealed."""

    def __init__(self, spec: RunSpec) -> None:
        self.key, self.run = base64.b64decode(spec["signingKey"]), spec["id"]
        node = spec.get("node")
        self.name = name_of(self.run, node["rank"] if node else 0)

    def of_node(self, rank: int) -> SigningKey:
        """The same key for the record of another node of the run."""
        return self._of(name_of(self.run, rank))

    def named(self, what: str) -> SigningKey:
        """The same key for another object of the run, whose name is no node's."""
        return self._of("%s/%s" % (self.run, what))

    def _of(self, name: str) -> SigningKey:
        key = copy.copy(self)
        key.name = name
        return key

    def sign(self, record: Mapping[str, Any]) -> bytes:
        """The bytes to write."""
        data = json.dumps(record).encode()
        return b'{"v":2,"mac":"%s","record":%s}' % (self._mac(b"record 2", self.name, data), data)

    def verified(self, data: bytes) -> RunRecord | None:
        """The record; None where the bytes do not bear the signature of this very run."""
        head = HEAD.match(data)
        if head is None or data[-1:] != b"}":
            return None
        record = data[head.end() : -1]
        return (
            json.loads(record)
            if hmac.compare_digest(head.group(1), self._mac(b"record 2", self.name, record))
            else None
        )

    def read(self, bucket: Bucket, name: str = RECORD) -> tuple[Object | None, RunRecord | None]:
        """(found, record): what is in the store, None where nothing is; None for a record that is
        not the run's.
        """
        found = bucket.read(name, MAX_RECORD_BYTES, cut=True)
        return found, found and self.verified(found.data)

    def is_stop(self, data: bytes | None) -> bool:
        """Whether a client has written it that holds the run's key."""
        try:
            return data is not None and hmac.compare_digest(
                parse(data)["mac"].encode(), self._mac(b"stop 2", self.run, b"")
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return False

    def of_start(self, at: int) -> str:
        """What a node's sign is signed with that it is being started."""
        return self._mac(b"starting 1", self.name, b"%d" % at).decode()

    def of_heartbeat(self, message: bytes) -> bytes:
        """What a message between two nodes of the run is signed with."""
        return self._mac(b"heartbeat 1", self.run, message)

    def token(self, attempt: str) -> str:
        """What programs of the nodes that take part in an attempt show to each other."""
        return self._mac(b"token 1", self.run, attempt.encode()).decode()

    def _mac(self, what: bytes, name: str, data: bytes) -> bytes:
        return (
            hmac
            .new(self.key, b"nx-ec2 %s\n%s\n" % (what, name.encode()) + data, "sha256")
            .hexdigest()
            .encode()
        )


def name_of(run: str, rank: int) -> str:
    """What the signature of a node's record names: no node's record passes for another's."""
    return "%s/node/%d" % (run, rank) if rank else run


def version(record: RunRecord) -> tuple[int, int]:
    """Grows with each write of a run's record, over all its instances."""
    return record["attempt"], record["heartbeat"]
