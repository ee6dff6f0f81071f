"""How a run writes to the store: by the role or by the upload form, as the server allows."""

import http.server
import os
import sys
import threading
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import s3_server
from s3_server import S3, Role

from nx_ec2_runtime.aws import signed_requests
from nx_ec2_runtime.aws.bucket import open_bucket, refusal
from nx_ec2_runtime.aws.http_pool import Connections
from nx_ec2_runtime.run.training_variables import in_local_instance
from nx_ec2_runtime.system.errors import Failure


class Server:
    """An S3 server that answers the role as `answer(headers)` says, (status, code), and takes
    forms.
    """

    def __init__(self, answer):
        self.puts = 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                server.puts += 1
                self.answer(*answer(self.headers))

            def do_POST(self):
                server.form = self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(204, "")

            def answer(self, status, code):
                body = (
                    ("<Error><Code>%s</Code><Message>words</Message></Error>" % code).encode()
                    if code
                    else b""
                )
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", '"1"')
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]

    def access(self, way="auto", form=True):
        post = {"url": self.url + "/bucket", "fields": {"key": "run/${filename}"}} if form else None
        return {
            "access": way,
            "bucket": "bucket",
            "region": "eu-west-1",
            "endpoint": self.url,
            "pathStyle": True,
            "owner": None,
            "kms": None,
            "prefix": "run/",
            "post": post,
        }

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class OpenBucketTest(unittest.TestCase):
    def open(self, answer, **access):
        server = self.server = Server(answer)
        self.addCleanup(server.close)
        with mock.patch.object(signed_requests, "instance_role", Role), mock.patch.object(
            signed_requests, "RETRY_PAUSE_S", 0
        ):
            connections = Connections()
            self.addCleanup(connections.close)
            return open_bucket(server.access(**access), connections)

    def test_a_server_that_lacks_conditional_writes_gets_the_form(self):
        bucket = self.open(
            lambda headers: (501, "NotImplemented") if "If-None-Match" in headers else (200, "")
        )
        self.assertEqual(bucket.way, "presigned")
        # The same answer comes to each try.
        self.assertEqual(self.server.puts, 1)
        bucket.put("record.json", b"the end of the run")
        self.assertIn(b"the end of the run", self.server.form)

    def test_a_server_that_lacks_checksums_gets_the_form(self):
        self.assertEqual(
            self.open(
                lambda headers: (
                    (501, "NotImplemented") if "x-amz-checksum-sha256" in headers else (200, "")
                )
            ).way,
            "presigned",
        )

    def test_the_role_writes_whether_the_probe_is_there_already_or_not(self):
        for status, code in ((200, ""), (412, "PreconditionFailed")):
            with self.subTest(status):
                self.assertEqual(
                    self.open(
                        lambda headers: (status, code) if "If-None-Match" in headers else (501, "")
                    ).way,
                    "role",
                )

    def test_a_server_that_fails_is_not_tried_by_the_form(self):
        with self.assertRaises(Failure) as raised:
            self.open(lambda headers: (500, "InternalError"))
        self.assertEqual(raised.exception.code, "UPLOAD_FAILED")
        self.assertEqual(self.server.puts, signed_requests.MAX_TRIES)

    def test_without_an_upload_form_a_server_that_lacks_a_feature_is_a_failure(self):
        for access in ({"way": "role"}, {"form": False}):
            with self.subTest(access), self.assertRaises(Failure) as raised:
                self.open(lambda headers: (501, "NotImplemented"), **access)
            self.assertEqual(
                (raised.exception.code, raised.exception.detail["status"]), ("UPLOAD_FAILED", 501)
            )

    def test_an_unknown_access_key_is_not_reported_as_a_missing_permission(self):
        for code, expected in (
            ("InvalidAccessKeyId", "KEY_REFUSED"),
            ("SignatureDoesNotMatch", "KEY_REFUSED"),
            ("AccessDenied", "ACCESS_DENIED"),
        ):
            with self.subTest(code):
                self.assertEqual(self.open(lambda headers: (403, code)).way, "presigned")
                with self.assertRaises(Failure) as raised:
                    self.open(lambda headers: (403, code), way="role")
                self.assertEqual(raised.exception.code, expected)
                self.assertEqual(raised.exception.with_aws().count("words"), 1)

    def test_a_locked_object_is_not_reported_as_a_missing_permission(self):
        words = b"<Error><Code>AccessDenied</Code><Message>Access Denied because object protected by object lock.</Message></Error>"
        self.assertEqual(refusal(signed_requests.Answer(403, {}, words)), "OBJECT_LOCKED")


class ReadTest(unittest.TestCase):
    """Who may write to the bucket can write objects that the role can't read."""

    def setUp(self):
        self.s3 = S3()
        self.addCleanup(self.s3.close)
        self.bucket = self.s3.bucket()

    def test_an_object_that_s3_does_not_let_be_read_is_found_with_its_etag_and_age(self):
        for kind, (refused, _) in s3_server.KINDS.items():
            with self.subTest(kind):
                self.s3.overwrite("record.json", b"x", kind)
                self.s3.overwrite("record.json.more", b"x")
                self.s3.ahead += 70
                found = self.bucket.read("record.json", cut=True)
                self.assertEqual((found.data, found.etag), (b"", self.s3.objects["record.json"][1]))
                self.assertTrue(found.refused.startswith(refused[1]), found.refused)
                self.assertAlmostEqual(found.age, 70, delta=2)

    def test_without_permission_to_list_an_archived_object_is_found_by_its_headers(self):
        self.s3.denied = {"list"}
        self.s3.overwrite("record.json", b"x", "archived")
        found = self.bucket.read("record.json")
        self.assertEqual(
            (found.data, found.etag, found.refused[:18]),
            (b"", self.s3.objects["record.json"][1], "InvalidObjectState"),
        )

    def test_an_object_that_is_not_there_is_none_whatever_s3_answers_for_it(self):
        self.assertIsNone(self.bucket.read("record.json"))
        self.s3.overwrite("record.json.more", b"x")
        self.s3.denied = {"missing"}
        self.assertIsNone(self.bucket.read("record.json"))

    def test_a_role_that_may_neither_read_nor_list_can_not_see_whether_an_object_is_there(self):
        for denied in ({"get", "list"}, {"list"}):
            self.s3.denied = denied
            with self.subTest(denied), self.assertRaises(Failure) as raised:
                self.bucket.read("record.json")
            self.assertEqual(raised.exception.code, "ACCESS_DENIED")
            self.assertIn("s3:ListBucket on b for that prefix", raised.exception.detail["fix"])

    def test_an_object_that_the_role_may_not_read_is_not_taken_for_absent(self):
        self.s3.overwrite("checkpoint/1.json", b"x")
        for denied in ({"get"}, {"get", "list"}):
            self.s3.denied = denied
            with self.subTest(denied), self.assertRaises(Failure) as raised:
                self.bucket.get("checkpoint/1.json")
            detail = raised.exception.detail
            self.assertEqual(
                (raised.exception.code, detail["aws"]),
                ("ACCESS_DENIED", "AccessDenied: Access Denied"),
            )
            self.assertIn("allow s3:GetObject on b/", detail["fix"])

    def test_a_denied_object_that_is_not_listed_or_whose_list_is_denied_is_absent(self):
        self.s3.denied = {"missing"}
        self.assertIsNone(self.bucket.get("checkpoint/1.json"))
        # As S3 says it of an object that does not exist.
        words = "User: role is not authorized to perform: s3:ListBucket on resource: b"
        self.s3.denied = {"list"}
        answer = s3_server.error(403, "AccessDenied", words)
        with mock.patch.object(self.s3, "get", lambda name, head=False: answer):
            self.assertIsNone(self.bucket.get("checkpoint/1.json"))

    def test_an_answer_that_is_no_list_or_does_not_go_on_is_an_error(self):
        page = (
            "<ListBucketResult><Contents><Key>k</Key><Size>1</Size></Contents>%s</ListBucketResult>"
        )
        cut, token = (
            "<IsTruncated>true</IsTruncated>",
            "<NextContinuationToken>t%s</NextContinuationToken>",
        )
        for kind, body in {
            "nothing": "",
            "no list": "<html/>",
            "no next page": page % cut,
            "the same page": page % (cut + token),
        }.items():
            answers = mock.Mock(return_value=(200, body.encode(), {}))
            with self.subTest(kind), mock.patch.object(self.s3, "list", answers):
                with self.assertRaises(Failure) as raised:
                    self.bucket.list()
                self.assertEqual(raised.exception.code, "FETCH_FAILED")
                self.assertLessEqual(answers.call_count, 2)

    def test_a_list_whose_pages_hold_nothing_new_and_do_not_end_is_an_error(self):
        listed = "<Contents><Key>run/k</Key><Size>1</Size></Contents>"
        for kind, objects in {"empty": "", "the same": listed}.items():
            pages = []

            def answer(*_, objects=objects, pages=pages):
                pages.append(
                    "<ListBucketResult>%s<IsTruncated>true</IsTruncated>"
                    "<NextContinuationToken>t%d</NextContinuationToken></ListBucketResult>"
                    % (objects, len(pages))
                )
                return 200, pages[-1].encode(), {}

            with self.subTest(kind), mock.patch.object(self.s3, "list", answer):
                with self.assertRaises(Failure) as raised:
                    self.bucket.list()
                self.assertEqual(raised.exception.code, "FETCH_FAILED")
                self.assertIn("200 pages that hold no new key", raised.exception.message)
                self.assertEqual(len(pages), 201 if objects else 200)

    def test_a_list_may_have_empty_pages_between_others(self):
        numbers = iter(range(500))

        def answer(*_):
            number = next(numbers)
            listed = "<Contents><Key>run/%03d</Key><Size>%d</Size></Contents>" % (number, number)
            more = (
                "<IsTruncated>true</IsTruncated><NextContinuationToken>t%d</NextContinuationToken>"
            )
            body = (listed if number % 100 == 99 else "") + (more % number if number < 499 else "")
            return 200, ("<ListBucketResult>%s</ListBucketResult>" % body).encode(), {}

        with mock.patch.object(self.s3, "list", answer):
            self.assertEqual([size for _, size in self.bucket.list()], [99, 199, 299, 399, 499])

    def test_refused_credentials_do_not_make_an_object_unreadable(self):
        answer = signed_requests.Answer
        for status, code in ((403, "InvalidAccessKeyId"), (400, "ExpiredToken"), (503, "SlowDown")):
            body = ("<Error><Code>%s</Code></Error>" % code).encode()
            with self.subTest(code), mock.patch.object(
                self.bucket.service, "ask", lambda *_, **__: answer(status, {}, body)
            ), self.assertRaises(Failure) as raised:
                self.bucket.read("record.json")
            self.assertEqual(raised.exception.code, "FETCH_FAILED")
            self.assertNotIsInstance(raised.exception, signed_requests.Unreadable)

    def test_the_bytes_of_an_unreadable_or_too_large_object_are_a_failure_of_its_own(self):
        for kind in s3_server.KINDS:
            self.s3.overwrite("stop", b"x", kind)
            with self.subTest(kind), self.assertRaises(signed_requests.Unreadable):
                self.bucket.get("stop")
        self.s3.overwrite("stop", b"x" * 11)
        with self.assertRaises(signed_requests.Unreadable) as raised:
            self.bucket.get("stop", limit=10)
        self.assertEqual(raised.exception.code, "LIMIT")


class LocalInstanceTest(unittest.TestCase):
    def test_programs_of_a_local_instance_reach_local_aws_unless_the_user_says_otherwise(self):
        here = {
            "NX_EC2_LOCAL_INSTANCE": "i-1",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://imds",
            "AWS_ENDPOINT_URL": "http://local",
            "AWS_REGION": "eu-west-1",
            "AWS_SECRET_ACCESS_KEY": "never",
        }
        told = {
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://other",
            "EPOCHS": "3",
        }
        self.assertEqual(
            in_local_instance(told, here),
            {
                "NX_EC2_LOCAL_INSTANCE": "i-1",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://imds",
                "AWS_ENDPOINT_URL": "http://local",
                "AWS_REGION": "us-east-1",
                "EPOCHS": "3",
            },
        )

    def test_on_ec2_no_variable_of_the_agent_is_passed_on(self):
        self.assertEqual(
            in_local_instance(
                {"EPOCHS": "3"}, {"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "http://x"}
            ),
            {"EPOCHS": "3"},
        )


if __name__ == "__main__":
    unittest.main()
