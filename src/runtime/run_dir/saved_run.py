"""Whether the store has all that a run wrote."""

from __future__ import annotations

import os

from ..system import atomic_files


def is_all_saved(run_dir: str) -> bool:
    """Whether a run's reporter has saved all that the run wrote; False as long as it has not said
    so.
    """
    report = atomic_files.read_object(os.path.join(run_dir, "report.json"))
    return report.get("saved") is True and not report.get("unsaved")
