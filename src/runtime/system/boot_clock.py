"""This boot of the machine: what tells it from others, and how long it lasts."""

from __future__ import annotations

import os
import time


def boot() -> str | None:
    """What tells this boot from others; None where nothing does. A local instance boots more often
    than its machine.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            machine = file.read().strip()
    except OSError:
        machine = None
    local = local_boot()
    return machine if local is None else "%s-%d" % (machine, local)


def clock() -> float:
    """Seconds that nobody sets, since the boot where the system tells them so (Linux), sleep
    included.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def local_boot() -> int | None:
    """When a local instance, whose machine is another's, booted, ms since the epoch; None on a real
    one.
    """
    text = os.environ.get("NX_EC2_LOCAL_BOOT", "")
    return int(text) if text.isdigit() else None


def since() -> float:
    """When the instance booted, by `clock`."""
    launched = local_boot()
    return 0.0 if launched is None else clock() - (time.time() - launched / 1000.0)
