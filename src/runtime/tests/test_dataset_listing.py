"""What a source in S3 holds, listed."""

import os
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from s3_server import S3, Role

from nx_ec2_runtime.aws import signed_requests
from nx_ec2_runtime.aws.http_pool import Connections
from nx_ec2_runtime.datasets import listing
from nx_ec2_runtime.system.errors import Failure


class Stopped(Exception):
    pass


class DatasetListingTest(unittest.TestCase):
    def setUp(self):
        self.s3 = S3("data/")
        self.addCleanup(self.s3.close)
        self.pages = 0

    def page(self, *_):
        """A full page, and always a next one."""
        self.pages += 1
        listed = "".join(
            "<Contents><Key>data/%06d-%03d</Key><Size>1</Size><ETag>e</ETag></Contents>"
            % (self.pages, number)
            for number in range(1000)
        )
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken>"
        body = "<ListBucketResult>%s%s</ListBucketResult>" % (listed, more % self.pages)
        return 200, body.encode(), {}

    def list(self, progress=lambda: None):
        connections = Connections()
        self.addCleanup(connections.close)
        exists = mock.Mock(return_value=(200, b"", {}))
        with mock.patch.object(self.s3, "list", self.page), mock.patch.object(
            self.s3, "get", exists
        ), mock.patch.object(signed_requests, "instance_role", Role):
            return listing.list_source(
                "s3://bucket/data",
                region="eu-west-1",
                endpoint="http://127.0.0.1:%d" % self.s3.server.server_address[1],
                connections=connections,
                progress=progress,
            )

    def test_ends_after_a_page_where_the_run_is_to_stop(self):
        def progress():
            if self.pages == 3:
                raise Stopped

        with self.assertRaises(Stopped):
            self.list(progress)
        self.assertEqual(self.pages, 3)

    def test_ends_where_there_are_too_many_objects(self):
        with mock.patch.object(listing, "MAX_OBJECTS", 2500), self.assertRaises(Failure) as raised:
            self.list()
        self.assertEqual(raised.exception.code, "DATA_FAILED")
        self.assertEqual(
            raised.exception.message,
            "s3://bucket/data: it holds more than 2500 objects; pack them into archives, or name a "
            "prefix with fewer",
        )
        self.assertEqual(self.pages, 3)

    def test_looks_whether_to_stop_while_it_goes_through_what_it_has(self):
        calls = []
        found = [("data/%d" % number, 1, "e") for number in range(25_000)]
        listing.version_of("bucket", "data/", found, progress=lambda: calls.append(1))
        self.assertEqual(len(calls), 3)


if __name__ == "__main__":
    unittest.main()
