"""One writer for a run: of two instances that have it, the one that was taken over from finds out,
and writes no more.
"""

from __future__ import annotations

import threading
import time

from ..system.errors import Failure
from .signed_record import RECORD, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Sequence

    from ..aws.bucket import Bucket
    from ..system.documents import RunRecord, StoreAccess
    from .signed_record import SigningKey


# No other instance resumes a run within HEARTBEAT_TIMEOUT_S (run/take_over.py) of the last write of
# its record. An instance that has not written it for this time first checks that it still owns it.
LEASE_S = 30


class Superseded(Exception):
    """Another instance has resumed the run."""


class Fenced:
    """A Bucket whose record this instance writes. `key`: what it is signed with; `attempt`: the
    newest that this instance has begun; `etag` and `version`: the record's, as it was written or
    read last, None where there was none; `fresh`: nobody has told the store of the run before. A
    record that does not bear the run's signature, as one that S3 does not let be read, or is an old
    one, is written over.

    By a form, or by a role that may write only, nothing can be held: then it is the Bucket alone.
    """

    etag: str | None
    version: tuple[int, int]
    since: float | None

    def __init__(
        self,
        bucket: Bucket,
        key: SigningKey,
        *,
        instance: str,
        attempt: int,
        etag: str | None,
        version: Sequence[int] | None,
        fresh: bool,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.bucket, self.key = bucket, key
        self.instance, self.attempt, self.etag = instance, attempt, etag
        self.version = (version[0], version[1]) if version else (0, 0)
        self.clock = clock or boottime
        self.holds = bucket.way == "role"
        # When the record was known to be ours; another has it; a condition was taken once.
        self.since, self.lost, self.proven = self.clock() if fresh else None, False, False
        self.lock = threading.Lock()

    @property
    def way(self) -> str:
        return self.bucket.way

    def renew(self, access: StoreAccess) -> None:
        self.bucket.renew(access)

    def put(self, name: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        # What is named by its content is the same whoever writes it.
        if not name.startswith("part/"):
            self.make_sure()
        self.bucket.put(name, data, content_type=content_type)

    def put_record(self, record: RunRecord) -> None:
        """Writes the record where it is still ours. Superseded."""
        data = self.key.sign(record)
        if not self.holds:
            self.bucket.put(RECORD, data, content_type="application/json")
            return
        with self.lock:
            self._refuse_lost()
            for again in (True, True, False):
                now = self.clock()
                condition = {"If-Match": self.etag} if self.etag else {"If-None-Match": "*"}
                try:
                    self.etag = self.bucket.put(
                        RECORD, data, content_type="application/json", condition=condition
                    )
                    self.since, self.proven = now, self.proven or "If-Match" in condition
                    self.version = version(record)
                    return
                except Failure as failure:
                    if (
                        failure.code == "ACCESS_DENIED"
                        and "If-Match" in condition
                        and not self.proven
                    ):
                        # A condition may need s3:GetObject, which a role can do without.
                        self.bucket.put(RECORD, data, content_type="application/json")
                        self.holds = False
                        return
                    if failure.code != "CHANGED" or not again:
                        raise
                self._read()

    def make_sure(self) -> None:
        """To be called before anything is written. Superseded."""
        if not self.holds:
            return
        with self.lock:
            self._refuse_lost()
            if self.since is None or self.clock() - self.since > LEASE_S:
                self._read()

    def _read(self) -> None:
        now = self.clock()
        try:
            found, record = self.key.read(self.bucket)
        except Failure as failure:
            if failure.code != "ACCESS_DENIED" or self.proven:
                raise
            # The role may only write, as a form may.
            self.holds = False
            return
        if found is None:
            # The next write is the first one again: no other instance's record is overwritten.
            self.etag, self.since = None, now
            return
        if found.etag != self.etag:
            if record is not None and version(record) > self.version and not self._is_ours(record):
                self.lost = True
                raise Superseded()
            self.etag = found.etag
        self.since = now

    def _is_ours(self, record: RunRecord) -> bool:
        return record["instance"] == self.instance and record["attempt"] <= self.attempt

    def _refuse_lost(self) -> None:
        if self.lost:
            raise Superseded()


def boottime() -> float:
    """Seconds that also count while the machine is suspended, where the system can."""
    return (
        time.clock_gettime(time.CLOCK_BOOTTIME)
        if hasattr(time, "CLOCK_BOOTTIME")
        else time.monotonic()
    )
