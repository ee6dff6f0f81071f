"""Asking a run to stop. What comes of the reasons: `failure_cause.STOPPED`."""

from __future__ import annotations

import os

from ..system import atomic_files


def ask(home: str, reason: str, grace: float) -> bool:
    """Asks a run's supervisor to stop it, within `grace` seconds; whether nobody had before, in
    which case theirs holds.
    """
    path = os.path.join(home, "stop.json")
    return atomic_files.write_new_json(path, {"reason": reason, "gracePeriod": grace})
