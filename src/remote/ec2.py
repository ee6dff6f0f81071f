"""What of EC2 an instance of a fleet asks for, by its role: the query protocol, signed."""
import xml.etree.ElementTree

from .endpoints import encode, service_url
from .failure import Failure
from .signing import Service

VERSION = "2016-11-15"
# What DeleteFleets says of a fleet that is gone, or going.
GONE = {"fleetIdDoesNotExist", "fleetNotInDeletableState"}


class Ec2:
    def __init__(self, region, endpoint=None, role=None):
        self.url = service_url("ec2", region, endpoint)
        self.service = Service("ec2", region, role)

    def fleets_of(self, run):
        """The ids of the run's fleets, by their tag."""
        filters = {"resource-type": "fleet", "key": "nx-ec2:run", "value": run}
        values = {}
        for number, (name, value) in enumerate(filters.items(), 1):
            values["Filter.%d.Name" % number] = name
            values["Filter.%d.Value.1" % number] = value
        found = self.read("DescribeTags", values)
        return [each.text for each in found.iter() if local(each) == "resourceId"]

    def may_delete(self, fleet):
        """ACCESS_DENIED where the role may not delete the fleet; nothing is deleted."""
        answer = self.ask("DeleteFleets", {"FleetId.1": fleet, "TerminateInstances": "true", "DryRun": "true"})
        if answer.code != "DryRunOperation":
            raise refused("DeleteFleets", answer)

    def delete_template(self, name):
        answer = self.ask("DeleteLaunchTemplate", {"LaunchTemplateName": name})
        if answer.status != 200 and "NotFound" not in answer.code:
            raise refused("DeleteLaunchTemplate", answer)

    def delete_fleet(self, fleet, terminate):
        """It replaces nothing any more; its instances are terminated, or left to themselves."""
        found = self.read("DeleteFleets", {"FleetId.1": fleet, "TerminateInstances": "true" if terminate else "false"})
        failed = [each for each in found.iter() if local(each) == "unsuccessfulFleetDeletionSet"]
        for item in (child for each in failed for child in each):
            words = {local(each): each.text or "" for each in item.iter()}
            if words.get("code") not in GONE:
                aws = "%s: %s" % (words.get("code"), words.get("message"))
                raise Failure("EC2_FAILED", "the fleet %s can not be deleted: %s" % (fleet, aws), aws=aws)

    def read(self, action, values):
        answer = self.ask(action, values)
        if answer.status != 200:
            raise refused(action, answer)
        return xml.etree.ElementTree.fromstring(bytes(answer.body))

    def ask(self, action, values):
        values = dict(values, Action=action, Version=VERSION)
        data = "&".join("%s=%s" % (encode(name), encode(value)) for name, value in sorted(values.items()))
        return self.service.ask("POST", self.url, {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, data.encode())


def local(element):
    return element.tag.rpartition("}")[2]


def refused(action, answer):
    denied = answer.code == "UnauthorizedOperation"
    return Failure("ACCESS_DENIED" if denied else "EC2_FAILED", "ec2:%s: %s" % (action, answer.words), status=answer.status, aws=answer.words, action=action)
