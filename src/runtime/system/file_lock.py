"""Locks that live as long as the process that holds them."""

from __future__ import annotations

import fcntl
import os


def held(path: str) -> bool:
    """Whether some living process holds the flock on a file; false where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)
