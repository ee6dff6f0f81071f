"""What runs on an instance, for whoever is about to terminate it."""
import os

from . import activity
from .failure import Failure


def report(plan, root):
    """Lists the runs below `root` that run or are still being saved. NO_ROOT where a keeper must work there and does not: runs may be below another root."""
    if plan["keeper"] and not os.path.exists(os.path.join(root, "keeper", "wish.json")):
        raise Failure("NO_ROOT", "no keeper works in %s" % root, root=root)
    return {"runs": [run.id for run in activity.runs(root) if run.goes_on or run.reports], "syncing": activity.syncing(root)}
