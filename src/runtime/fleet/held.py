"""The sign that an instance of a fleet waits for its turn in the run: watchdog/activity.py."""

from __future__ import annotations

import fcntl
import os


class Held:
    """A lock that this process holds while it waits; processes that it starts do not wait."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor: int | None = None

    def take(self) -> None:
        if self.descriptor is None:
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_SH)

    def free(self) -> None:
        if self.descriptor is not None:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            os.close(self.descriptor)
            self.descriptor = None
