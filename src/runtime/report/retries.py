"""When to try again what the store has refused."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.errors import Failure

# The pause after a failure: the first one, and the longest, as it doubles.
FIRST_RETRY_S = 1
MAX_RETRY_S = 30
# How long is tried again what a run has left that has ended: a client may renew the upload form
# meanwhile, or somebody give the permission.
NEW_FORM_TIMEOUT_S = 600


class Retries:
    """`trouble`: the failure since the last success, and `trouble_since` when the first of them
    occurred, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.trouble_since: float | None = None
        self.pause_s, self.due = FIRST_RETRY_S, 0.0

    def is_due(self) -> bool:
        return time.monotonic() >= self.due

    def succeeded(self) -> None:
        self.trouble, self.trouble_since, self.pause_s = None, None, FIRST_RETRY_S

    def failed(self, failure: Failure) -> None:
        if self.trouble is None:
            self.trouble_since = time.monotonic()
        self.trouble = failure.with_aws()
        self.due = time.monotonic() + self.pause_s
        self.pause_s = min(MAX_RETRY_S, self.pause_s * 2)

    def have_failed_for(self, seconds: float, since: float) -> bool:
        """Whether each try has failed for more than `seconds`, which count from `since` at the
        earliest.
        """
        if self.trouble is None:
            return False
        return time.monotonic() - max(since, self.trouble_since or 0.0) > seconds
