"""Prints a run's log as it grows, for a session: a line for each piece, its offset and its bytes in
base64. Any Python 3, alone.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time

POLL_S = 0.03
PIECE_BYTES = 32 * 1024
# Whether the run has ended is looked at so often, seconds.
ENDED_POLL_S = 0.5


def follow(home: str, at: int) -> None:
    path = os.path.join(home, "log")
    checked, ended = float("-inf"), False
    while True:
        try:
            # What is not on the disk any more is in the store.
            at = max(at, begin_of(home))
            with open(path, "rb") as file:
                file.seek(at)
                piece = file.read(PIECE_BYTES)
                # What went while it was read is no log.
                while piece and begin_of(home) <= at:
                    sys.stdout.write("%d %s\n" % (at, base64.b64encode(piece).decode()))
                    at += len(piece)
                    piece = file.read(PIECE_BYTES)
            sys.stdout.flush()
        except FileNotFoundError:
            pass
        if ended:
            return
        if time.monotonic() - checked > ENDED_POLL_S:
            checked = time.monotonic()
            try:
                with open(os.path.join(home, "run.json")) as file:
                    # What was written before it said so is taken once more.
                    ended = json.load(file)["state"] == "ended"
            except (OSError, ValueError):
                pass
        time.sleep(POLL_S)


def begin_of(home: str) -> int:
    try:
        with open(os.path.join(home, "log.hole")) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def main() -> None:
    request = json.loads(base64.b64decode(sys.argv[1]).decode())
    follow(request["home"], request["at"])


if __name__ == "__main__":
    main()
