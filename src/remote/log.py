"""A piece of a run's log, from an offset on, for a reply."""
import base64
import os
import zlib

from . import hole

# What a reply may hold of a log, base64: the rest of its 20,000 bytes is the run's state.
ROOM = 12000
READ = 512 * 1024


def read(home, offset):
    """{"offset", "length", "data": zlib in base64, "size": bytes that there are}: as much as fits.

    What is not on the disk any more is in the store: it begins behind that."""
    offset = max(offset, hole.begin_of(home))
    path = os.path.join(home, "log")
    size = os.path.getsize(path) if os.path.exists(path) else 0
    length, data = 0, ""
    if size > offset:
        with open(path, "rb") as file:
            file.seek(offset)
            piece = file.read(min(size - offset, READ))
        # What went while it was read is no log.
        if hole.begin_of(home) <= offset:
            length, data = inline(piece, ROOM)
    return {"offset": offset, "length": length, "data": data, "size": size}


def inline(data, room):
    """(bytes taken, their zlib in base64): as many as fit."""
    take = len(data)
    while take:
        packed = base64.b64encode(zlib.compress(data[:take], 6)).decode()
        if len(packed) <= room:
            return take, packed
        take = min(take - 1, int(take * room / len(packed) * 0.9))
    return 0, ""
