"""Where the long-lived processes of a run write down errors of their own."""

from __future__ import annotations

import os
import traceback


def log_crash(home: str) -> None:
    """Appends the exception that is being handled to the run directory's `supervisor.log`."""
    with open(os.path.join(home, "supervisor.log"), "a") as file:
        traceback.print_exc(file=file)
