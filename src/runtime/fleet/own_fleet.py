"""The fleet of this instance's run, and its launch template."""

from __future__ import annotations

import time

from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable

    from .boot_loader import BootDocument
    from .ec2_api import Ec2

# EC2 may not list the tags of a new fleet at once: they are looked for this long, this often.
TAGS_TIMEOUT_S = 60
TAGS_POLL_S = 5.0


class OwnFleet:
    def __init__(
        self, boot: BootDocument, ec2: Ec2, instance: str, *, log: Callable[[str], object]
    ) -> None:
        self.boot, self.ec2, self.instance, self.log = boot, ec2, instance, log
        self.run = boot["run"]["id"]

    def check_deletable(self) -> None:
        """Failure (ACCESS_DENIED) where the instance's role may not delete the fleet."""
        deadline = time.monotonic() + TAGS_TIMEOUT_S
        fleet = self.ec2.own_fleet(self.instance, self.run)
        while not fleet and time.monotonic() < deadline:
            time.sleep(TAGS_POLL_S)
            fleet = self.ec2.own_fleet(self.instance, self.run)
        if fleet:
            self.ec2.may_delete(fleet)

    def rank(self, count: int) -> int:
        """The node of the run, of so many, that this instance is, by a tag of its fleet. Failure
        where EC2 does not tell yet.
        """
        fleet = self.ec2.own_fleet(self.instance, self.run)
        told = self.ec2.node_of(fleet) if fleet else None
        if told is None:
            raise Failure("EC2_FAILED", "EC2 does not tell yet which node %s is" % self.instance)
        if told not in map(str, range(count)):
            raise Failure("NOT_MANAGED", "%r is no node of %d" % (told, count))
        return int(told)

    def delete(self, terminate: bool) -> None:
        """Deletes the launch template first, because a fleet without one launches nothing, then the
        fleet. `terminate`: with its instances.
        """
        self.delete_template()
        self.delete_own(terminate)

    def delete_template(self) -> None:
        template = self.boot["fleet"]["template"]
        if template != "nx-ec2-%s" % self.run:
            raise Failure("NOT_MANAGED", "the launch template %r is not this run's" % template)
        self.ec2.delete_template(template)

    def delete_of_nodes(self, ranks: Iterable[int], terminate: bool) -> None:
        """Deletes the fleets of these nodes of the run. `terminate`: with their instances."""
        wanted = set(map(str, ranks))
        if not wanted:
            return
        for fleet, node in self.ec2.fleets_of(self.run).items():
            if node in wanted:
                self.log("deleting the fleet %s of node %s" % (fleet, node))
                self.ec2.delete_fleet(fleet, terminate)

    def delete_own(self, terminate: bool) -> None:
        fleet = self.ec2.own_fleet(self.instance, self.run)
        if fleet:
            self.log("deleting the fleet %s" % fleet)
            self.ec2.delete_fleet(fleet, terminate)
