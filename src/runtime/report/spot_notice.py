"""The notice that a spot instance gets before it is taken away: looked for, written down, and its
run stopped in time.
"""

from __future__ import annotations

import calendar
import json
import os
import threading
import time

from ..aws.metadata import Absent, Metadata
from ..run_dir import stop_request
from ..system import atomic_files
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


# Between two looks for a notice; while the metadata service does not answer it doubles, up to the
# longest.
POLL_S, MAX_POLL_S = 2.0, 30.0
# What of the notice is left for saving, seconds; of a short one at least two thirds.
SAVING_RESERVE_S = 60
NOTICE = "meta-data/spot/instance-action"


def watch(run_dir: str, grace: float, metadata: Metadata | None = None) -> None:
    """Looks from now on, in a thread of its own, which the metadata service may hold up as long as
    it wants.
    """
    work = (run_dir, grace, metadata or Metadata())
    threading.Thread(target=look_out, args=work, daemon=True).start()


def look_out(
    run_dir: str, grace: float, metadata: Metadata, *, sleep: Callable[[float], object] = time.sleep
):
    """Returns when the run was asked to stop, or on an instance that is no spot instance."""
    if patiently(metadata, "meta-data/instance-life-cycle", sleep) != "spot":
        return
    while True:
        notice = patiently(metadata, NOTICE, sleep)
        if notice is not None:
            return take(run_dir, grace, notice, seen=time.time())
        sleep(POLL_S)


def patiently(metadata: Metadata, path: str, sleep: Callable[[float], object]) -> str | None:
    """The text, None where there is no such thing. It is asked again as long as nobody answers."""
    pause = POLL_S
    while True:
        try:
            return metadata.get(path).strip()
        except Absent:
            return None
        except Failure:
            sleep(pause)
            pause = min(MAX_POLL_S, pause * 2)


def take(run_dir: str, grace: float, notice: str, *, seen: float) -> None:
    """Writes the notice down for the machine, and has the run stopped. `seen`: seconds since the
    epoch.
    """
    try:
        parsed = json.loads(notice)
        action = str(parsed["action"])
        at = float(calendar.timegm(time.strptime(parsed["time"], "%Y-%m-%dT%H:%M:%SZ")))
    except (ValueError, KeyError, TypeError):
        # There is a notice all the same, and two minutes are what AWS gives.
        action, at = "terminate", seen + 120
    root = os.path.dirname(os.path.dirname(run_dir))
    stop_request.ask(run_dir, "interruption", allowed(grace, at - seen))
    atomic_files.write_json(
        os.path.join(root, "interruption.json"),
        {"action": action, "at": int(at * 1000), "seen": int(seen * 1000)},
    )


def allowed(grace: float, left: float) -> float:
    """The seconds that a training gets between SIGTERM and SIGKILL, of those that are left."""
    return max(0, min(grace, max(left - SAVING_RESERVE_S, left / 3.0)))
