"""An instance deletes only the fleet that launched it, whatever the tags say."""

import os
import sys
import unittest
from xml.sax.saxutils import escape

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.fleet import ec2_api
from nx_ec2_runtime.system.errors import Failure

RUN = "20260101-000000-p-aaaaaa"
INSTANCE = "i-0123456789abcdef0"
FLEET = "fleet-01234567-89ab-cdef-0123-456789abcdef"
OURS = {"nx-ec2:managed": "true", "nx-ec2:run": RUN}


class Answer:
    def __init__(self, body):
        self.status, self.code, self.words, self.body = 200, "", "", body.encode()


class Ec2(ec2_api.Ec2):
    """EC2 as far as its tags go; real EC2 may list more than was asked for, where a filter has a
    wildcard.
    """

    def __init__(self, tags):
        self.known, self.asked = tags, []

    def ask(self, action, values):
        self.asked.append(action)
        rows = "".join(
            "<item><resourceId>%s</resourceId><resourceType>x</resourceType><key>%s</key><value>%s</value></item>"
            % (escape(resource), escape(key), escape(value))
            for resource, tags in self.known.items()
            for key, value in tags.items()
        )
        return Answer(
            '<R xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><tagSet>%s</tagSet></R>' % rows
        )


def own(instance, fleet, **others):
    return Ec2(dict({INSTANCE: instance, FLEET: fleet}, **others)).own_fleet(INSTANCE, RUN)


class OwnFleetTest(unittest.TestCase):
    def test_the_own_fleet_is_the_one_that_launched_the_instance(self):
        self.assertEqual(own({ec2_api.FLEET_ID: FLEET}, OURS), FLEET)

    def test_a_fleet_with_the_run_s_tag_alone_is_not_the_own(self):
        other = "fleet-ffffffff-89ab-cdef-0123-456789abcdef"
        found = Ec2({INSTANCE: {"nx-ec2:run": RUN}, other: OURS}).own_fleet(INSTANCE, RUN)
        self.assertIsNone(found)

    def test_a_fleet_of_another_run_or_an_unmanaged_one_is_not_the_own(self):
        for tags in (
            dict(OURS, **{"nx-ec2:run": RUN[:-1] + "b"}),
            dict(OURS, **{"nx-ec2:managed": "false"}),
            {"Name": "mine"},
        ):
            with self.assertRaises(Failure) as raised:
                own({ec2_api.FLEET_ID: FLEET}, tags)
            self.assertEqual(raised.exception.code, "NOT_MANAGED")

    def test_an_instance_whose_tags_are_not_listed_yet_has_no_fleet(self):
        self.assertIsNone(own({}, OURS))
        self.assertIsNone(own({ec2_api.FLEET_ID: FLEET}, {}))

    def test_the_own_fleet_has_the_shape_of_an_id(self):
        for text in (
            "*",
            "fleet-*",
            FLEET + "\n",
            "arn:aws:ec2:eu-west-1:1:fleet/" + FLEET,
            "fleet-1;rm",
        ):
            asked = Ec2({INSTANCE: {ec2_api.FLEET_ID: text}})
            with self.assertRaises(Failure):
                asked.own_fleet(INSTANCE, RUN)
            self.assertEqual(asked.asked, ["DescribeTags"])


if __name__ == "__main__":
    unittest.main()
