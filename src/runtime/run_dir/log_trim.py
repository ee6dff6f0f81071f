"""A log that gives back the disk that its beginning takes, once that is in the store: offsets stay
what they are.
"""

from __future__ import annotations

import ctypes
import os

# What stays on the instance of a log, and how much goes at once, bytes.
KEEP_BYTES = 64 * 1024 * 1024
STEP_BYTES = 64 * 1024 * 1024
# FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE of Linux.
PUNCH_HOLE = 0x01 | 0x02


def begin_of(home: str) -> int:
    """The offset from which on the log is on the disk."""
    try:
        with open(os.path.join(home, "log.hole")) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def write(home: str, begin: int) -> None:
    path = os.path.join(home, "log.hole")
    with open(path + ".new", "w") as file:
        file.write(str(begin))
    os.replace(path + ".new", path)


def give_back(home: str, saved: int) -> None:
    """Frees what lies before the last KEEP bytes of the `saved` ones, where there is enough of it
    and the file system can.
    """
    begin, end = begin_of(home), saved - KEEP_BYTES
    if end - begin < STEP_BYTES:
        return
    end -= end % STEP_BYTES
    # Readers are told before it is gone.
    write(home, end)
    descriptor = os.open(os.path.join(home, "log"), os.O_WRONLY)
    try:
        punch = ctypes.CDLL(None, use_errno=True).fallocate64
        punch.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]
        punch(descriptor, PUNCH_HOLE, begin, end - begin)
    except (OSError, AttributeError):
        # It stays, then.
        pass
    finally:
        os.close(descriptor)
