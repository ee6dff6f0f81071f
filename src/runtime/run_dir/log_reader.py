"""A piece of a run's log, from an offset on, for a reply."""

from __future__ import annotations

import base64
import os
import zlib

from . import log_trim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    class Piece(TypedDict):
        """`data`: zlib in base64; `size`: how many bytes there are."""

        offset: int
        length: int
        data: str
        size: int


# What a reply may hold of a log, base64: the rest of its 20,000 bytes is the run's state.
REPLY_BYTES = 12000
READ_BYTES = 512 * 1024


def read(home: str, offset: int) -> Piece:
    """{"offset", "length", "data": zlib in base64, "size": bytes that there are}: as much as fits.

    What is not on the disk any more is in the store: it begins behind that."""
    offset = max(offset, log_trim.begin_of(home))
    path = os.path.join(home, "log")
    size = os.path.getsize(path) if os.path.exists(path) else 0
    length, data = 0, ""
    if size > offset:
        with open(path, "rb") as file:
            file.seek(offset)
            piece = file.read(min(size - offset, READ_BYTES))
        # What went while it was read is no log.
        if log_trim.begin_of(home) <= offset:
            length, data = inline(piece, REPLY_BYTES)
    return {"offset": offset, "length": length, "data": data, "size": size}


def inline(data: bytes, limit: int) -> tuple[int, str]:
    """(bytes taken, their zlib in base64): as many as fit."""
    take = len(data)
    while take:
        packed = base64.b64encode(zlib.compress(data[:take], 6)).decode()
        if len(packed) <= limit:
            return take, packed
        take = min(take - 1, int(take * limit / len(packed) * 0.9))
    return 0, ""
