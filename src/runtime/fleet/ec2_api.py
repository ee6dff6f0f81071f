"""The requests to EC2 that an instance of a fleet sends with its role: the query protocol, signed.

The only module of the runtime that deletes anything in EC2: the instance's own fleet and its launch
template.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree

from ..aws.endpoints import encode, service_url
from ..aws.signed_requests import Service
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from ..aws.credentials import Role
    from ..aws.signed_requests import Answer


VERSION = "2016-11-15"
# What DeleteFleets says of a fleet that is gone, or going.
GONE = {"fleetIdDoesNotExist", "fleetNotInDeletableState"}
# EC2 sets it on what a fleet launches; nobody else can.
FLEET_ID = "aws:ec2:fleet-id"
FLEET = re.compile("fleet-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# The tag of a fleet that says which node of its run it keeps.
NODE = "nx-ec2:node"


class Ec2:
    def __init__(self, region: str, endpoint: str | None = None, role: Role | None = None) -> None:
        self.url = service_url("ec2", region, endpoint)
        self.service = Service("ec2", region, role=role)

    def own_fleet(self, instance: str, run: str) -> str | None:
        """The id of the fleet that EC2 says launched this instance, if it is the run's; None where
        EC2 does not tell yet.

        NOT_MANAGED where it is another's.
        """
        fleet = self.tags(instance).get(FLEET_ID)
        if fleet is None:
            return None
        if not FLEET.fullmatch(fleet):
            raise Failure("NOT_MANAGED", "%r is not the id of a fleet" % fleet)
        tags = self.tags(fleet)
        if not tags:
            return None
        for key, expected in (("nx-ec2:managed", "true"), ("nx-ec2:run", run)):
            if tags.get(key) != expected:
                raise Failure(
                    "NOT_MANAGED",
                    "the fleet %s is not this run's: its tag %s is %r, not %r"
                    % (fleet, key, tags.get(key), expected),
                )
        return fleet

    def node_of(self, fleet: str) -> str | None:
        """What the fleet's tag says which node of its run it keeps; None: it has none."""
        return self.tags(fleet).get(NODE)

    def fleets_of(self, run: str) -> dict[str, str | None]:
        """The fleets that have the tags of the run, also those that were deleted just now, with
        what `node_of` says of each.
        """
        rows = self._tag_rows({"key": "nx-ec2:run", "value": run, "resource-type": "fleet"})
        ids = {row["resourceId"] for row in rows if FLEET.fullmatch(row.get("resourceId", ""))}
        all_tags = {fleet: self.tags(fleet) for fleet in sorted(ids)}
        return {
            fleet: tags.get(NODE)
            for fleet, tags in all_tags.items()
            if (tags.get("nx-ec2:managed"), tags.get("nx-ec2:run")) == ("true", run)
        }

    def tags(self, resource: str) -> dict[str, str]:
        rows = self._tag_rows({"resource-id": resource})
        return {
            row["key"]: row.get("value", "") for row in rows if row.get("resourceId") == resource
        }

    def _tag_rows(self, filters: Mapping[str, str]) -> list[dict[str, str]]:
        values: dict[str, str] = {}
        for number, (name, value) in enumerate(filters.items(), 1):
            values["Filter.%d.Name" % number] = name
            values["Filter.%d.Value.1" % number] = value
        found = self.read("DescribeTags", values)
        return [
            {local(each): each.text or "" for each in item}
            for item in found.iter()
            if local(item) == "item"
        ]

    def may_delete(self, fleet: str) -> None:
        """ACCESS_DENIED where the role may not delete the fleet; nothing is deleted."""
        answer = self.ask(
            "DeleteFleets", {"FleetId.1": fleet, "TerminateInstances": "true", "DryRun": "true"}
        )
        if answer.code != "DryRunOperation":
            raise refused("DeleteFleets", answer)

    def delete_template(self, name: str) -> None:
        answer = self.ask("DeleteLaunchTemplate", {"LaunchTemplateName": name})
        if answer.status != 200 and "NotFound" not in answer.code:
            raise refused("DeleteLaunchTemplate", answer)

    def delete_fleet(self, fleet: str, terminate: bool) -> None:
        """It replaces nothing any more; its instances are terminated, or left to themselves."""
        found = self.read(
            "DeleteFleets",
            {"FleetId.1": fleet, "TerminateInstances": "true" if terminate else "false"},
        )
        failed = [each for each in found.iter() if local(each) == "unsuccessfulFleetDeletionSet"]
        for item in (child for each in failed for child in each):
            words = {local(each): each.text or "" for each in item.iter()}
            if words.get("code") not in GONE:
                aws = "%s: %s" % (words.get("code"), words.get("message"))
                raise Failure(
                    "EC2_FAILED", "the fleet %s can not be deleted: %s" % (fleet, aws), aws=aws
                )

    def read(self, action: str, values: Mapping[str, str]) -> xml.etree.ElementTree.Element:
        answer = self.ask(action, values)
        if answer.status != 200:
            raise refused(action, answer)
        return xml.etree.ElementTree.fromstring(bytes(answer.body))

    def ask(self, action: str, values: Mapping[str, str]) -> Answer:
        values = dict(values, Action=action, Version=VERSION)
        data = "&".join(
            "%s=%s" % (encode(name), encode(value)) for name, value in sorted(values.items())
        )
        return self.service.ask(
            "POST",
            self.url,
            headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
            data=data.encode(),
        )


def local(element: xml.etree.ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def refused(action: str, answer: Answer) -> Failure:
    denied = answer.code == "UnauthorizedOperation"
    return Failure(
        "ACCESS_DENIED" if denied else "EC2_FAILED",
        "ec2:%s: %s" % (action, answer.words),
        status=answer.status,
        aws=answer.words,
        action=action,
    )
