"""The time of day."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since 1970, as documents have times."""
    return int(time.time() * 1000)
