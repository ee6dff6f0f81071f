"""Data is inflated and parsed within limits only."""

import ast
import base64
import hashlib
import os
import sys
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.checkpoints import checkpoint_restore
from nx_ec2_runtime.report.signed_record import SigningKey
from nx_ec2_runtime.run import taken_over_files
from nx_ec2_runtime.system import bounded
from nx_ec2_runtime.system.errors import Failure

RUNTIME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What inflates, by the modules that may: `bootstrap` and `boot` travel alone, and `archive` reads a
# stream up to a limit;
# `uv_tool` unpacks a wheel whose hash is written in it; `service` reads its user data, of which EC2
# takes 16 KiB.
INFLATES = {
    "decompress",
    "decompressobj",
    "GzipFile",
    "ZipFile",
    "open_gzip",
    "BZ2File",
    "LZMAFile",
    "LZMADecompressor",
    "BZ2Decompressor",
}
ALLOWED = {
    "system/bounded.py": {"decompressobj", "decompress"},
    "bootstrap.py": {"decompressobj", "decompress"},
    "fleet/boot_loader.py": {"decompressobj", "decompress"},
    "sync/archive.py": {"GzipFile"},
    "watchdog/service.py": {"decompress"},
    "python_env/uv_tool.py": {"ZipFile"},
}


class Bounded(unittest.TestCase):
    def test_inflates_up_to_the_limit_exactly(self):
        for data in (b"", b"x", b"x" * 1000):
            self.assertEqual(bounded.inflate(zlib.compress(data), len(data)), data)
            if data:
                with self.assertRaises(bounded.TooLarge):
                    bounded.inflate(zlib.compress(data), len(data) - 1)

    def test_refuses_a_stream_that_inflates_beyond_the_limit(self):
        with self.assertRaises(bounded.TooLarge):
            bounded.inflate(zlib.compress(bytes(32 << 20)), 1 << 20)

    def test_refuses_an_incomplete_stream_with_another_error(self):
        for data in (b"{}", zlib.compress(b"abc")[:5], b""):
            with self.assertRaises(ValueError) as raised:
                bounded.inflate(data, 100)
            self.assertNotIsInstance(raised.exception, bounded.TooLarge)

    def test_parses_a_long_text_and_refuses_as_many_bytes_of_tiny_values(self):
        self.assertEqual(bounded.parse(b'{"a": [1]}'), {"a": [1]})
        self.assertEqual(
            len(bounded.parse(b'"%s"' % (b"x" * 2 * bounded.MAX_VALUES))), 2 * bounded.MAX_VALUES
        )
        for value in (b"[],", b"{},", b"0,"):
            with self.assertRaises(bounded.TooLarge):
                bounded.parse(b"[" + value * (bounded.MAX_VALUES + 1) + b"0]")

    def test_refuses_values_that_are_nested_too_deeply(self):
        for value in (b"[", b'{"a":'):
            with self.assertRaises(bounded.TooLarge):
                bounded.parse(value * 200000)

    def test_deep_values_of_others_in_the_store_are_no_stop_no_times_and_no_checkpoint(self):
        deep = b"[" * 200000
        self.assertFalse(
            SigningKey({"signingKey": base64.b64encode(bytes(32)), "id": "r"}).is_stop(deep)
        )
        self.assertEqual(taken_over_files.read_times(deep), [])
        with self.assertRaises(Failure) as raised:
            checkpoint_restore.read(deep, hashlib.sha256(deep).hexdigest())
        self.assertEqual(raised.exception.code, "CHECKPOINT_MISMATCH")

    def test_malformed_log_times_are_ignored(self):
        self.assertEqual(taken_over_files.read_times(b'{"times": [[1, 2]]}'), [(1, 2)])
        for data in (
            b"",
            b"[]",
            b"1",
            b"{}",
            b'{"times": 1}',
            b'{"times": [1]}',
            b'{"times": [[1, "x"]]}',
            b'{"times": [[1, Infinity]]}',
        ):
            self.assertEqual(taken_over_files.read_times(data), [], data)

    def test_no_other_module_inflates(self):
        found = [
            os.path.relpath(os.path.join(at, name), RUNTIME)
            for at, _, names in os.walk(RUNTIME)
            for name in names
        ]
        names = [
            name for name in found if name.endswith(".py") and not name.startswith("tests" + os.sep)
        ]
        self.assertIn("sync/packs.py", names)
        for name in names:
            with open(os.path.join(RUNTIME, name)) as file:
                tree = ast.parse(file.read())
            used = {
                node.attr if isinstance(node, ast.Attribute) else node.id
                for node in ast.walk(tree)
                if isinstance(node, (ast.Attribute, ast.Name))
            }
            used |= {
                each.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
                for each in node.names
            }
            self.assertLessEqual(used & INFLATES, ALLOWED.get(name, set()), name)


if __name__ == "__main__":
    unittest.main()
