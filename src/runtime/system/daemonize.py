"""What lasts: a process of its own."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def detached(work: Callable[[], object]) -> None:
    """Runs `work` in a process with a session of its own that holds no stream of ours, and returns
    at once.

    It ends with `work`, whose errors are its own to report. Locks and other descriptors are
    inherited.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        work()
    finally:
        os._exit(0)
