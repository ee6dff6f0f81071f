"""The memory that processes use."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable


def resident(pids: Iterable[int]) -> int:
    """The memory, bytes, that processes hold, shared pages counted once at most by the kernel's own
    account (Pss), else by Rss.
    """
    total = 0
    for pid in pids:
        for name, field in (("smaps_rollup", b"Pss:"), ("status", b"VmRSS:")):
            try:
                with open("/proc/%d/%s" % (pid, name), "rb") as file:
                    line = next((each for each in file if each.startswith(field)), None)
            except OSError:
                continue
            if line:
                total += int(line.split()[1]) * 1024
                break
    return total
