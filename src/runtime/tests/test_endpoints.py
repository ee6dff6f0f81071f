"""Text from a plan, an ARN or an answer becomes part of a host's name only as the id of a region."""

import os
import sys
import types
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.aws.endpoints import bucket_url, service_url
from nx_ec2_runtime.datasets.listing import locate_bucket
from nx_ec2_runtime.run.secrets import SecretSource
from nx_ec2_runtime.system.errors import Failure

HOSTILE = ("evil.example/x", "evil.example#", "u@evil.example", "a\nb", "EU-west-1", "", "a" * 41)
SPEC = {"store": {"region": "eu-west-1"}, "endpoints": {}}


def source(text):
    return SecretSource("TOKEN", text, spec=SPEC, connections=None)


class EndpointsTest(unittest.TestCase):
    def test_a_host_has_the_id_of_a_region(self):
        self.assertEqual(service_url("ssm", "eu-west-1"), "https://ssm.eu-west-1.amazonaws.com/")
        for region in HOSTILE:
            for url in (lambda: service_url("ssm", region), lambda: bucket_url("b", region)):
                self.assertRaisesRegex(Failure, "is not the id of a region", url)

    def test_the_arn_of_a_secret_has_the_id_of_a_region(self):
        for kind, rest in (("ssm", "parameter/y"), ("secretsmanager", "secret:y")):
            arn = "%s:arn:aws:%s:%s:1:%s"
            url = source(arn % (kind, kind, "us-east-2", rest)).url
            self.assertEqual(url, "https://%s.us-east-2.amazonaws.com/" % kind)
            for region in HOSTILE:
                with self.assertRaises(Failure) as raised:
                    source(arn % (kind, kind, region, rest))
                self.assertEqual(raised.exception.code, "SECRET_FAILED")
                self.assertIn("in place of the id of a region", str(raised.exception))

    def test_a_bucket_is_where_it_was_looked_for_if_its_region_is_none(self):
        asked = []

        def ask(named):
            def answer(_, method, url):
                asked.append(url)
                headers = {"x-amz-bucket-region": named}
                return types.SimpleNamespace(status=301, headers=headers)

            return answer

        for named, last in (("us-east-2", "us-east-2"), ("evil.example/", "eu-west-1")):
            with mock.patch("nx_ec2_runtime.datasets.listing.Service.ask", ask(named)):
                locate_bucket(
                    "s3://data", "data", region="eu-west-1", endpoint=None, connections=None
                )
            self.assertEqual(asked[-1], "https://data.s3.%s.amazonaws.com/" % last)


if __name__ == "__main__":
    unittest.main()
