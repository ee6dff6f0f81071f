"""The watcher: which edits it applies, which it refuses, and when it ends. The store is a server on
loopback.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync

from nx_ec2_runtime import main
from nx_ec2_runtime.sync import tree_lock, watch_start
from nx_ec2_runtime.system import file_lock

KEY = bytes(range(32))
SESSION = "0123456789abcdef"


class Store:
    """Objects by their path; forms are taken as they come. `fail` answers the next requests of a
    method with a status.
    """

    def __init__(self):
        self.objects, self.asked, self.fail, self.peers = {}, [], [], set()
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = store.objects.get(self.path)
                tag = '"%s"' % hashlib.md5(body).hexdigest() if body is not None else None
                if body is None:
                    self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
                elif self.headers.get("If-None-Match") == tag:
                    self.answer(304)
                else:
                    self.answer(200, body, tag)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                key = re.search(rb'name="key"\r\n\r\n(.*?)\r\n', body).group(1).decode()
                end = body.rindex(b"\r\n--")
                start = body.index(b"application/octet-stream\r\n\r\n") + len(
                    b"application/octet-stream\r\n\r\n"
                )
                status = self.answer(204)
                if status == 204:
                    store.objects["/" + key] = body[start:end]

            def answer(self, status, body=b"", tag=None):
                store.peers.add(self.client_address)
                for each in store.fail:
                    if each[0] == self.command:
                        status, body = each[1], each[2]
                        if each[3] == 1:
                            store.fail.remove(each)
                        each[3] -= 1
                        break
                store.asked.append((self.command, self.path, status))
                self.send_response(status)
                if tag:
                    self.send_header("ETag", tag)
                if status not in (204, 304):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if status not in (204, 304):
                    self.wfile.write(body)
                return status

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, key):
        return "http://127.0.0.1:%d/%s" % (self.server.server_address[1], key)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def seal(what, number, body, key=KEY, session=SESSION):
    return (
        hmac.new(
            key, b"%s %s %d\n" % (what, session.encode(), number) + body, hashlib.sha256
        ).digest()
        + body
    )


def inline(files):
    return {
        hashlib.sha256(each).hexdigest(): base64.b64encode(zlib.compress(each)).decode()
        for each in files.values()
    }


class WatchTest(unittest.TestCase):
    def setUp(self):
        self.root, self.store, self.pids = tempfile.mkdtemp(), Store(), []
        self.place = os.path.join(self.root, "trees", "t", "watch")

    def tearDown(self):
        for pid in self.pids:
            watch_start.send(pid, signal.SIGKILL)
        self.until(lambda: not file_lock.held(self.place))
        self.store.close()
        shutil.rmtree(self.root)

    def until(self, holds, seconds=15):
        deadline = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), deadline, "it did not come to that")
            time.sleep(0.01)

    def sync(self, files, **part):
        data = test_sync.manifest(files)
        whole = {
            "snapshot": hashlib.sha256(data).hexdigest(),
            "base": None,
            "canonical": data.decode(),
            "delta": None,
            "history": [],
            "recipes": {},
            "packs": [],
            "inline": inline(files),
            "archive": None,
            "limits": {"entries": 1000, "bytes": 1 << 30},
            "force": False,
        }
        return dict(whole, **part)

    def post(self):
        return {"url": self.store.url(""), "fields": {}}

    def start(
        self, files=None, lease=60, session=SESSION, key=KEY, error=None, restart=None, **plan
    ):
        prefix = "watch/%s/" % session
        part = {
            "watchId": session,
            "prefix": prefix,
            "urls": [self.store.url(prefix + "1")],
            "post": self.post(),
            "lease": lease,
            "client": {"id": restart or session, "restart": restart is not None},
        }
        reply = main.run(
            dict(
                {
                    "v": 1,
                    "op": "watch",
                    "tree": "t",
                    "user": None,
                    "sync": self.sync(files or {b"a": b"first"}),
                    "watch": part,
                    "signingKey": base64.b64encode(key).decode(),
                },
                **plan,
            ),
            self.root,
        )
        if error is None:
            self.assertTrue(reply["ok"], reply)
            self.pids.append(reply["watch"]["pid"])
        else:
            self.assertEqual(reply["error"]["code"], error)
        return reply

    def edit(self, number, sync=None, end=False, key=KEY, signed=None, session=SESSION):
        prefix = "watch/%s/" % session
        body = {
            "v": 1,
            "n": number,
            "sync": sync,
            "urls": {str(number + 1): self.store.url(prefix + str(number + 1))},
            "post": None,
            "end": end,
        }
        self.store.objects["/%s%d" % (prefix, number)] = seal(
            b"edit", signed or number, zlib.compress(json.dumps(body).encode()), key, session
        )

    def acknowledgement(self, number, session=SESSION):
        path = "/watch/%s/ack-%d" % (session, number)
        self.until(lambda: path in self.store.objects)
        sealed = self.store.objects[path]
        self.assertEqual(sealed, seal(b"ack", number, sealed[32:], session=session))
        reply = json.loads(zlib.decompress(sealed[32:]))
        self.assertEqual((reply.pop("v"), reply.pop("n")), (1, number))
        return reply

    def refused(self, number):
        """That the watcher has looked at what is there, and, told that it is the same, again."""
        looked = ("GET", "/watch/%s/%d" % (SESSION, number), 304)
        count = self.store.asked.count(looked)
        self.until(lambda: self.store.asked.count(looked) > count + 1)

    def read(self, path):
        with open(os.path.join(self.root, "trees", "t", "files", path), "rb") as file:
            return file.read()

    def test_edits_are_applied_in_order_over_one_connection(self):
        self.start()
        self.assertEqual(self.read("a"), b"first")
        before = len(self.store.peers)
        self.edit(1, self.sync({b"a": b"second", b"b": b"new"}))
        self.assertEqual(self.acknowledgement(1)["written"], 2)
        self.assertEqual((self.read("a"), self.read("b")), (b"second", b"new"))
        self.edit(2)
        self.assertTrue(self.acknowledgement(2)["ok"])
        self.edit(3, self.sync({b"b": b"new"}))
        self.assertEqual(self.acknowledgement(3)["deleted"], 1)
        self.assertFalse(os.path.exists(os.path.join(self.root, "trees/t/files/a")))
        self.assertLessEqual(len(self.store.peers), before + 1)

    def test_a_forged_edit_is_ignored(self):
        self.start()
        evil = self.sync({b"a": b"evil"})
        for forged in ({"key": b"x" * 32}, {"signed": 2}, {"session": SESSION[::-1]}):
            self.edit(1, evil, **forged)
            if "session" in forged:
                self.store.objects["/watch/%s/1" % SESSION] = self.store.objects.pop(
                    "/watch/%s/1" % SESSION[::-1]
                )
            self.refused(1)
        self.store.objects["/watch/%s/1" % SESSION] = b"short"
        self.refused(1)
        self.assertEqual(self.read("a"), b"first")
        self.edit(1, self.sync({b"a": b"right"}))
        self.assertTrue(self.acknowledgement(1)["ok"])
        # A replay under the next number.
        self.store.objects["/watch/%s/2" % SESSION] = self.store.objects["/watch/%s/1" % SESSION]
        self.refused(2)
        self.assertEqual(self.read("a"), b"right")
        self.assertNotIn("/watch/%s/ack-2" % SESSION, self.store.objects)

    def test_the_watcher_continues_after_an_edit_that_can_not_be_applied(self):
        self.start()
        self.edit(1, self.sync({b"a": b"other"}, inline={}))
        self.assertEqual(self.acknowledgement(1)["error"]["code"], "CONTENT_MISSING")
        self.edit(2, self.sync({b"../a": b"out"}))
        self.assertEqual(self.acknowledgement(2)["error"]["code"], "UNSAFE_PATH")
        self.edit(3, self.sync({b"a": b"other"}, canonical=5))
        self.assertEqual(self.acknowledgement(3)["error"]["code"], "INTERNAL")
        self.edit(4, self.sync({b"a": b"other"}))
        self.assertTrue(self.acknowledgement(4)["ok"])
        self.assertEqual(self.read("a"), b"other")

    def test_a_locked_tree_is_reported(self):
        before, tree_lock.LOCK_TIMEOUT_S = tree_lock.LOCK_TIMEOUT_S, 0.2
        try:
            self.start()
        finally:
            tree_lock.LOCK_TIMEOUT_S = before
        # Which shows, too, that the watcher holds no lock of the command's.
        with tree_lock.TreeLock(self.root, "t"):
            self.edit(1, self.sync({b"a": b"other"}))
            self.assertEqual(self.acknowledgement(1)["error"]["code"], "BUSY")
        self.edit(2, self.sync({b"a": b"other"}))
        self.assertTrue(self.acknowledgement(2)["ok"])

    def test_an_acknowledgement_is_written_until_the_store_takes_it(self):
        self.start()
        self.store.fail.append(["POST", 503, b"<Code>SlowDown</Code>", 3])
        self.edit(1, self.sync({b"a": b"other"}))
        self.assertTrue(self.acknowledgement(1)["ok"])
        self.assertEqual(
            [status for method, _, status in self.store.asked if method == "POST"],
            [503, 503, 503, 204],
        )

    def test_failures_of_the_store_are_retried(self):
        self.start()
        self.store.fail.append(["GET", 503, b"", 2])
        self.edit(1, self.sync({b"a": b"other"}))
        self.assertTrue(self.acknowledgement(1)["ok"])

    def test_the_watcher_ends_on_request(self):
        self.start()
        self.edit(1, self.sync({b"a": b"last"}), end=True)
        self.assertTrue(self.acknowledgement(1)["ok"])
        self.until(lambda: not file_lock.held(self.place))
        self.assertEqual(self.read("a"), b"last")

    def assert_ends(self, why, number=1):
        reply = self.acknowledgement(number)
        self.assertEqual(
            (reply["ok"], reply["error"]["code"], reply["error"]["detail"]),
            (False, "WATCH_ENDED", {"why": why}),
        )
        self.until(lambda: not file_lock.held(self.place))

    def test_the_watcher_ends_if_it_hears_nothing(self):
        self.start(lease=0.3)
        self.assert_ends("lease")

    def test_the_watcher_ends_when_its_url_has_expired(self):
        self.start()
        self.store.fail.append([
            "GET",
            403,
            b"<Code>AccessDenied</Code><Message>Request has expired</Message>",
            1,
        ])
        self.assert_ends("expired")

    def test_the_watcher_ends_with_the_machine(self):
        os.kill(self.start()["watch"]["pid"], signal.SIGTERM)
        self.assert_ends("terminated")

    def test_a_new_watcher_ends_the_last_one(self):
        first = self.start()["watch"]["pid"]
        other = SESSION[::-1]
        second = self.start({b"a": b"second"}, session=other)["watch"]["pid"]
        self.assertNotEqual(first, second)
        self.assertEqual(self.acknowledgement(1)["error"]["detail"], {"why": "superseded"})
        self.until(lambda: tree_lock.start_of(first) is None)
        self.edit(1, self.sync({b"a": b"third"}), session=other)
        self.assertTrue(self.acknowledgement(1, session=other)["ok"])

    def test_a_client_restarts_its_own_watcher_and_none_of_another_client(self):
        other, third = SESSION[::-1], "f" * 16
        self.start()
        self.start(session=other, restart=SESSION)
        self.assertEqual(self.acknowledgement(1)["error"]["detail"], {"why": "superseded"})
        newer = self.start({b"a": b"newer"}, session=third)["watch"]["pid"]
        self.start(restart=SESSION, error="WATCH_SUPERSEDED")
        self.edit(1, self.sync({b"a": b"newer still"}), session=third)
        self.assertTrue(self.acknowledgement(1, session=third)["ok"])
        # And none that has ended: its client has synced other files.
        os.kill(newer, signal.SIGKILL)
        self.until(lambda: not file_lock.held(self.place))
        self.start(restart=SESSION, error="WATCH_SUPERSEDED")
        self.assertEqual(self.read("a"), b"newer still")

    def test_a_watcher_that_does_not_end_is_killed(self):
        first = self.start()["watch"]["pid"]
        os.kill(first, signal.SIGSTOP)
        before, watch_start.HANDOVER_TIMEOUT_S = watch_start.HANDOVER_TIMEOUT_S, 0.3
        try:
            self.start(session=SESSION[::-1])
        finally:
            watch_start.HANDOVER_TIMEOUT_S = before
        self.until(lambda: tree_lock.start_of(first) is None)

    def test_a_killed_watcher_is_replaced(self):
        os.kill(self.start()["watch"]["pid"], signal.SIGKILL)
        self.until(lambda: not file_lock.held(self.place))
        self.start(session=SESSION[::-1])

    def test_a_watcher_without_a_key_does_nothing(self):
        self.start(key=b"short", error="BAD_PLAN")
        self.assertEqual(os.listdir(self.root), [])

    def test_a_failed_sync_starts_no_watcher(self):
        self.start(sync=self.sync({b"a": b"x"}, inline={}), error="CONTENT_MISSING")
        self.assertFalse(file_lock.held(self.place))
        self.start()

    def test_many_edits_leak_no_descriptors_and_no_memory(self):
        pid = self.start()["watch"]["pid"]

        def used():
            with open("/proc/%d/statm" % pid) as file:
                return len(os.listdir("/proc/%d/fd" % pid)), int(
                    file.read().split()[1]
                ) * os.sysconf("SC_PAGE_SIZE")

        files = {b"d%d/f" % number: b"x" for number in range(200)}
        for number in range(1, 31):
            files[b"a"] = os.urandom(100000)
            # One of three fails.
            self.edit(number, self.sync(files) if number % 3 else self.sync(files, inline={}))
            self.acknowledgement(number)
            if number == 6:
                descriptors, memory = used()
        self.edit(31)
        self.acknowledgement(31)
        self.assertLessEqual(used()[0], descriptors)
        self.assertLess(used()[1] - memory, 8 << 20)


if __name__ == "__main__":
    unittest.main()
