"""How an attempt of a training has ended, on one node or on all."""

from __future__ import annotations

from ..system.wall_clock import now_ms
from .node_stop import is_of_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import RunStateFailure
    from .child_process import Stop
    from .launcher import Rank


class AttemptEnd:
    """How an attempt has ended. `code`: of the training, negative for a signal; `stop`: why the run
    ends; `at`: ms; `is_told`: another node's end had stopped it.

    `is_decided_elsewhere`: the first node decides whether there is another attempt, whose number is
    then `next`; `why`: what has ended this one, None where it was this node's training.
    """

    def __init__(
        self, code: int, failure: RunStateFailure | None, *, stop: Stop | None, rank: Rank | None
    ) -> None:
        self.code, self.failure, self.rank = code, failure, rank
        self.is_told = stop is not None and not is_of_run(stop) and rank is None
        self.stop = stop if is_of_run(stop) else None
        self.at = rank.end if rank else now_ms()
        self.is_decided_elsewhere = False
        self.next: int | None = None
        self.why: str | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the training was stopped, and has not ended by itself."""
        return self.stop is not None or (self.is_told and self.is_decided_elsewhere)
