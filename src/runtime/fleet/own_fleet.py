"""The fleet of this instance's run, and its launch template."""

from __future__ import annotations

import time

from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

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

    def delete(self, terminate: bool) -> None:
        """Deletes the launch template first, because a fleet without one launches nothing, then the
        fleet. `terminate`: with its instances.
        """
        fleet = self.ec2.own_fleet(self.instance, self.run)
        template = self.boot["fleet"]["template"]
        if template != "nx-ec2-%s" % self.run:
            raise Failure("NOT_MANAGED", "the launch template %r is not this run's" % template)
        self.ec2.delete_template(template)
        if fleet:
            self.log("deleting the fleet %s" % fleet)
            self.ec2.delete_fleet(fleet, terminate)
