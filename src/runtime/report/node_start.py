"""The sign of life of a node that has no record of the attempt yet: it still gets its files. The
nodes that wait for it do not take it for missing then.
"""

from __future__ import annotations

import contextlib
import json
import threading

from ..system.bounded import parse
from ..system.errors import Failure
from ..system.wall_clock import now_ms
from .signed_record import SigningKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..aws.bucket import Bucket
    from ..system.documents import RunSpec

STARTING = "starting.json"
MAX_BYTES = 1024
# Between two signs.
INTERVAL_S = 10.0


class Announced:
    """Shows the other nodes of the run that this one is being started, until `end` or the end of
    the context. Does nothing for a run on one instance.
    """

    def __init__(self, spec: RunSpec) -> None:
        self.spec, self.ended = spec, threading.Event()
        has_others = bool(spec.get("node") and spec["store"])
        self.thread = threading.Thread(target=self._run, daemon=True) if has_others else None

    def __enter__(self) -> Announced:
        if self.thread:
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.ended.set()
        if self.thread:
            self.thread.join()

    def _run(self) -> None:
        from ..aws.bucket import role_bucket

        bucket, key = role_bucket(self.spec["store"]), SigningKey(self.spec)
        while not self.ended.is_set():
            # What keeps the role from writing is said where the run starts.
            with contextlib.suppress(Failure, OSError):
                bucket.put(STARTING, sign(key, now_ms()))
            self.ended.wait(INTERVAL_S)


def sign(key: SigningKey, at: int) -> bytes:
    return json.dumps({"at": at, "mac": key.of_start(at)}).encode()


def read(bucket: Bucket, key: SigningKey, name: str) -> int | None:
    """When a node showed by its own clock that it is being started, ms; None: it has not, or
    another program has written that. `key`: the node's.
    """
    found = bucket.read(name, MAX_BYTES, cut=True)
    try:
        at: Any = parse(found.data)["at"] if found else None
        is_signed = type(at) is int and found is not None and found.data == sign(key, at)
        return at if is_signed else None
    except (ValueError, KeyError, TypeError):
        return None
