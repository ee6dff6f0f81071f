"""Terminates expired instances and fleets of nx-ec2: for an instance whose kernel hangs, and which so can't end itself.

Systems Manager runs `handler` every few minutes, by a role that may end what carries our tag and nothing else.
"""
import time

import boto3

GRACE = 15 * 60  # s: an instance ends itself first, and saves what it has before
MANAGED = "nx-ec2:managed"
LASTING = ("submitted", "active", "modifying")


def handler(events, context):
    """{"fleets", "instances": ids of what was ended, "unreadable": of what says no time that can be read}.

    Raises RuntimeError at the end where something could not be ended."""
    ec2 = boto3.client("ec2")
    now = time.time()
    told = {"fleets": [], "instances": [], "unreadable": []}
    failed = []
    # Fleets first: they would put another instance in the place of one that is ended.
    for fleet in pages(ec2, "describe_fleets", "Fleets"):
        if fleet["FleetState"] in LASTING:
            look(fleet["FleetId"], fleet, None, now, lambda name, _: delete(ec2, name), told, "fleets", failed)
    wanted = [{"Name": "tag:" + MANAGED, "Values": ["true"]}, {"Name": "instance-state-name", "Values": ["pending", "running", "stopping"]}]
    for reservation in pages(ec2, "describe_instances", "Reservations", Filters=wanted):
        for instance in reservation["Instances"]:
            launched = instance["LaunchTime"].timestamp()
            look(instance["InstanceId"], instance, launched, now, lambda name, tags: end(ec2, name, tags), told, "instances", failed)
    if failed:
        raise RuntimeError("not ended: " + "; ".join(failed))
    return told


def look(name, thing, launched, now, act, told, kind, failed):
    """Ends one thing if its time is over; what goes wrong with one keeps nothing from the others."""
    tags = {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}
    if tags.get(MANAGED) != "true":
        return
    try:
        ends = end_of(tags, launched)
    except ValueError:
        told["unreadable"].append(name)
        return
    if ends is None or now < ends + GRACE:
        return
    try:
        act(name, tags)
        told[kind].append(name)
    except Exception as error:
        failed.append("%s: %s" % (name, error))


def end_of(tags, launched):
    """When it should have ended, s since the epoch: whatever comes first; None where nothing says so."""
    ends = []
    if "nx-ec2:deadline" in tags:
        ends.append(int(tags["nx-ec2:deadline"]) / 1000)
    if "nx-ec2:lifetime" in tags and launched is not None:
        ends.append(launched + int(tags["nx-ec2:lifetime"]))
    return min(ends) if ends else None


def end(ec2, name, tags):
    if tags.get("nx-ec2:finish", "").startswith("stop"):
        ec2.stop_instances(InstanceIds=[name], Force=True)
    else:
        ec2.terminate_instances(InstanceIds=[name])


def delete(ec2, name):
    answer = ec2.delete_fleets(FleetIds=[name], TerminateInstances=True)
    for each in answer["UnsuccessfulFleetDeletions"]:
        raise RuntimeError("%(Code)s: %(Message)s" % each["Error"])


def pages(ec2, action, what, **asked):
    while True:
        answer = getattr(ec2, action)(**asked)
        for each in answer[what]:
            yield each
        if not answer.get("NextToken"):
            return
        asked["NextToken"] = answer["NextToken"]
