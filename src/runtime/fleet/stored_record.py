"""The record of a fleet's run in the store: read, and written where a run ends without an
attempt.
"""

from __future__ import annotations

import time

from ..aws.signed_requests import Unreadable
from ..report.signed_record import RECORD as RECORD_NAME
from ..report.signed_record import SigningKey, version
from ..system.errors import Failure
from .ended_record import ended_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..aws.bucket import Bucket, Object
    from ..system.documents import (
        FailedNode,
        Outcome,
        RunRecord,
        RunRecordFailure,
        RunRecordStop,
    )
    from .boot_loader import BootDocument

MAX_STOP_BYTES = 1024 * 1024
WRITTEN_AFTER_RECORD = ("log/", "checkpoint/")


class StoredRecord:
    def __init__(self, boot: BootDocument, bucket: Bucket, instance: str) -> None:
        self.boot, self.bucket, self.instance = boot, bucket, instance
        self.key = SigningKey(boot["run"])
        # The version of the newest record that was read.
        self.seen = (0, 0)

    def read(self) -> tuple[Object | None, RunRecord | None]:
        """(found, record): None for a record that does not bear the run's signature, as one that S3
        does not let be read, or is older than one that was read before.

        ACCESS_DENIED where it can't be seen whether the store has a record.
        """
        found, record = self.key.read(self.bucket)
        if record is not None:
            if version(record) < self.seen:
                return found, None
            self.seen = version(record)
        return found, record

    def is_deleted(self) -> bool:
        """Whether the run has begun although the store has no record of it: an attempt writes its
        log and its checkpoints after its record. A role that may not list can't resume a run
        either: False.
        """
        try:
            return any(self.bucket.holds(each) for each in WRITTEN_AFTER_RECORD)
        except Failure as failure:
            if failure.code != "ACCESS_DENIED":
                raise
            return False

    def is_stop_requested(self) -> bool:
        """Whether a client has stopped the run: whoever writes something else there has not."""
        try:
            return self.key.is_stop(self.bucket.get("stop", limit=MAX_STOP_BYTES))
        except Unreadable:
            return False

    def end(
        self,
        found: Object | None,
        before: RunRecord | None,
        outcome: Outcome,
        *,
        failure: RunRecordFailure | None = None,
        stop: RunRecordStop | None = None,
        node: FailedNode | None = None,
    ) -> None:
        """Writes that the run has ended. `found`: the object that is replaced; `before`: the record
        in it, None if it is not the run's; `node`: the one that has ended it.
        """
        whole = ended_record(
            self.boot, self.instance, outcome, before=before, failure=failure, stop=stop
        )
        if before is None:
            # The heartbeat of a record that the run may have had is not known: this one is larger.
            whole["heartbeat"] = int(time.time())
        if node:
            whole["failedNode"] = node
        condition = {"If-Match": found.etag} if found else {"If-None-Match": "*"}
        self.bucket.put(
            RECORD_NAME, self.key.sign(whole), content_type="application/json", condition=condition
        )
