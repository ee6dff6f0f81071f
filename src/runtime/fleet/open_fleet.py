"""What an instance of a fleet does for its run. The program in the user data calls it."""

from __future__ import annotations

from ..aws.metadata import Metadata
from .ec2_api import Ec2
from .fleet_run import Fleet
from .own_fleet import OwnFleet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .boot_loader import BootDocument, WatchdogConfig


def open_fleet(
    boot: BootDocument, config: WatchdogConfig, root: str, *, log: Callable[[str], object]
) -> Fleet:
    """`boot`: of several nodes, that of the first one."""
    node = boot["run"].get("node")
    if not node:
        return Fleet(boot, config, root, log=log)
    instance = Metadata().get("meta-data/instance-id").strip()
    ec2 = Ec2(boot["fleet"]["region"], boot["fleet"]["endpoint"])
    rank = OwnFleet(boot, ec2, instance, log=log).rank(node["count"])
    if node.get("elastic"):
        from .elastic_fleet import ElasticFleet

        return ElasticFleet(boot, config, root, log=log, slot=rank)
    from .node_fleet import NodeFleet, OtherNodeFleet, of_node

    kind = OtherNodeFleet if rank else NodeFleet
    return kind(of_node(boot, rank), config, root, log=log, first=boot)
