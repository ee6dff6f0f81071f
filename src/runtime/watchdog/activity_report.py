"""What runs on an instance, for whoever is about to terminate it."""

from __future__ import annotations

import os

from ..system.errors import Failure
from . import activity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import ActivityOperation, ActivityReply


def report(plan: ActivityOperation, root: str) -> ActivityReply:
    """Lists the runs below `root` that run or are still being saved. NO_ROOT where a watchdog must
    work there and does not: runs may be below another root.
    """
    if plan["watchdog"] and not os.path.exists(os.path.join(root, "watchdog", "config.json")):
        raise Failure("NO_ROOT", "no watchdog is running for %s" % root, root=root)
    return {
        "runs": [run.id for run in activity.runs(root) if run.is_active or run.reports],
        "syncing": activity.syncing(root),
    }
