"""The credentials of the role: requested once, renewed in time, and used while they are valid."""

import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.aws import credentials, endpoints, signed_requests
from nx_ec2_runtime.aws.metadata import Absent
from nx_ec2_runtime.system.errors import Failure


class Metadata:
    """Hands out credentials that live so many seconds; `broken` answers with a failure, `role` None
    with none.
    """

    def __init__(self, lifetime=3600):
        self.lifetime, self.role, self.broken, self.given, self.code = (
            lifetime,
            "trainer",
            None,
            0,
            "Success",
        )

    def get(self, path):
        if self.broken:
            raise self.broken
        if path.endswith("/"):
            if self.role is None:
                raise Absent(path)
            return self.role + "\n"
        self.given += 1
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.lifetime))
        if self.code != "Success":
            return json.dumps({"Code": self.code, "Message": "no trust"})
        return json.dumps({
            "Code": "Success",
            "AccessKeyId": "ASIA%d" % self.given,
            "SecretAccessKey": "s",
            "Token": "t",
            "Expiration": expires,
        })


class RoleTest(unittest.TestCase):
    def setUp(self):
        self.metadata = Metadata()
        self.role = credentials.Role(self.metadata)

    def refused(self):
        with self.assertRaises(Failure) as raised:
            self.role.credentials()
        self.assertEqual(raised.exception.code, "NO_ROLE")
        return raised.exception

    def test_credentials_are_requested_once(self):
        self.assertEqual([self.role.credentials().key for _ in range(3)], ["ASIA1"] * 3)

    def test_credentials_are_renewed_five_minutes_before_they_expire(self):
        self.role.credentials().expires = time.time() + 301
        self.assertEqual(self.role.credentials().key, "ASIA1")
        self.role.credentials().expires = time.time() + 299
        self.role.asked -= credentials.RETRY_PAUSE_S + 1
        self.assertEqual(self.role.credentials().key, "ASIA2")

    def test_credentials_are_not_requested_repeatedly_if_there_are_no_newer(self):
        self.metadata.lifetime = 200
        self.assertEqual([self.role.credentials().key for _ in range(5)], ["ASIA1"] * 5)

    def test_credentials_are_renewed_at_once_if_aws_calls_them_expired(self):
        first = self.role.credentials()
        self.assertEqual(self.role.credentials(first).key, "ASIA2")
        self.assertEqual(self.role.credentials(first).key, "ASIA2")

    def test_valid_credentials_are_kept_if_the_service_does_not_answer(self):
        kept = self.role.credentials()
        kept.expires = time.time() + 60
        self.role.asked -= credentials.RETRY_PAUSE_S + 1
        self.metadata.broken = Failure("NO_METADATA", "silence", status=0)
        self.assertIs(self.role.credentials(), kept)
        kept.expires = time.time() - 1
        self.role.asked -= credentials.RETRY_PAUSE_S + 1
        self.assertEqual(self.refused().message, "silence")

    def test_there_are_no_credentials_without_a_role(self):
        self.metadata.role = None
        self.assertIn("no role", self.refused().message)

    def test_says_what_is_wrong_with_the_role(self):
        self.metadata.code = "AssumeRoleUnauthorizedAccess"
        self.assertEqual(self.refused().detail["aws"], "AssumeRoleUnauthorizedAccess: no trust")


class SigningTest(unittest.TestCase):
    def test_signs_as_the_published_example(self):
        # "GET Object", of AWS's page on signing by the Authorization header.
        example = credentials.Credentials(
            key="AKIAIOSFODNN7EXAMPLE",
            secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            token=None,
            expires=0,
        )
        now = 1369353600
        headers = signed_requests.sign(
            example,
            service="s3",
            region="us-east-1",
            method="GET",
            url="https://examplebucket.s3.amazonaws.com/test.txt",
            headers={"Range": "bytes=0-9"},
            digest=signed_requests.NONE,
            now=now,
        )
        self.assertEqual(
            headers["Authorization"].rpartition("=")[2],
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        )

    def test_reads_an_error_in_either_protocol(self):
        xml = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>a &lt;b&gt;</Message></Error>"
        self.assertEqual(signed_requests.error_of(xml, {}), ("AccessDenied", "a <b>"))
        self.assertEqual(
            signed_requests.error_of(
                b'{"__type":"com.amazonaws.x#ParameterNotFound","message":"m"}', {}
            ),
            ("ParameterNotFound", "m"),
        )
        self.assertEqual(
            signed_requests.error_of(
                b'{"Message":"m"}', {"x-amzn-ErrorType": "Throttled:http://x"}
            ),
            ("Throttled", "m"),
        )
        self.assertEqual(
            signed_requests.error_of(b"<html>proxy</html>", {}), ("", "<html>proxy</html>")
        )


class EndpointTest(unittest.TestCase):
    def test_the_endpoint_is_the_region_s_or_the_configured_one(self):
        self.assertEqual(
            endpoints.bucket_url("b", "eu-west-1"), "https://b.s3.eu-west-1.amazonaws.com/"
        )
        self.assertEqual(
            endpoints.bucket_url("b.c", "eu-west-1"), "https://s3.eu-west-1.amazonaws.com/b.c/"
        )
        self.assertEqual(
            endpoints.bucket_url("b", "cn-north-1"), "https://b.s3.cn-north-1.amazonaws.com.cn/"
        )
        self.assertEqual(
            endpoints.bucket_url("b", "x", endpoint="http://127.0.0.1:9/", path_style=True),
            "http://127.0.0.1:9/b/",
        )
        self.assertEqual(
            endpoints.bucket_url("b", "x", endpoint="https://s3.example"), "https://b.s3.example/"
        )
        self.assertEqual(
            endpoints.service_url("ssm", "us-gov-west-1"),
            "https://ssm.us-gov-west-1.amazonaws.com/",
        )


if __name__ == "__main__":
    unittest.main()
