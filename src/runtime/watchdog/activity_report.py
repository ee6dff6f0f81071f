"""What runs on an instance, for whoever is about to terminate it."""

from __future__ import annotations

import os

from ..system import used_roots
from ..system.errors import Failure
from . import activity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import ActivityOperation, ActivityReply, ActivityReplyQueue


def report(plan: ActivityOperation, root: str) -> ActivityReply:
    """Lists the runs below all roots that run or are still being saved. NO_ROOT where a watchdog
    must work there and does not: runs may be below a root that is not known.
    """
    roots = used_roots.with_used(root)
    configs = [os.path.join(each, "watchdog", "config.json") for each in roots]
    if plan["watchdog"] and not any(map(os.path.exists, configs)):
        raise Failure("NO_ROOT", "no watchdog is running for %s" % root, root=root)
    return {
        "runs": [run.id for run in activity.runs(*roots) if run.is_active or run.reports],
        "syncing": activity.syncing(*roots),
        "queue": queue(root) if plan.get("queue") else None,
    }


def queue(root: str) -> ActivityReplyQueue:
    from ..run.resource_queue import ResourceQueue
    from ..system.gpu_count import count_gpus

    gpus = count_gpus()
    with ResourceQueue(root, gpus) as tickets:
        return {"gpus": gpus, "tickets": [each.describe() for each in tickets.tickets]}
