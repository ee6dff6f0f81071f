"""Syncing a tree by an archive: a killed sync can be repeated, no path escapes, unknown files stay."""

import gzip
import hashlib
import http.server
import io
import os
import random
import shutil
import sys
import tarfile
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime import main
from nx_ec2_runtime.sync import tree_lock


def manifest(files):
    records = [b"nx-ec2 snapshot 1"]
    for path in sorted(files):
        content = files[path]
        if isinstance(content, tuple):
            records.append(b"l " + path + b"\0" + content[1])
        else:
            records.append(
                b"f - %d %s %s" % (len(content), hashlib.sha256(content).hexdigest().encode(), path)
            )
    return b"".join(record + b"\0" for record in records)


class SyncTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.served = {}
        served = self.served

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                data = served[self.path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.root, ignore_errors=True)

    def plan(self, files, send=None, **sync_part):
        data = manifest(files)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for number, content in enumerate(
                files[path] for path in (files if send is None else send)
            ):
                if not isinstance(content, tuple):
                    member = tarfile.TarInfo("f%d" % number)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        packed = gzip.compress(buffer.getvalue())
        self.served["/a"] = packed
        url = "http://127.0.0.1:%d/a" % self.server.server_address[1]
        part = {
            "snapshot": hashlib.sha256(data).hexdigest(),
            "canonical": data.decode(),
            "archive": {
                "url": url,
                "sha256": hashlib.sha256(packed).hexdigest(),
                "size": len(packed),
            },
            "limits": {"entries": 1000, "bytes": 1 << 30},
        }
        part.update(sync_part)
        return {"v": 1, "op": "sync", "tree": "t", "user": None, "sync": part}

    def sync(self, *args, **keywords):
        return main.run(self.plan(*args, **keywords), self.root)

    def tree(self):
        base = os.fsencode(os.path.join(self.root, "trees", "t", "files"))
        found = {}
        for directory, _, names in os.walk(base):
            for name in names:
                full = os.path.join(directory, name)
                path = os.path.relpath(full, base)
                if os.path.islink(full):
                    found[path] = ("link", os.readlink(full))
                else:
                    with open(full, "rb") as file:
                        found[path] = file.read()
        return found

    def test_names_and_contents_arrive_unchanged(self):
        names = [
            b"a b",
            b"'q'",
            b"$(x)",
            b"`y`",
            b"new\nline",
            b"-dash",
            "é".encode(),
            "e\u0301x".encode(),
            b"n" * 255,
            b"/".join([b"d"] * 60),
            b"{{ssm:x}}",
        ]
        files = {name: bytes([number]) * number for number, name in enumerate(names)}
        self.assertTrue(self.sync(files)["ok"])
        self.assertEqual(self.tree(), files)

    def test_deleted_files_are_removed_and_unknown_files_stay(self):
        self.sync({b"a": b"1", b"d/b": b"2"})
        with open(os.path.join(self.root, "trees/t/files/d/mine"), "w") as file:
            file.write("mine")
        reply = self.sync({b"a": b"1"})
        self.assertEqual((reply["ok"], reply["deleted"]), (True, 1))
        self.assertEqual(self.tree(), {b"a": b"1", b"d/mine": b"mine"})

    def test_a_rename_needs_no_bytes(self):
        self.sync({b"a": b"content"})
        self.assertTrue(self.sync({b"b": b"content"}, archive=None)["ok"])
        self.assertEqual(self.tree(), {b"b": b"content"})

    def test_a_file_becomes_a_directory_and_back(self):
        for files in ({b"x": b"1"}, {b"x/y": b"2"}, {b"x": b"3"}):
            reply = self.sync(files)
            self.assertTrue(reply["ok"], reply)
            self.assertEqual(self.tree(), files)

    def test_missing_contents_are_requested_and_nothing_is_changed(self):
        self.sync({b"a": b"1"})
        reply = self.sync({b"a": b"1", b"b": b"2"}, archive=None)
        self.assertEqual(reply["error"]["code"], "CONTENT_MISSING")
        self.assertEqual(self.tree(), {b"a": b"1"})

    def test_tampered_parts_are_refused_before_anything_is_written(self):
        self.sync({b"a": b"1"})
        for change, code in (({"snapshot": "0" * 64}, "SNAPSHOT_MISMATCH"),):
            self.assertEqual(self.sync({b"a": b"2"}, **change)["error"]["code"], code)
        plan = self.plan({b"a": b"2"})
        plan["sync"]["archive"]["sha256"] = "0" * 64
        self.assertEqual(main.run(plan, self.root)["error"]["code"], "ARCHIVE_MISMATCH")
        plan = self.plan({b"a": b"2"})
        self.served["/a"] = self.served["/a"][:-9]
        self.assertEqual(main.run(plan, self.root)["error"]["code"], "ARCHIVE_MISMATCH")
        self.assertEqual(self.tree(), {b"a": b"1"})

    def test_an_archive_that_inflates_beyond_the_limit_is_refused(self):
        self.sync({b"a": b"1"})

        def packed(fill):
            buffer = io.BytesIO()
            with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9) as unpacked:
                fill(unpacked)
            return buffer.getvalue()

        def member(size, kind=tarfile.REGTYPE):
            def fill(unpacked):
                each = tarfile.TarInfo("f")
                each.size, each.type = size, kind
                unpacked.write(each.tobuf(tarfile.GNU_FORMAT))
                unpacked.write(bytes(64 << 20))

            return fill

        def members(unpacked):
            for _ in range(20000):
                unpacked.write(tarfile.TarInfo("d").tobuf(tarfile.GNU_FORMAT))

        for fill, code in (
            (member(60 << 20), "LIMIT"),
            (members, "LIMIT"),
            (member(60 << 20, tarfile.XHDTYPE), "ARCHIVE_MISMATCH"),
            (member(60 << 20, tarfile.GNUTYPE_LONGNAME), "ARCHIVE_MISMATCH"),
        ):
            data = packed(fill)
            plan = self.plan({b"a": b"2"}, limits={"entries": 10, "bytes": 1000})
            self.served["/a"] = data
            plan["sync"]["archive"].update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
            reply = main.run(plan, self.root)
            self.assertEqual(reply.get("error", {}).get("code"), code, reply)
        plan = self.plan({b"a": b"2"})
        self.served["/a"] += bytes(1000)
        self.assertEqual(main.run(plan, self.root)["error"]["code"], "ARCHIVE_MISMATCH")
        self.assertEqual(self.tree(), {b"a": b"1"})

    def test_a_header_that_is_damaged_is_a_mismatch(self):
        for headers in (
            {"GNU.sparse.map": "0,x"},
            {"GNU.sparse.size": "zz"},
            {"GNU.sparse.realsize": "x"},
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"},
        ):
            with self.subTest(headers):
                buffer = io.BytesIO()
                with tarfile.open(
                    fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT
                ) as archive:
                    member = tarfile.TarInfo("f")
                    member.pax_headers, member.size = headers, 600
                    archive.addfile(member, io.BytesIO(bytes(600)))
                data = buffer.getvalue()
                plan = self.plan({b"a": b"2"}, limits={"entries": 10, "bytes": 1000})
                self.served["/a"] = data
                plan["sync"]["archive"].update(
                    sha256=hashlib.sha256(data).hexdigest(), size=len(data)
                )
                reply = main.run(plan, self.root)
                self.assertEqual(reply.get("error", {}).get("code"), "ARCHIVE_MISMATCH", reply)

    def test_no_entry_is_written_outside_the_tree(self):
        for path in (b"../x", b"/x", b"a/../../x", b"a//b", b"."):
            self.assertEqual(self.sync({path: b"1"})["error"]["code"], "UNSAFE_PATH", path)
        for target in (b"/etc/passwd", b"../x", b"a/../../x"):
            self.assertEqual(
                self.sync({b"l": ("link", target)})["error"]["code"], "UNSAFE_PATH", target
            )
        for target in (b"b/..", b"b/../c", b"../b/../c", b"./b/./.."):
            self.assertEqual(
                self.sync({b"a/l": ("link", target)})["error"]["code"], "UNSAFE_PATH", target
            )
        for links in (
            {b"a": b"d/e", b"b": b"a/x"},
            {b"p/a": b"..", b"b": b"p/a/x"},
            {b"a": b"a/x"},
        ):
            self.assertEqual(
                self.sync({path: ("link", target) for path, target in links.items()})["error"][
                    "code"
                ],
                "UNSAFE_PATH",
                links,
            )
        links = {
            b"p/common": b"../shared/common",
            b"again": b"p/common",
            b"p/d/up": b"..",
            b"p/d/self": b"./..b",
        }
        self.assertTrue(self.sync({path: ("link", target) for path, target in links.items()})["ok"])

    def test_a_sync_writes_nothing_through_a_link_in_its_way(self):
        self.sync({b"d/a": b"1"})
        outside = tempfile.mkdtemp()
        directory = os.path.join(self.root, "trees/t/files/d")
        shutil.rmtree(directory)
        os.symlink(outside, directory)
        self.assertEqual(self.sync({b"d/a": b"2"})["error"]["code"], "PATH_BLOCKED")
        self.assertEqual(os.listdir(outside), [])
        os.rmdir(outside)

    def test_killed_at_any_step_the_next_sync_completes_the_tree(self):
        first = {b"same": b"0", b"changed": b"1", b"gone/a": b"2", b"x": b"3", b"moved": b"4"}
        second = {
            b"same": b"0",
            b"changed": b"one",
            b"new/b": b"5",
            b"x/y": b"6",
            b"moved2": b"4",
            b"l": ("link", b"same"),
        }
        steps = (
            "replace",
            "rename",
            "link",
            "unlink",
            "rmdir",
            "mkdir",
            "symlink",
            "fsync",
            "pwrite",
            "open",
        )
        done = False
        for kill_at in range(1, 400):
            shutil.rmtree(os.path.join(self.root, "trees"), ignore_errors=True)
            self.assertTrue(self.sync(first)["ok"])
            plan = self.plan(second)
            child = os.fork()
            if child == 0:
                count = [0]
                for name in steps:
                    real = getattr(os, name)

                    def counted(*args, real=real, **keywords):
                        count[0] += 1
                        if count[0] == kill_at:
                            os._exit(9)
                        return real(*args, **keywords)

                    setattr(os, name, counted)
                main.run(plan, self.root)
                os._exit(0)
            killed = os.waitpid(child, 0)[1] != 0
            target = random.Random(kill_at).choice([first, second])
            reply = self.sync(target)
            self.assertTrue(reply["ok"], reply)
            self.assertEqual(self.tree(), target, "killed at step %d" % kill_at)
            if not killed:
                done = True
                break
        self.assertTrue(done and kill_at > 10)

    def test_a_locked_tree_is_busy(self):
        wait, tree_lock.LOCK_TIMEOUT_S = tree_lock.LOCK_TIMEOUT_S, 0.2
        try:
            with tree_lock.TreeLock(self.root, "t"):
                self.assertEqual(self.sync({b"a": b"1"})["error"]["code"], "BUSY")
        finally:
            tree_lock.LOCK_TIMEOUT_S = wait


if __name__ == "__main__":
    unittest.main()
