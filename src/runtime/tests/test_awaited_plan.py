"""A command that waits for its plan: it takes its own, and without it changes nothing."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
import unittest
import zlib
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bootstrap
import test_sync  # noqa: F401  (puts the runtime on the path)
from store import inline, plan, read_tree
from test_boot import sealed
from test_compiled_code import imported

from nx_ec2_runtime.aws import awaited_plan
from nx_ec2_runtime.system.errors import Failure

RUNTIME = bootstrap.packed()
NAME = hashlib.sha256(RUNTIME).hexdigest()
KEY = bytes(range(32))
FILES = {b"a": b"1", b"d/b": b"2"}


def seal(wanted, runtime=NAME, key=KEY, tree=None):
    """As the client seals it."""
    purpose = "nx-ec2 awaited plan 1\n%s\n%s" % (runtime, tree or wanted["tree"])
    by = hmac.new(key, purpose.encode(), "sha256").digest()
    return sealed(zlib.compress(json.dumps(wanted).encode()), by)


class Bucket:
    """`answers`: what each GET gets, the last one all further ones: bytes, or a status."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0
        bucket = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                answer = bucket.answers[min(bucket.asked, len(bucket.answers) - 1)]
                bucket.asked += 1
                self.send_response(200 if isinstance(answer, bytes) else answer)
                body = answer if isinstance(answer, bytes) else b"<Error/>"
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = "http://127.0.0.1:%d/bucket/plan?X-Amz-Signature=1" % self.server.server_port

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def trickle(server, text):
    """Answers one connection with a text, and then with a byte now and then, without an end."""
    wire, _ = server.accept()
    with wire:
        try:
            wire.sendall(text)
            while True:
                if text:
                    wire.sendall(b"x")
                time.sleep(0.1)
        except OSError:
            pass


class AwaitedPlanTest(unittest.TestCase):
    def setUp(self):
        self.root = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        os.chmod(self.root, 0o755)
        os.makedirs(os.path.join(self.root, "runtime"))
        with open(os.path.join(self.root, "runtime", NAME), "wb") as file:
            file.write(RUNTIME)
        self.plan = dict(
            plan(FILES, inline=inline(FILES)),
            root=self.root,
            runtime={"url": "http://127.0.0.1:9/"},
        )

    def bucket(self, *answers):
        bucket = Bucket(*answers)
        self.addCleanup(bucket.close)
        return bucket

    def spec(self, bucket, **other):
        key = base64.b64encode(KEY).decode()
        tree = self.plan["tree"]
        spec = {"url": bucket.url, "key": key, "seconds": 0.3, "tree": tree, "root": self.root}
        return dict(spec, **other)

    def command(self, bucket, **other):
        """The reply of a command that waits."""
        request = {"v": 1, "runtime": NAME, "await": self.spec(bucket, **other)}
        return bootstrap.run(request)[0]

    def assert_no_effect(self, reply, message):
        self.assertEqual((reply["ok"], reply["error"]["code"]), (False, "NO_PLAN"), reply)
        self.assertIn(message, reply["error"]["message"])
        self.assertEqual(os.listdir(self.root), ["runtime"])

    def test_the_plan_is_carried_out_when_it_has_come(self):
        bucket = self.bucket(404, 403, 503, seal(self.plan))
        reply = self.command(bucket, seconds=10)
        self.assertTrue(reply["ok"], reply)
        self.assertEqual(read_tree(self.root), FILES)
        self.assertEqual(bucket.asked, 4)

    def test_without_a_plan_it_ends_in_time_and_changes_nothing(self):
        before = time.monotonic()
        reply = self.command(self.bucket(404))
        self.assert_no_effect(reply, "no plan has followed the command within 0.3 s")
        self.assertLess(time.monotonic() - before, 20)

    def test_an_endpoint_that_does_not_answer_is_no_plan(self):
        bucket = Bucket(404)
        bucket.close()
        self.assert_no_effect(self.command(bucket), "no plan has followed")

    def test_an_endpoint_that_accepts_and_says_nothing_or_little_is_no_plan(self):
        for text in (b"", b"HTTP/1.1 200 OK\r\n"):
            with socket.create_server(("127.0.0.1", 0)) as silent, self.subTest(text):
                threading.Thread(target=trickle, args=(silent, text), daemon=True).start()
                bucket = mock.Mock(url="http://127.0.0.1:%d/a" % silent.getsockname()[1])
                before = time.monotonic()
                self.assert_no_effect(self.command(bucket), "within 0.3 s")
                self.assertLess(time.monotonic() - before, 20)

    def test_one_that_is_not_sealed_for_this_command_is_not_carried_out(self):
        other = dict(self.plan, tree="other")
        for name, answer in {
            "plain": zlib.compress(json.dumps(self.plan).encode()),
            "empty": b"",
            "of another command": seal(self.plan, key=bytes(32)),
            "for another runtime": seal(self.plan, runtime="0" * 64),
            "for another tree": seal(other),
            "naming another tree": seal(other, tree=self.plan["tree"]),
            "of another operation": seal(dict(self.plan, op="train")),
            "for another root": seal(dict(self.plan, root="/elsewhere")),
        }.items():
            with self.subTest(name):
                reply = self.command(self.bucket(answer), seconds=10)
                self.assert_no_effect(reply, "plan")

    def test_no_change_of_a_sealed_plan_is_taken(self):
        good = seal(self.plan)
        spec = self.spec(mock.Mock(url=""))
        self.assertEqual(awaited_plan.opened(good, spec, NAME), self.plan)
        chance = random.Random(14)
        for _ in range(300):
            at = chance.randrange(len(good))
            changed = bytearray(good)
            changed[at] ^= 1 << chance.randrange(8)
            self.assertIsNone(awaited_plan.opened(bytes(changed), spec, NAME))
            self.assertIsNone(awaited_plan.opened(good[:at], spec, NAME))

    def test_what_answers_in_another_way_than_s3_is_no_plan(self):
        chance = random.Random(14)
        pieces = [b"HTTP/1.1 200 OK", b"\r\n", b"\r\n\r\n", b" ", b"200", b"404", b"\0", b"NXS1"]
        wire = mock.MagicMock()
        wire.__enter__.return_value = wire
        for _ in range(300):
            answer = b"".join(chance.choices(pieces, k=chance.randrange(8)))
            wire.recv.side_effect = [answer, b""] if answer else [b""]
            with mock.patch("socket.create_connection", return_value=wire):
                with self.assertRaises(Failure) as raised:
                    awaited_plan.receive(self.spec(mock.Mock(url="http://a/b"), seconds=0), NAME)
            self.assertEqual(raised.exception.code, "NO_PLAN")

    def test_it_is_fetched_through_a_proxy_if_there_is_one(self):
        proxy = self.bucket(seal(self.plan))
        spec = self.spec(mock.Mock(url="http://bucket.invalid/plan"), seconds=5)
        variables = {"http_proxy": proxy.url.partition("/bucket")[0], "no_proxy": ""}
        with mock.patch.dict(os.environ, variables):
            self.assertEqual(awaited_plan.receive(spec, NAME), self.plan)
        self.assertEqual(proxy.asked, 1)

    def test_a_runtime_that_is_not_kept_is_not_fetched(self):
        os.unlink(os.path.join(self.root, "runtime", NAME))
        bucket = self.bucket(seal(self.plan))
        self.assert_no_effect(self.command(bucket), "the runtime is not on the instance")
        self.assertEqual(bucket.asked, 0)

    def test_it_loads_nothing_that_takes_long_to_load(self):
        bucket = self.bucket(seal(self.plan))
        request = {"v": 1, "runtime": NAME, "await": self.spec(bucket, seconds=10)}
        flags = ("-X", "importtime", "-I", "-S", "-B")
        reply, error = bootstrap.run(request, flags=flags)
        self.assertTrue(reply["ok"], reply)
        slow = {"http.client", "urllib.request", "ssl", "_hashlib", "hmac", "json", "threading"}
        self.assertIn("nx_ec2_runtime.aws.awaited_plan", imported(error))
        self.assertEqual(imported(error) & slow, set())


if __name__ == "__main__":
    unittest.main()
