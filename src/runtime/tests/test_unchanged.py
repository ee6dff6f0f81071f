"""A sync that changes nothing is found out in one pass, which finds what a comparison would; and
the parsers that it uses in place of those of `re` and `json` read what these read.
"""

import json
import os
import random
import re
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401  (puts the runtime on the path)
from store import DIRECTORY, Executable, Link, inline, plan, read_tree

from nx_ec2_runtime import main
from nx_ec2_runtime.sync import snapshot
from nx_ec2_runtime.sync.tree import Tree
from nx_ec2_runtime.sync.tree_diff import compare
from nx_ec2_runtime.sync.unchanged import is_unchanged
from nx_ec2_runtime.system import account, plain_json
from nx_ec2_runtime.system.errors import Failure

FILES = {
    b"a": b"1",
    b"d/b": b"2",
    b"d/e": DIRECTORY,
    b"d/f/g h": b"33",
    b"l": Link(b"d/b"),
    b"x": Executable(b"#!"),
    b"z": b"",
}
# What was matched by regular expressions before.
FILE = re.compile(rb"f ([x-]) (0|[1-9]\d{0,17}) ([0-9a-f]{64}) (.+)", re.DOTALL)
UNSAFE = re.compile(rb"(?:\A|/)\.{0,2}(?:/|\Z)")


def change(path, rng):
    """Something happens to a path of the tree; some of it is no change."""
    kind = rng.randrange(8)
    if not os.path.lexists(path):
        return
    if kind == 0:
        os.utime(path, (1, 1), follow_symlinks=False)
    elif kind == 1 and not os.path.islink(path):
        os.chmod(path, rng.choice((0o600, 0o644, 0o755, 0o444)))
    elif kind == 2 and os.path.isfile(path):
        with open(path, "ab") as file:
            file.write(b"more")
    elif kind == 3 and not os.path.isdir(path):
        os.unlink(path)
    elif kind == 4 and not os.path.isdir(path):
        os.unlink(path)
        os.mkdir(path)
    elif kind == 5:
        os.rename(path, path + b".moved")
    elif kind == 6 and not os.path.isdir(path):
        os.unlink(path)
        os.symlink(b"x", path)
    elif kind == 7 and os.path.isdir(path):
        with open(os.path.join(path, b"not ours"), "wb"):
            pass


class UnchangedTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.sync(None, inline=inline(FILES))

    def sync(self, base, **part):
        reply = main.run(plan(FILES, base, **part), self.root)
        self.assertTrue(reply["ok"], reply)
        self.assertEqual(read_tree(self.root), FILES)
        return reply

    def looks(self, **part):
        """(what the one pass says, what a comparison says)"""
        tree = Tree(self.root, "t", account.training_user(None))
        try:
            fast = is_unchanged(tree, dict(plan(FILES, FILES)["sync"], **part))
            found = compare(tree, tree.entries)
            return fast, not (found.missing or found.deleted or found.index_stale)
        finally:
            tree.close()

    def test_a_tree_that_nothing_has_happened_to(self):
        self.assertEqual(self.looks(), (True, True))
        reply = self.sync(FILES)
        self.assertEqual((reply["written"], reply["revertedCount"], reply["healed"]), (0, 0, False))

    def test_whatever_happens_it_says_what_a_comparison_says(self):
        rng, differ = random.Random(5), 0
        for _ in range(150):
            for path in rng.sample(sorted(FILES) + [b"d", b"d/f"], rng.randrange(1, 3)):
                change(os.path.join(os.fsencode(self.root), b"trees/t/files", path), rng)
            fast, compared = self.looks()
            self.assertEqual(fast, compared)
            differ += not fast
            shutil.rmtree(os.path.join(self.root, "trees", "t"))
            self.sync(None, inline=inline(FILES))
        self.assertGreater(differ, 50)

    def test_after_an_interrupted_sync_or_with_damaged_stat_keys_the_tree_is_compared(self):
        tree = os.path.join(self.root, "trees", "t")
        stat_keys = os.path.join(tree, "stat-keys")
        with open(stat_keys, "rb") as file:
            data = file.read()
        for damaged in (b"", data[:-1], data[:-32], data + bytes(32), b"0" + data[1:]):
            with open(stat_keys, "wb") as file:
                file.write(damaged)
            self.assertFalse(self.looks()[0])
            self.sync(FILES)
            self.assertEqual(self.looks(), (True, True))
        with open(os.path.join(tree, "pending"), "wb") as file:
            file.write(b"a\0")
        self.assertFalse(self.looks()[0])
        self.sync(FILES)
        os.mkdir(os.path.join(tree, "stage"))
        self.assertFalse(self.looks()[0])
        self.sync(FILES)
        self.assertEqual(self.looks(), (True, True))

    def test_another_base_and_what_is_more_than_declared(self):
        self.assertFalse(self.looks(base=None)[0])
        self.assertFalse(self.looks(snapshot="0" * 64)[0])
        self.assertTrue(self.looks(limits={"entries": 7, "bytes": 6})[0])
        for limits in ({"entries": 6, "bytes": 6}, {"entries": 7, "bytes": 5}):
            self.assertFalse(self.looks(limits=limits)[0])


class ParsersTest(unittest.TestCase):
    def test_entries_of_files_are_read_as_before(self):
        rng, content = random.Random(1), b"0123456789abcdef" * 4
        accepted = 0
        for _ in range(20_000):
            size = rng.choice((
                b"0",
                b"7",
                b"12",
                b"9" * 18,
                b"1" * 19,
                b"01",
                b"-1",
                b"+1",
                b"",
                b"1_0",
            ))
            name = bytes(rng.choice(b"./a \n\xff") for _ in range(rng.randrange(6)))
            field = b"f %s %s %s %s" % (rng.choice((b"x", b"-", b"")), size, content, name)
            if rng.random() < 0.3:
                at = rng.randrange(len(field))
                field = field[:at] + rng.choice((b"", b" ", b"g", b"A", b"0")) + field[at + 1 :]
            found = FILE.fullmatch(field)
            try:
                got = snapshot.parse_file_entry(field) if field.startswith(b"f ") else None
            except Failure:
                got = None
            if found is None:
                self.assertIsNone(got, field)
                continue
            accepted += 1
            mode, length, digest, path = found.groups()
            self.assertEqual(got, (path, ("file", mode == b"x", int(length), digest.decode())))
            try:
                snapshot.check_path(path)
                self.assertIsNone(UNSAFE.search(path), path)
            except Failure:
                self.assertIsNotNone(UNSAFE.search(path), path)
        self.assertGreater(accepted, 1000)

    def value(self, rng, depth=0):
        kind = rng.randrange(7 if depth < 4 else 5)
        if kind == 0:
            return rng.choice((None, True, False))
        if kind == 1:
            return rng.choice((0, -1, 10**30, rng.randrange(1 << 60)))
        if kind == 2:
            return rng.choice((0.5, -1e300, 1e-9, 3.0))
        if kind in (3, 4):
            return "".join(rng.choice('a"\\\n\x00é\u2028\U0001f600\ud800') for _ in range(5))
        if kind == 5:
            return [self.value(rng, depth + 1) for _ in range(rng.randrange(4))]
        return {'é\n"' * n: self.value(rng, depth + 1) for n in range(rng.randrange(4))}

    def test_json_is_written_and_read_as_by_json(self):
        rng = random.Random(2)
        for _ in range(2000):
            value = self.value(rng)
            text = json.dumps(value, separators=(",", ":"))
            self.assertEqual(plain_json.dumps(value), text)
            self.assertEqual(plain_json.loads(text), value)
            self.assertEqual(plain_json.loads(text.encode()), value)
        for value in ({1: 2, None: 3}, {"a": float("inf")}, (1, 2)):
            self.assertEqual(plain_json.dumps(value), json.dumps(value, separators=(",", ":")))

    def test_what_is_no_json_is_refused_as_by_json(self):
        for text in (
            "",
            " ",
            "{",
            "[1,]",
            "1 2",
            '{"a":1}}',
            "nul",
            '"\n"',
            "\ufeff1",
            b"\xff",
            b"\x00",
        ):
            with self.assertRaises(ValueError):
                json.loads(text)
            with self.assertRaises(ValueError):
                plain_json.loads(text)
        for text in (" 1 ", "[ 1 , 2 ]\n", b"\xef\xbb\xbf1", "NaN", "[Infinity]"):
            self.assertEqual(repr(plain_json.loads(text)), repr(json.loads(text)))
        with self.assertRaises(TypeError):
            plain_json.dumps({"a": object()})


if __name__ == "__main__":
    unittest.main()
