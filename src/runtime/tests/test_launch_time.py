"""EC2's clock, as the metadata service answers."""

import http.server
import json
import os
import sys
import threading
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.watchdog import launch_time


class MetadataService(http.server.BaseHTTPRequestHandler):
    date = "Wed, 02 Sep 2026 10:00:30 GMT"

    def do_PUT(self):
        lasts = self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self.answer("token" if self.path == "/latest/api/token" and lasts else None)

    def do_GET(self):
        known = self.headers["X-aws-ec2-metadata-token"] == "token"
        document = {"instanceId": "i-1", "pendingTime": "2026-09-02T09:00:00Z"}
        if not known or self.path != "/latest/dynamic/instance-identity/document":
            document = None
        self.answer(document and json.dumps(document))

    def answer(self, text):
        self.send_response_only(200 if text else 401)
        if self.date:
            self.send_header("Date", self.date)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_):
        pass


class LaunchTimeTest(unittest.TestCase):
    def setUp(self):
        server = http.server.HTTPServer(("127.0.0.1", 0), MetadataService)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = "http://127.0.0.1:%d" % server.server_port
        # A proxy is for other addresses.
        variables = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
            "http_proxy": "http://127.0.0.1:1",
        }
        patch = mock.patch.dict(os.environ, variables)
        patch.start()
        self.addCleanup(patch.stop)

    def test_reads_both_times_from_ec2(self):
        now, launched = launch_time.ask()
        self.assertEqual((now, now - launched), (1788343230, 3630))

    def test_an_answer_without_a_time_is_none(self):
        for date in (None, "some day"):
            with mock.patch.object(MetadataService, "date", date):
                it = launch_time.LaunchTime(launch_time.ask, clock=lambda: 5.0, wall=lambda: 7.0)
                self.assertFalse(it.learn())
                self.assertEqual((it.age(), it.now()), (5.0, 7.0))

    def test_a_launch_is_never_later_than_the_boot(self):
        it = launch_time.LaunchTime(lambda: (1000, 999), clock=lambda: 5.0, wall=lambda: 7.0)
        self.assertTrue(it.learn())
        self.assertEqual((it.age(), it.now()), (5.0, 1000.0))


if __name__ == "__main__":
    unittest.main()
