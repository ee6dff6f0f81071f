"""Pieces of a run's logs, from a cursor on: set-up first, then the training."""
import base64
import hashlib
import io
import os
import zlib

from . import fetch

NAMES = ("setup", "training")
# What a reply may hold of logs, base64: the rest of its 20,000 bytes is the run's state.
ROOM = 14000
READ = 512 * 1024


def read(root, state, plan):
    cursor = dict(plan["cursor"])
    home = os.path.join(root, "runs", state["id"])
    segments = []
    room = ROOM
    while True:
        path = os.path.join(home, cursor["log"] + ".log")
        size = os.path.getsize(path) if os.path.exists(path) else 0
        waiting = size - cursor["offset"]
        if waiting > 0:
            with open(path, "rb") as file:
                file.seek(cursor["offset"])
                segment = inline(file.read(min(waiting, READ)), room)
                if plan["overflow"] and waiting > segment[0]:
                    file.seek(cursor["offset"])
                    stored = store(file, min(waiting, plan["overflow"]["limit"]), plan["overflow"])
                    segments.append(dict(log=cursor["log"], offset=cursor["offset"], **stored))
                    cursor["offset"] += stored["length"]
                    break
            if not segment[0]:
                break
            segments.append({"log": cursor["log"], "offset": cursor["offset"], "length": segment[0], "data": segment[1]})
            cursor["offset"] += segment[0]
            room -= len(segment[1])
            continue
        if cursor["log"] == "setup" and (state["state"] in ("running", "ended") or state["outcome"] is not None):
            cursor = {"log": "training", "offset": 0}
            continue
        break
    path = os.path.join(home, cursor["log"] + ".log")
    size = os.path.getsize(path) if os.path.exists(path) else 0
    more = size > cursor["offset"] or (cursor["log"] == "setup" and state["outcome"] is not None)
    return {"segments": segments, "cursor": cursor, "more": more}


def inline(data, room):
    """(bytes taken, their zlib in base64): as many as fit."""
    take = len(data)
    while take:
        packed = base64.b64encode(zlib.compress(data[:take], 6)).decode()
        if len(packed) <= room:
            return take, packed
        take = min(take - 1, int(take * room / len(packed) * 0.9))
    return 0, ""


def store(file, length, overflow):
    data = file.read(length)
    digest = hashlib.sha256(data).hexdigest()
    fetch.upload(overflow["post"], overflow["key"], io.BytesIO(data), len(data), digest)
    return {"length": len(data), "stored": overflow["key"], "sha256": digest}
