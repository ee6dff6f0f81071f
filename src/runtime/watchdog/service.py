"""Runs the watchdog as a service of the instance: one at a time, restarted if it ends."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import time
import zlib

from ..system import atomic_files, boot_clock, used_roots
from . import launch_time
from .idle import Idle
from .power import InstanceGone, Power
from .watchdog import Watchdog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from ..fleet.boot_loader import WatchdogConfig

DEFAULT_ROOT = "/var/lib/nx-ec2"


def take(path: str, how: int) -> int | Literal[False] | None:
    """A lock, held by the descriptor; None where the disk takes none, False where another process
    has it.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        return False
    return descriptor


def root_of(config: WatchdogConfig) -> str:
    """The configured root; the default one where others than root may write to it, because the
    runtime refuses it then too.
    """
    root = path = os.path.realpath(config["root"] or os.environ.get("NX_EC2_ROOT") or DEFAULT_ROOT)
    while config["root"] and path != "/" and os.geteuid() == 0:
        status = os.stat(path) if os.path.exists(path) else None
        if status and (status.st_uid or 0 < status.st_mode & 0o1022 < 0o1000):
            return DEFAULT_ROOT
        path = os.path.dirname(path)
    return root


def run_watchdog(config: WatchdogConfig) -> None:
    """Watches over the instance. Does not return."""
    root = root_of(config)
    instance = os.environ.get("NX_EC2_LOCAL_INSTANCE")
    since = boot_clock.since()

    def clock() -> float:
        return boot_clock.clock() - since

    # A second watchdog waits here until the first one has ended, and takes over.
    lock = take(os.path.join(root, "watchdog", "lock"), fcntl.LOCK_EX)
    try:
        used_roots.record(root)
    except OSError:
        pass
    try:
        atomic_files.write_json(os.path.join(root, "watchdog", "config.json"), config)
    except OSError:
        pass
    mark = "NX_EC2_LOCAL_INSTANCE=%s" % instance if instance else None
    limit = config["idle"]
    idle = Idle(root, limit, local=mark, clock=clock) if limit is not None else None
    watchdog = Watchdog(
        config,
        root,
        power=Power(os.environ.get("NX_EC2_LOCAL_BIN", "") if instance else None),
        boot=boot_clock.boot(),
        clock=clock,
        wall=time.time,
        launch=launch_time.ask,
        idle=idle,
        lock=lock or None,
    )
    watchdog.restore_state()
    watchdog.run()


def daemonize(config: WatchdogConfig) -> None:
    """Starts the watchdog as a process of its own, which another one restarts if it ends."""
    from ..system.daemonize import detached

    detached(lambda: supervise(config))


def supervise(config: WatchdogConfig) -> None:
    while True:
        child = os.fork()
        if child == 0:
            try:
                run_watchdog(config)
            except InstanceGone:
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] == 0:
            return
        time.sleep(1)


def main(argv: list[str]) -> None:
    config = json.loads(zlib.decompress(base64.b64decode(argv[1])))
    {"keep": run_watchdog, "apart": daemonize}[argv[0]](config)
