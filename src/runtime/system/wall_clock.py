"""The time of day."""

from __future__ import annotations

import time

from . import boot_clock

# A clock that drifts is not set, ms.
DRIFT_MS = 1000


def now_ms() -> int:
    """Milliseconds since 1970, as documents have times."""
    return int(time.time() * 1000)


class Start:
    """When something began. Its duration is right where the clock was set since."""

    def __init__(self) -> None:
        self.at, self.clock = now_ms(), boot_clock.clock()

    def by(self, end: int) -> int:
        """When it began by the clock as it is set at `end`, which is now; ms since 1970."""
        began = end - int((boot_clock.clock() - self.clock) * 1000)
        return began if abs(began - self.at) > DRIFT_MS else self.at
