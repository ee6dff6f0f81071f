"""Which instances are the nodes of an attempt of a run on MIN:MAX nodes with fleets, and which of
its fleets have an instance. Both lie in the store, signed: docs/reference/formats.md, "Runs with a
fleet".
"""

from __future__ import annotations

import os
import time

from ..report.signed_record import SigningKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    from ..aws.bucket import Bucket, Object
    from ..system.documents import RunSpec

MEMBERS = "members.json"
SLOT = "slot/%d.json"
# Between two times that an instance tells of itself, and how long it then counts as present. Less
# than the lease of a record: an instance that is lost with the record of the run is not chosen
# again.
TELL_S = 5.0
PRESENT_S = 40.0


class Members:
    """`instances`: the nodes of the attempt by rank; `joining`: those that are prepared for the
    next one, of the ranks that follow; `lost`: how many attempts before it were lost in a row and
    had saved nothing.
    """

    def __init__(
        self, attempt: int, instances: Sequence[str], *, joining: Sequence[str] = (), lost: int = 0
    ) -> None:
        self.attempt, self.instances, self.lost = attempt, list(instances), lost
        self.joining = list(joining)

    def rank(self, instance: str) -> int | None:
        """None: it is neither a node nor prepared to be one."""
        named = [*self.instances, *self.joining]
        return named.index(instance) if instance in named else None

    def document(self) -> dict[str, Any]:
        return {"v": 1, **vars(self)}


class MembersObject:
    """The object that says which they are. It is replaced by who has read it last."""

    def __init__(self, bucket: Bucket, spec: RunSpec) -> None:
        self.bucket, self.key = bucket, SigningKey(spec).named("members")
        self.found: Object | None = None

    def read(self) -> Members | None:
        """Returns None if no members were written yet, or the object is not this run's."""
        self.found, read = self.key.read(self.bucket, MEMBERS)
        if read is None:
            return None
        document: Any = read
        return Members(
            document["attempt"],
            document["instances"],
            joining=document["joining"],
            lost=document["lost"],
        )

    def write(self, members: Members) -> None:
        """Failure (CHANGED) where another instance was quicker since `read`."""
        found = self.found
        condition = {"If-Match": found.etag} if found else {"If-None-Match": "*"}
        data = self.key.sign(members.document())
        self.bucket.put(MEMBERS, data, content_type="application/json", condition=condition)


class Present:
    """An instance of one of the run's fleets. `is_ready`: it was prepared for the run;
    `is_leaving`: it will be gone soon.
    """

    def __init__(self, slot: int, document: Any) -> None:
        self.slot = slot
        self.instance: str = document["instance"]
        self.is_ready: bool = document["ready"]
        self.is_leaving: bool = document["leaving"]


class Presence:
    """`slot`: the number of this instance's fleet, of so many."""

    def __init__(
        self, bucket: Bucket, spec: RunSpec, instance: str, *, slot: int, count: int
    ) -> None:
        self.bucket, self.key, self.instance = bucket, SigningKey(spec), instance
        self.slot, self.count = slot, count

    def tell(self, ready: bool, leaving: bool) -> None:
        """Says that this instance is there."""
        document = {"v": 1, "instance": self.instance, "ready": ready, "leaving": leaving}
        key = self.key.named("slot/%d" % self.slot)
        self.bucket.put(SLOT % self.slot, key.sign(document), content_type="application/json")

    def read(self) -> list[Present]:
        """The instances that are there, by their fleets."""
        found = [self._of(slot) for slot in range(self.count)]
        return [each for each in found if each]

    def _of(self, slot: int) -> Present | None:
        found, read = self.key.named("slot/%d" % slot).read(self.bucket, SLOT % slot)
        if found is None or read is None or found.age >= PRESENT_S:
            return None
        return Present(slot, read)

    def keep_telling(self, tell: Callable[[], object]) -> int:
        """Calls `tell` every TELL_S in a process of its own, as long as this process lives: it may
        be busy for minutes, with starting an attempt. Returns the id of that process.
        """
        parent = os.getpid()
        child = os.fork()
        if child:
            return child
        try:
            while os.getppid() == parent:
                try:
                    tell()
                except Exception:
                    # The next time may do.
                    pass
                time.sleep(TELL_S)
        finally:
            os._exit(0)
