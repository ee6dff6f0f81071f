"""What an instance of a fleet does for its run. The program in the user data calls it."""

from __future__ import annotations

from .fleet_run import Fleet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .boot_loader import BootDocument, WatchdogConfig


def open_fleet(
    boot: BootDocument, config: WatchdogConfig, root: str, *, log: Callable[[str], object]
) -> Fleet:
    if not boot["run"].get("node"):
        return Fleet(boot, config, root, log=log)
    from .node_fleet import open_node_fleet

    return open_node_fleet(boot, config, root, log=log)
