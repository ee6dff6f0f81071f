"""What a program prints that a user of the instance chose, a profile or a tool: it may print
without end.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time

READ_BYTES = 1 << 16


def read_output(process: subprocess.Popen[bytes], *, limit: int, timeout: float) -> bytes:
    """The first `limit` bytes that the process prints until it ends; the rest is dropped.

    `timeout`: seconds. Raises TimeoutExpired where it has not ended by then; it is not killed.
    """
    deadline = time.monotonic() + timeout
    stream = process.stdout
    assert stream is not None
    kept: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, timeout)
            if not selector.select(left):
                continue
            block = os.read(stream.fileno(), READ_BYTES)
            if not block:
                break
            if size < limit:
                kept.append(block[: limit - size])
                size += len(kept[-1])
    process.wait(max(0.0, deadline - time.monotonic()))
    return b"".join(kept)
