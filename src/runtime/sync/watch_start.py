"""Starts the watcher of a tree: docs/reference/formats.md, "watch". A tree has one; a new one ends
the one before.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import re
import signal
import time

from ..system.daemonize import detached
from ..system.errors import Failure
from .tree_lock import OWNER_BYTES, TreeLock, start_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    from ..system.documents import SyncSpec, WatchClient, WatchReply, WatchSpec
    from .watcher import Watcher

    class WatchPlan(TypedDict):
        """What a watch needs of a plan. `signingKey`: base64, kept out of the store."""

        tree: str
        user: str | None
        sync: SyncSpec
        watch: WatchSpec
        signingKey: str


# Seconds that the one before has to end: it may be in the middle of an edit. A tree stands whole
# after any kill.
HANDOVER_TIMEOUT_S = 20
START_TIMEOUT_S = 10


def start(plan: WatchPlan, root: str) -> WatchReply:
    from . import synchronizer
    from .watcher import StopSignals, Watcher

    spec, key = plan["watch"], read_key(plan)
    lock = TreeLock(root, plan["tree"])
    # From here on one that comes after us may ask us to end, and our watcher obeys.
    stop_signals = StopSignals()
    os.makedirs(lock.directory, exist_ok=True)
    place = take(os.path.join(lock.directory, "watch"), spec["client"])
    try:
        with lock:
            result, tree = synchronizer.apply(plan, root, lock.progress)
            tree.close()
        watcher = Watcher(
            root,
            plan["tree"],
            user=plan.get("user"),
            spec=spec,
            key=key,
            stop_signals=stop_signals,
        )
        return {**result, "watch": {"pid": spawn(watcher, place, spec["client"]["id"])}}
    finally:
        # Our hold alone: the watcher has its own.
        os.close(place)


def read_key(plan: WatchPlan) -> bytes:
    try:
        key = base64.b64decode(plan["signingKey"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        key = b""
    ids = (plan["watch"]["watchId"], plan["watch"]["client"]["id"])
    if len(key) != 32 or not all(re.fullmatch("[0-9a-f]{16}", each) for each in ids):
        raise Failure("BAD_PLAN", "the command brings no key for the edits")
    return key


def take(path: str, client: WatchClient) -> int:
    """The descriptor that holds the tree's place of a watcher. Whoever holds it is asked to end,
    and ended at last. A client that starts its watcher again takes no place that another client
    has taken since: its watcher's message about that may not have reached it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    asked, deadline = None, time.monotonic() + HANDOVER_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_held = True
        except BlockingIOError:
            is_held = False
        if client["restart"] and read_place(descriptor).get("client", client["id"]) != client["id"]:
            os.close(descriptor)
            raise Failure("WATCH_SUPERSEDED", "another watch of this tree has started")
        if is_held:
            break
        # A command hands its place to its watcher: then that one is asked.
        holder = read_holder(descriptor)
        if holder is not None and holder != asked:
            send(holder, signal.SIGUSR1)
            asked = holder
        if time.monotonic() > deadline:
            if holder is None or time.monotonic() > deadline + START_TIMEOUT_S:
                os.close(descriptor)
                raise Failure(
                    "BUSY",
                    "another watcher of this tree does not end",
                    owner=str(holder),
                    age=HANDOVER_TIMEOUT_S,
                )
            send(holder, signal.SIGKILL)
        time.sleep(0.02)
    write_holder(descriptor, client["id"])
    return descriptor


def write_holder(descriptor: int, client: str) -> None:
    pid = os.getpid()
    place = {"pid": pid, "start": start_of(pid), "client": client}
    os.pwrite(descriptor, json.dumps(place).encode().ljust(OWNER_BYTES), 0)


def read_place(descriptor: int) -> dict[str, Any]:
    """Who took a place last, even if that process has ended; empty if nobody has."""
    try:
        place: Any = json.loads(os.pread(descriptor, OWNER_BYTES, 0))
        return {"client": place["client"], "pid": place["pid"], "start": place["start"]}
    except (ValueError, KeyError, TypeError):
        return {}


def read_holder(descriptor: int) -> int | None:
    """The process that holds a place, if it is the very one that wrote it down."""
    holder = read_place(descriptor)
    try:
        return holder["pid"] if start_of(holder["pid"]) == holder["start"] else None
    except (KeyError, TypeError):
        return None


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def spawn(watcher: Watcher, place: int, client: str) -> int:
    """Runs the watcher in a session of its own, with nothing of ours but the place that it holds;
    its PID.
    """
    reading, writing = os.pipe()

    def watch() -> None:
        write_holder(place, client)
        # Before anybody knows whom to signal.
        watcher.stop_signals.detached()
        os.write(writing, b"%d" % os.getpid())
        keep_only(place)
        watcher.run()

    detached(watch)
    os.close(writing)
    try:
        pid = os.read(reading, 20)
    finally:
        os.close(reading)
    if not pid:
        raise Failure("INTERNAL", "the watcher did not start")
    return int(pid)


def keep_only(descriptor: int) -> None:
    """Closes whatever else was inherited: locks, and the agent's pipes, which would keep its
    command going.
    """
    last = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, last if 0 < last < 65536 else 65536)
