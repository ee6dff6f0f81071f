"""What runs on an instance, for whoever is about to terminate it."""
import os

from ..system.errors import Failure
from . import activity


def report(plan, root):
    """Lists the runs below `root` that run or are still being saved. NO_ROOT where a watchdog must work there and does not: runs may be below another root."""
    if plan["watchdog"] and not os.path.exists(os.path.join(root, "watchdog", "config.json")):
        raise Failure("NO_ROOT", "no watchdog works in %s" % root, root=root)
    return {"runs": [run.id for run in activity.runs(root) if run.goes_on or run.reports], "syncing": activity.syncing(root)}
