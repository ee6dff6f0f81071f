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


# No other instance resumes a run within LEASE_S (run/take_over.py) of the last write of
# its record. An instance that has not written it for this time first checks that it still owns it.
OWNERSHIP_CHECK_S = 30


class Superseded(Exception):
    """Another instance has resumed the run."""


class Fenced:
    """A Bucket whose record this instance writes. `key`: what it is signed with; `attempt`: the
    newest that this instance has begun; `etag` and `version`: the record's, as it was written or
    read last, None where there was none; `claimed`: the record in the store is this instance's;
    `proven`: the store has taken a write with If-Match, or this instance has read the record. A
    record that does not bear the run's signature, as one that S3 does not let be read, or is an old
    one, is written over.

    Nothing but parts is written before the record is this instance's: of two that have the run, one
    would overwrite what the other has saved. By a form, or by a role that may write only, nothing
    can be held: then it is the Bucket alone.
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
        claimed: bool,
        proven: bool,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.bucket, self.key = bucket, key
        self.instance, self.attempt, self.etag = instance, attempt, etag
        self.version = (version[0], version[1]) if version else (0, 0)
        self.clock = clock or boottime
        self.holds = bucket.way == "role"
        self.claimed, self.proven = claimed, proven
        # When the record was known to be ours; another has it.
        self.since, self.lost = None, False
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
            if self.must_claim():
                raise Failure("CHANGED", "the run's record is written before %s" % name)
        self.bucket.put(name, data, content_type=content_type)

    def must_claim(self) -> bool:
        """Whether the record is to be written before anything else."""
        return self.holds and not self.claimed

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
                    self.since, self.claimed = now, True
                    self.proven = self.proven or "If-Match" in condition
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
            # Without a claim, the condition of the record's next write says whether it is ours.
            if self.claimed and (
                self.since is None or self.clock() - self.since > OWNERSHIP_CHECK_S
            ):
                self._read()

    def look(self) -> None:
        """Finds out now whether the record is still ours. Superseded."""
        with self.lock:
            self._refuse_lost()
            self._read()

    def _read(self) -> None:
        now = self.clock()
        try:
            found, record = self.key.read(self.bucket)
        except Failure as failure:
            if failure.code != "ACCESS_DENIED":
                raise
            if self.proven:
                # It was deleted, or can't be read: a write with If-None-Match shows which.
                self.etag, self.claimed = None, False
            else:
                # The role may only write, as a form may.
                self.holds = False
            return
        etag = found.etag if found else None
        if etag != self.etag:
            is_ours = record is not None and self._is_ours(record)
            if record is not None and version(record) > self.version and not is_ours:
                self.lost = True
                raise Superseded()
            self.etag, self.claimed = etag, is_ours
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
