"""A hold on the turn of a run that waits: the run does not leave the queue meanwhile, so that
another instance can take it over. docs/reference/formats.md, "A waiting run that moves".
"""

from __future__ import annotations

import os
import time

from ..system import atomic_files, boot_clock

# How long a run is held. Its record is not written meanwhile: for less time than a client takes for
# a sign that the run is gone.
HOLD_S = 30
POLL_S = 0.05


def request(run_dir: str) -> bool:
    """Holds the turn of a run; False if it is held already. To be called with the queue locked."""
    hold = {"until": boot_clock.clock() + HOLD_S}
    return atomic_files.write_new_json(path_of(run_dir), hold)


def until(run_dir: str) -> float | None:
    """When the hold ends, by `boot_clock`; None if there is none. After its end, the run is held
    until its reporter has found that no other instance has the run, and has ended the hold.
    """
    hold = atomic_files.read_json(path_of(run_dir))
    return hold["until"] if hold else None


def is_held(run_dir: str) -> bool:
    return os.path.exists(path_of(run_dir))


def end(run_dir: str) -> None:
    try:
        os.unlink(path_of(run_dir))
    except FileNotFoundError:
        pass


def wait_for_end(run_dir: str, timeout_s: float) -> None:
    """Waits until the hold has ended, or the run was found on another instance."""
    deadline = time.monotonic() + timeout_s
    while is_held(run_dir) and time.monotonic() < deadline:
        report = atomic_files.read_object(os.path.join(run_dir, "report.json"))
        if report.get("superseded"):
            return
        time.sleep(POLL_S)


def path_of(run_dir: str) -> str:
    return os.path.join(run_dir, "hold.json")
