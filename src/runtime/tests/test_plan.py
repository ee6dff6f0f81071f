"""Syncs by manifests, deltas and packs. Tampered data is refused before anything is written."""

import json
import os
import random
import shutil
import signal
import stat
import struct
import sys
import tempfile
import time
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401  (puts the runtime on the path)
from store import (
    DIRECTORY,
    Executable,
    Link,
    Store,
    canonical,
    contents,
    cut,
    inline,
    pack,
    packed,
    plan,
    read_tree,
    recipe_of,
    sha256,
    snapshot_id,
)

from nx_ec2_runtime import main
from nx_ec2_runtime.aws import http_pool
from nx_ec2_runtime.sync import manifest_chain
from nx_ec2_runtime.sync import staging as stages
from nx_ec2_runtime.sync import tree_lock as locks
from nx_ec2_runtime.system import bounded
from nx_ec2_runtime.system.errors import Failure


def noise(seed, size):
    return random.Random(seed).getrandbits(8 * size).to_bytes(size, "big") if size else b""


class PlanTest(unittest.TestCase):
    ranges = True

    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.store = Store(self.ranges)
        self.addCleanup(setattr, http_pool, "RETRY_PAUSE_S", http_pool.RETRY_PAUSE_S)
        http_pool.RETRY_PAUSE_S = 0.01

    def tearDown(self):
        self.store.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.root, "trees", "t", *parts)

    def file(self, path):
        return self.path("files", path)

    def run_plan(self, files, base=None, **part):
        return main.run(plan(files, base, **part), self.root)

    def holds(self, files):
        self.assertEqual(read_tree(self.root), files)
        self.assertEqual(
            {
                path: isinstance(content, Executable)
                for path, content in read_tree(self.root).items()
            },
            {path: isinstance(content, Executable) for path, content in files.items()},
        )

    def sync(self, files, base=None, **part):
        reply = self.run_plan(files, base, **part)
        self.assertTrue(reply["ok"], reply)
        self.holds(files)
        self.assertFalse(os.path.exists(self.path("pending")) or os.path.exists(self.path("stage")))
        return reply

    def begin(self, files):
        """The tree holds files, by a plan that says it all."""
        packs, recipes = self.store.put_packs(files)
        self.sync(files, packs=packs, recipes=recipes)

    def refuse(self, code, before, files, base=None, **part):
        """The plan is refused, and nothing in the tree was touched."""

        def seen():
            return {
                name: os.lstat(os.path.join(directory, name))
                for directory, _, names in os.walk(self.path("files"))
                for name in names
            }, os.listdir(self.path())

        looked = seen()
        reply = self.run_plan(files, base, **part)
        self.assertEqual((reply["ok"], reply.get("error", {}).get("code")), (False, code), reply)
        self.holds(before)
        self.assertEqual(seen(), looked)
        return reply["error"]


class Plans(PlanTest):
    first = {
        b"a": b"1",
        b"d/b": b"2",
        b"d/e": DIRECTORY,
        b"l": Link(b"d/b"),
        b"x": Executable(b"#!"),
        b"empty": b"",
        b"big": noise(1, 3000000),
    }
    second = {
        b"a": b"one",
        b"d/b": b"2",
        b"l": Link(b"a"),
        b"x": b"#!",
        b"empty": b"",
        b"big": noise(1, 3000000)[:1500000] + b"inserted" + noise(1, 3000000)[1500000:],
    }

    def test_a_second_sync_of_a_snapshot_fetches_nothing(self):
        self.begin(self.first)
        times = {
            name: os.stat(self.path(name)).st_mtime_ns
            for name in ("snapshot", "stat-keys", "head.json")
        }
        self.store.asked.clear()
        reply = self.sync(self.first, self.first)
        self.assertEqual(
            (reply["written"], reply["deleted"], reply["healed"], reply["reverted"], reply["kept"]),
            (0, 0, False, [], None),
        )
        self.assertEqual(self.store.asked, [])
        self.assertEqual({name: os.stat(self.path(name)).st_mtime_ns for name in times}, times)

    def test_a_delta_carries_what_changed(self):
        self.begin(self.first)
        big, changed = self.first[b"big"], self.second[b"big"]
        pieces = [
            [sha256(big), 0, 1400000],
            [sha256(changed[1400000:1500008]), 100008],
            [sha256(big), 1500000, len(big) - 1500000],
        ]
        chunk = changed[1400000:1500008]
        reply = self.sync(
            self.second,
            self.first,
            recipes={sha256(changed): pieces},
            packs=[self.store.put_pack(pack([chunk]))],
            inline=inline({b"a": b"one"}),
        )
        self.assertEqual(
            (reply["written"], reply["deleted"], reply["healed"], reply["reverted"]),
            (4, 1, False, []),
        )

    def test_the_modes_are_exact_and_the_entries_the_users(self):
        before = os.umask(0o077)
        try:
            self.begin(self.first)
        finally:
            os.umask(before)
        for name, mode in ((b"a", 0o100644), (b"x", 0o100755)):
            self.assertEqual(os.stat(self.file(os.fsdecode(name))).st_mode, mode)

    def test_one_chunk_in_many_places_and_one_content_under_many_names(self):
        piece, other = noise(2, 100000), noise(3, 100000)
        big = piece * 6 + other + piece * 5
        files = {
            b"a": big,
            b"b": Executable(big),
            b"c": piece,
            b"d": Executable(piece),
            b"e": piece,
        }
        self.begin(files)
        self.assertEqual(len({os.stat(self.file(name)).st_ino for name in "abcde"}), 5)
        after = {**files, b"f": piece + big}
        self.sync(
            after,
            files,
            recipes={sha256(piece + big): [[sha256(piece), 100000], [sha256(big), 0, len(big)]]},
        )

    def test_packs_that_are_needed_whole_are_fetched_once_in_order_of_need(self):
        packs, recipes = self.store.put_packs(self.first, per_pack=4)
        self.sync(self.first, packs=packs, recipes=recipes)
        self.assertEqual(
            sorted(self.store.asked), sorted(("/p/" + each["sha256"], None) for each in packs)
        )

    def test_a_renamed_file_keeps_its_bytes_where_they_are(self):
        big = noise(4, 2000000)
        self.begin({b"old/big": big})
        inode = os.stat(self.file("old/big")).st_ino
        self.sync({b"new/big": big}, {b"old/big": big})
        self.assertEqual(os.stat(self.file("new/big")).st_ino, inode)
        self.assertFalse(os.path.exists(self.file("old")))

    def test_an_empty_directory_stays_where_a_file_leaves_it(self):
        self.begin({b"d/x": b"1", b"e/x": b"2"})
        self.sync({b"d": DIRECTORY}, {b"d/x": b"1", b"e/x": b"2"})

    # A tree that holds something else.

    def history(self, *chain):
        """A record for each of some snapshots, the first one whole; spare packs hold what they
        bring.
        """
        history, packs, known, before = [], [], set(), None
        for files in chain:
            brought, recipes = self.store.put_packs(files, spare=True, known=known)
            known |= {
                chunk
                for content in contents(files).values()
                for chunk in (
                    [sha256(piece) for piece in cut(content)]
                    if len(content) > 1 << 20
                    else [sha256(content)]
                )
            }
            history.append(self.store.put_manifest(files, before, recipes, brought))
            packs += brought
            before = files
        return {"history": history, "packs": packs}

    def test_a_tree_with_another_head_is_synced_by_history_and_delta(self):
        middle = {**self.first, b"m": b"middle"}
        parts = self.history(self.first, middle, self.second)
        third = {**self.second, b"n": b"new"}
        for held in ({}, {b"a": b"elsewhere", b"other/x": b"o"}, self.first):
            shutil.rmtree(self.path(), ignore_errors=True)
            if held:
                self.begin(held)
            reply = self.sync(third, self.second, inline=inline({b"n": b"new"}), **parts)
            self.assertEqual((reply["healed"], reply["reverted"], reply["kept"]), (True, [], None))

    def test_a_tree_with_another_head_is_synced_by_the_full_snapshot(self):
        self.begin({b"other": b"1", b"a": b"2"})
        packs, recipes = self.store.put_packs(self.first)
        reply = self.sync(self.first, base_id="0" * 64, packs=packs, recipes=recipes)
        self.assertEqual((reply["healed"], reply["deleted"]), (True, 1))

    def test_without_manifest_or_history_the_full_snapshot_is_requested(self):
        self.begin(self.first)
        error = self.refuse("CONTENT_MISSING", self.first, self.second, {b"z": b"z"})
        self.assertEqual(
            (error["detail"]["head"], error["detail"]["count"], error["detail"]["contents"]),
            (snapshot_id(self.first), 0, []),
        )

    def test_a_history_that_is_gone_from_the_store_is_not_used(self):
        self.begin(self.first)
        parts = self.history(self.second)
        self.store.objects["/m/" + snapshot_id(self.second)] = 403
        self.refuse("CONTENT_MISSING", self.first, self.second, self.second, **parts)

    def test_a_pack_that_is_damaged_on_the_way_is_read_again(self):
        for number, at in enumerate((5, -40, -2)):
            files = {b"n": noise(number, 60000), b"m": noise(number + 50, 60000)}
            placed = self.store.put_pack(pack(list(files.values())))
            data = self.store.objects["/p/" + placed["sha256"]]
            flipped = bytearray(data)
            flipped[at] ^= 0x40
            answers = iter([bytes(flipped)] * 2)
            self.store.objects["/p/" + placed["sha256"]] = lambda a=answers, d=data: next(a, d)
            with self.subTest(at):
                self.sync(files, packs=[placed])
                self.assertIsNone(next(answers, None))

    def test_a_pack_that_s3_denies_is_said_to_be_denied_in_its_words(self):
        self.begin(self.first)
        files = {**self.first, b"n": noise(1, 1000)}
        placed = self.store.put_pack(pack([files[b"n"]]))
        self.store.objects["/p/" + placed["sha256"]] = 403
        error = self.refuse("CONTENT_MISSING", self.first, files, packs=[placed])
        self.assertIn("S3 denies the pack " + placed["sha256"], error["message"])
        self.assertEqual(error["detail"]["aws"], "<Error/>")

    def test_the_proxy_of_the_environment_is_used(self):
        placed = self.store.put_pack(pack([b"1"]))
        placed["url"] = "http://store.invalid/p/%s?a=b" % placed["sha256"]
        self.store.objects[placed["url"]] = self.store.objects["/p/" + placed["sha256"]]
        before = os.environ.get("http_proxy")
        os.environ["http_proxy"] = self.store.url("")
        try:
            self.sync({b"a": b"1"}, packs=[placed])
        finally:
            os.environ.pop("http_proxy") if before is None else os.environ.update(http_proxy=before)

    def test_a_tree_that_holds_the_snapshot_already_needs_no_base(self):
        self.begin(self.first)
        self.assertEqual(self.run_plan(self.first, {b"z": b"z"})["written"], 0)

    def test_a_lost_tree_is_fetched_again(self):
        self.begin(self.first)
        parts = self.history(self.first)
        shutil.rmtree(self.path())
        self.assertTrue(self.sync(self.first, self.first, **parts)["healed"])

    def test_deleted_files_are_restored_from_the_history_of_the_same_head(self):
        files = {**self.first, b"inline": b"in no pack"}
        parts = self.history(self.first)
        parts["history"].append(
            self.store.put_manifest(files, self.first, inline=inline({b"i": b"in no pack"}))
        )
        packs, recipes = self.store.put_packs(files)
        self.sync(files, packs=packs, recipes=recipes)
        for name in ("big", "inline", "a"):
            os.unlink(self.file(name))
        reply = self.sync(files, files, **parts)
        self.assertEqual(
            (reply["reverted"], reply["revertedCount"], reply["kept"]),
            (["a", "big", "inline"], 3, None),
        )

    def test_missing_content_is_requested_by_hash(self):
        self.begin(self.first)
        gone = self.store.put_pack(pack([b"one"]))
        del self.store.objects["/p/" + gone["sha256"]]
        error = self.refuse(
            "CONTENT_MISSING", self.first, {b"a": b"one", b"b": b"two"}, self.first, packs=[gone]
        )
        self.assertEqual(error["detail"]["contents"], sorted([sha256(b"one"), sha256(b"two")]))
        self.assertEqual(
            (error["detail"]["paths"], error["detail"]["count"], error["detail"]["packs"]),
            (["a", "b"], 2, [{"pack": gone["sha256"], "status": 404}]),
        )

    def test_a_changed_base_file_is_restored_to_copy_from_it(self):
        big, changed = self.first[b"big"], self.second[b"big"]
        recipes = {
            sha256(changed): [
                [sha256(big), 0, 1500000],
                [sha256(b"inserted"), 8],
                [sha256(big), 1500000, 1500000],
            ]
        }
        packs = [self.store.put_pack(pack([b"inserted"]))]
        files = {**self.first, b"big": changed}
        self.begin(self.first)
        with open(self.file("big"), "r+b") as file:
            file.write(b"mine")
        error = self.run_plan(files, self.first, recipes=recipes, packs=packs)["error"]
        self.assertEqual(
            (error["code"], error["detail"]["contents"]), ("CONTENT_MISSING", [sha256(changed)])
        )
        parts = self.history(self.first)
        reply = self.sync(
            files,
            self.first,
            recipes=recipes,
            packs=packs + parts["packs"],
            history=parts["history"],
        )
        self.assertEqual(reply["reverted"], ["big"])
        with open(os.path.join(reply["kept"], "big"), "rb") as file:
            self.assertEqual(file.read(), b"mine" + big[4:])

    def test_a_changed_file_with_unchanged_stat_is_detected(self):
        big, changed = self.first[b"big"], self.second[b"big"]
        files = {**self.first, b"big": changed}
        self.begin(self.first)
        with open(self.file("big"), "r+b") as file:
            file.write(b"rot!")
        with open(self.path("stat-keys"), "r+b") as file:
            data = file.read()
            status = os.stat(self.file("big"))
            at = data.index(struct.pack("<QQ", status.st_size, 0)[:8], 65)
            file.seek(at)
            file.write(
                struct.pack(
                    "<QQQQ", status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns
                )
            )
        recipes = {
            sha256(changed): [
                [sha256(big), 0, 1500000],
                [sha256(b"inserted"), 8],
                [sha256(big), 1500000, 1500000],
            ]
        }
        error = self.run_plan(
            files, self.first, recipes=recipes, inline=inline({b"i": b"inserted"})
        )["error"]
        self.assertEqual(error["code"], "CONTENT_MISSING")
        parts = self.history(self.first)
        self.sync(files, self.first, recipes=recipes, inline=inline({b"i": b"inserted"}), **parts)

    # Packs whose upload has not ended.

    def arriving(self, files, looks, status=404, wait=30):
        """The packs of files, of which each is absent so many times."""
        packs, _ = self.store.put_packs(files)
        for placed in packs:
            data = self.store.objects["/p/" + placed["sha256"]]
            answers = iter([status] * looks)
            self.store.objects["/p/" + placed["sha256"]] = lambda a=answers, d=data: next(a, d)
        return [dict(placed, wait=wait) for placed in packs]

    def test_a_pack_that_is_still_uploaded_is_looked_for_until_it_is_there(self):
        for status in (404, 403):
            files = {b"f%d" % seed: noise(seed, 1000) for seed in range(status, status + 100)}
            asked = len(self.store.asked)
            with self.subTest(status=status):
                packs = self.arriving(files, looks=3, status=status)
                self.sync(files, packs=packs)
                self.assertEqual(len(self.store.asked) - asked, 4 * len(packs))

    def test_a_pack_that_does_not_arrive_in_time_is_missing_and_changes_nothing(self):
        self.begin(self.first)
        files = {**self.first, b"n": noise(1, 1000)}
        packs = self.arriving({b"n": files[b"n"]}, looks=10**9, wait=0.2)
        error = self.refuse("CONTENT_MISSING", self.first, files, packs=packs)
        self.assertEqual(error["detail"]["packs"], [{"pack": packs[0]["sha256"], "status": 404}])
        asked = len(self.store.asked)
        self.assertGreater(asked, 1)
        self.refuse("CONTENT_MISSING", self.first, files, packs=[dict(packs[0], wait=0)])
        self.assertEqual(len(self.store.asked), asked + 1)

    def test_what_takes_the_name_of_a_pack_that_is_still_uploaded_is_refused(self):
        self.begin(self.first)
        files = {b"n": noise(1, 1000)}
        placed = self.arriving(files, looks=2)[0]
        answers = iter([404, 404])
        self.store.objects["/p/" + placed["sha256"]] = lambda: next(answers, b"forged" * 100)
        self.refuse("PACK_MISMATCH", self.first, files, packs=[placed])

    # Spare packs.

    def test_only_the_needed_ranges_of_a_pack_are_fetched(self):
        chunks = [noise(seed, 100000) for seed in range(20)]
        spare = self.store.put_pack(pack(chunks), spare=True)
        files = {b"a": chunks[3], b"b": chunks[4], b"c": chunks[15]}
        self.sync(files, packs=[spare])
        asked = [span for _, span in self.store.asked]
        if self.ranges:
            self.assertEqual(asked[0], "bytes=-196608")
            self.assertEqual(len(asked), 3)
            self.assertTrue(all(asked))
        else:
            self.assertEqual(len(asked), 1)

    def test_a_pack_that_is_mostly_needed_is_fetched_whole(self):
        chunks = [noise(seed, 100000) for seed in range(20)]
        spare = self.store.put_pack(pack(chunks), spare=True)
        self.sync(
            {b"%d" % number: chunk for number, chunk in enumerate(chunks[:15])}, packs=[spare]
        )
        self.assertEqual(len(self.store.asked), 2 if self.ranges else 1)

    def test_a_directory_longer_than_the_tail_is_fetched_in_full(self):
        chunks = [b"%d" % number for number in range(9000)]
        spare = self.store.put_pack(pack(chunks + [noise(1, 900000)], segment=900000), spare=True)
        self.sync({b"a": b"77"}, packs=[spare])

    # Recipes.

    def test_the_recipes_of_a_manifest_of_version_1_are_read(self):
        big = noise(1, 3000000)
        files = {b"big": big, b"a": b"1"}

        def first_version(manifest):
            manifest["v"] = 1
            manifest["recipes"] = {sha256(big): [[sha256(piece), len(piece)] for piece in cut(big)]}

        packs, recipes = self.store.put_packs(files, spare=True)
        history = [self.store.put_manifest(files, None, recipes, packs, change=first_version)]
        self.begin(files)
        os.unlink(self.file("big"))
        reply = self.sync(files, files, history=history, packs=packs)
        self.assertEqual(reply["reverted"], ["big"])

    def test_a_damaged_recipe_is_refused(self):
        big = noise(1, 2000000)
        packs, recipes = self.store.put_packs({b"big": big})
        self.begin(self.first)
        text = recipes[sha256(big)][0]
        for damaged in (
            [text[:-4]],
            ["A"],
            [7],
            [None],
            [[]],
            [[sha256(big), -1, 5]],
            [[sha256(big), 0, "5"]],
            [[5, 0, 5]],
            [["no hash", 5]],
            [[sha256(big), 1 << 32]],
        ):
            error = self.refuse(
                "BAD_PLAN", self.first, {b"big": big}, recipes={sha256(big): damaged}, packs=packs
            )
            self.assertIn(sha256(big), error["message"])

    # What is tampered with.

    def spoiled(self, **how):
        chunks = [noise(seed, 1000) for seed in range(10)]
        return {b"f%d" % number: chunk for number, chunk in enumerate(chunks)}, pack(
            chunks, segment=3000, **how
        )

    def test_a_tampered_pack_is_reported(self):
        self.begin(self.first)
        files, data = self.spoiled()
        for at in (5, len(data) - 30, len(data) - 1):
            bad = bytearray(data)
            bad[at] ^= 1
            placed = self.store.put_pack(bytes(bad), name=sha256(data))
            error = self.refuse("PACK_MISMATCH", self.first, files, packs=[placed])
            self.assertEqual(error["detail"]["pack"], placed["sha256"])
            self.assertIn(placed["sha256"], error["message"])
        for short in (data[:-1], data + b"x"):
            placed = dict(self.store.put_pack(short, name=sha256(data)), size=len(data))
            self.refuse("PACK_MISMATCH", self.first, files, packs=[placed])

    def test_a_tampered_directory_or_segment_is_refused_where_a_part_is_fetched(self):
        self.begin(self.first)
        files, data = self.spoiled()
        some = dict(list(files.items())[:3])
        for at, code in (
            (0, "PACK_MISMATCH"),
            (1500, "PACK_MISMATCH"),
            (len(data) - 1, "PACK_MISMATCH"),
            (len(data) - 40, "PACK_MISMATCH"),
        ):
            bad = bytearray(data)
            bad[at] ^= 1
            self.refuse(code, self.first, some, packs=[self.store.put_pack(bytes(bad), spare=True)])

    def test_pack_directories_with_false_entries_are_refused(self):
        self.begin(self.first)

        def outside(directory):
            directory["segments"][-1][1] += 1000000

        def over(directory):
            directory["segments"][1][0] -= 1

        def negative(directory):
            directory["segments"][0][0] = -1

        def large(directory):
            directory["segments"][0][3][0][1] = 1 << 30

        def raw(directory):
            directory["segments"][1][3][0][1] += 1

        def short(directory):
            directory["segments"][0][3][0][1] -= 1

        def version(directory):
            directory["v"] = 2

        def shape(directory):
            directory["segments"] = [7]

        def words(directory):
            directory["segments"][0][3][0][0] = ["x"]

        for change in (outside, over, negative, large, raw, short, version, shape, words):
            for spare in (False, True):
                files, data = self.spoiled(change=change)
                with self.subTest(change=change.__name__, spare=spare):
                    self.refuse(
                        "PACK_MISMATCH",
                        self.first,
                        files,
                        packs=[self.store.put_pack(data, spare=spare)],
                    )

    def test_a_chunk_under_the_name_of_another_is_reported(self):
        self.begin(self.first)

        def swap(directory):
            one, two = directory["segments"][0][3][:2]
            one[0], two[0] = two[0], one[0]

        files, data = self.spoiled(change=swap)
        for spare in (False, True):
            placed = self.store.put_pack(data, spare=spare)
            error = self.refuse("CHUNK_MISMATCH", self.first, files, packs=[placed])
            self.assertEqual(error["detail"]["pack"], placed["sha256"])
            self.assertIn(error["detail"]["chunk"], [sha256(content) for content in files.values()])

    def test_a_chunk_that_inflates_beyond_its_size_is_refused(self):
        self.begin(self.first)
        bomb = zlib.compress(bytes(300 << 20), 9)
        name = sha256(b"x")
        for segments, tail in (([[0, len(bomb), "z", [[name, 1000]]]], None), (None, bomb)):
            packed = tail or zlib.compress(json.dumps({"v": 1, "segments": segments}).encode())
            data = (b"" if tail else bomb) + packed + struct.pack(">I4s", len(packed), b"NXP1")
            self.refuse(
                "PACK_MISMATCH", self.first, {b"a": b"x"}, packs=[self.store.put_pack(data)]
            )
        record = {"snapshot": snapshot_id(self.second), "url": self.store.url("/m/bomb")}
        self.store.objects["/m/bomb"] = bomb
        self.refuse("SNAPSHOT_MISMATCH", self.first, self.second, self.second, history=[record])

    def test_a_manifest_with_a_delta_is_inflated_to_its_own_small_limit(self):
        self.begin(self.first)
        whole = self.store.put_manifest({b"b": b"0"})
        for fill, refused in ((manifest_chain.MAX_DELTA_BYTES, True), (1000, False)):
            contents = {
                sha256(content): packed(content)
                for content in self.second.values()
                if isinstance(content, bytes)
            }
            change = self.store.put_manifest(
                self.second,
                {b"b": b"0"},
                inline=contents,
                change=lambda record: record.update(padding=" " * fill),
            )
            if refused:
                error = self.refuse(
                    "SNAPSHOT_MISMATCH",
                    self.first,
                    self.second,
                    self.second,
                    history=[whole, change],
                )
                self.assertIn(
                    "it holds more than %d inflated bytes" % manifest_chain.MAX_DELTA_BYTES,
                    error["message"],
                )
            else:
                self.assertTrue(
                    self.run_plan(self.second, self.second, history=[whole, change])["ok"]
                )

    def chain(self, first, second):
        """A full manifest and a delta with more fields."""
        return [
            self.store.put_manifest({b"b": b"0"}, change=lambda it: it.update(first)),
            self.store.put_manifest(
                {b"b": b"1"}, {b"b": b"0"}, change=lambda it: it.update(second)
            ),
        ]

    def load(self, chain):
        connections = http_pool.Connections()
        self.addCleanup(connections.close)
        return manifest_chain.History(connections, chain)

    def set_limit(self, module, name, value):
        self.addCleanup(setattr, module, name, getattr(module, name))
        setattr(module, name, value)

    def test_a_chain_keeps_what_its_manifests_say_of_contents_that_its_snapshots_have(self):
        strange = {"%064x" % number: "x" for number in range(1000)}
        old, new = sha256(b"0"), sha256(b"1")
        first = {"recipes": dict(strange, **{old: "old"}), "inline": strange}
        second = {"recipes": dict(strange, **{new: "new"}), "inline": {new: "data"}}
        loaded = self.load(self.chain(first, second))
        self.assertEqual(loaded.recipes, {old: "old", new: "new"})
        self.assertEqual(loaded.inline, {new: "data"})

    def test_what_the_manifests_of_a_chain_hold_together_is_limited(self):
        self.set_limit(bounded, "MAX_VALUES", 1000)
        half = {"padding": [0] * 600}
        self.load(self.chain(half, {}))
        with self.assertRaises(Failure) as caught:
            self.load(self.chain(half, half))
        self.assertIn("it holds more than 1000 values", caught.exception.message)

        self.set_limit(manifest_chain, "MAX_FULL_BYTES", 1000)
        old, new = sha256(b"0"), sha256(b"1")
        self.load(self.chain({"recipes": {old: "x" * 600}}, {"recipes": {old: "y" * 600}}))
        with self.assertRaises(Failure) as caught:
            self.load(self.chain({"recipes": {old: "x" * 600}}, {"recipes": {new: "y" * 600}}))
        self.assertIn("the chain has more than 1000 bytes", caught.exception.message)

    def test_a_chain_that_names_a_manifest_twice_is_refused(self):
        self.begin(self.first)
        whole = self.store.put_manifest({b"b": b"0"})
        self.refuse("BAD_PLAN", self.first, self.second, self.second, history=[whole, whole])

    def test_a_tampered_manifest_is_reported(self):
        self.begin(self.first)
        base = {b"a": b"1"}

        def changed(name, value):
            return lambda record: record.update({name: value})

        for change in (
            changed("canonical", canonical({b"a": b"2"}).decode()),
            changed("snapshot", "0" * 64),
            changed("base", "0" * 64),
            changed("v", 3),
            changed("recipes", 5),
            changed("canonical", None),
        ):
            whole = self.store.put_manifest(base, change=change)
            error = self.refuse("SNAPSHOT_MISMATCH", self.first, base, base, history=[whole])
            self.assertEqual(error["detail"]["snapshot"], snapshot_id(base))
            self.assertIn("manifest", error["message"])
        for change in (
            changed("deleted", ["b"]),
            changed("entries", "f - 1 x\0"),
            changed("entries", "no end"),
            changed("deleted", 3),
            changed("base", None),
        ):
            history = [
                self.store.put_manifest({b"b": b"0"}),
                self.store.put_manifest(base, {b"b": b"0", b"c": b"0"}, change=change),
            ]
            self.refuse("SNAPSHOT_MISMATCH", self.first, base, base, history=history)
        whole = self.store.put_manifest(base, inline={sha256(b"1"): packed(b"2")})
        os.unlink(self.file("a"))
        reply = self.run_plan(base, base, history=[whole])
        self.assertEqual(reply["error"]["code"], "HASH_MISMATCH")
        self.assertIn("manifest", reply["error"]["message"])

    def test_manifests_deltas_and_data_with_false_content_are_refused(self):
        self.begin(self.first)
        self.refuse("SNAPSHOT_MISMATCH", self.first, {b"q": b"1"}, snapshot="0" * 64)
        lie = {"deleted": [], "entries": "f - 1 %s q\0" % sha256(b"1")}
        self.refuse("SNAPSHOT_MISMATCH", self.first, {b"q": b"1"}, self.first, delta=lie)
        self.refuse(
            "HASH_MISMATCH", self.first, {b"q": b"new"}, inline={sha256(b"new"): packed(b"2")}
        )
        big = noise(9, 1200000)
        for lies in (
            [[sha256(big[:5]), 5]],
            [[sha256(big[:600000]), 600000], [sha256(big[:600000]), 600000]],
        ):
            placed = self.store.put_pack(pack([big[:600000]], segment=700000))
            self.refuse(
                "HASH_MISMATCH",
                self.first,
                {b"q": big},
                recipes={sha256(big): lies},
                packs=[placed],
            )

    def test_the_limits_of_a_sync_are_enforced(self):
        self.begin(self.first)
        for limits in ({"entries": 1, "bytes": 1 << 30}, {"entries": 10, "bytes": 5}):
            files = {b"a": b"1", b"b": b"2222", b"c": b"33"}
            self.assertEqual(
                set(self.refuse("LIMIT", self.first, files, limits=limits)["detail"]),
                {"limit", "value"},
            )

    def test_temporary_failures_are_retried_and_others_reported(self):
        placed = self.store.put_pack(pack([b"1"]))
        data, answers = self.store.objects["/p/" + placed["sha256"]], [503, 500, 429]
        self.store.objects["/p/" + placed["sha256"]] = lambda: answers.pop() if answers else data
        self.sync({b"a": b"1"}, packs=[placed])
        self.store.objects["/p/" + placed["sha256"]] = 503
        error = self.refuse("FETCH_FAILED", {b"a": b"1"}, {b"b": b"1", b"a": b"2"}, packs=[placed])
        self.assertEqual(
            (error["detail"]["what"], error["detail"]["status"], error["detail"]["pack"]),
            ("pack", 503, placed["sha256"]),
        )

    # What is done to a tree on the instance.

    def test_local_edits_are_kept_and_reported(self):
        self.begin(self.first)
        parts = self.history(self.first)
        with open(self.file("a"), "w") as file:
            file.write("mine")
        os.unlink(self.file("l"))
        os.symlink("x", self.file("l"))
        os.unlink(self.file("d/b"))
        reply = self.sync(self.first, self.first, **parts)
        self.assertEqual((reply["reverted"], reply["revertedCount"]), (["a", "d/b", "l"], 3))
        self.assertTrue(reply["kept"].startswith(self.path("kept")))
        with open(os.path.join(reply["kept"], "a")) as file:
            self.assertEqual(file.read(), "mine")
        self.assertEqual(os.readlink(os.path.join(reply["kept"], "l")), "x")

    def test_local_edits_are_overwritten_with_force(self):
        self.begin(self.first)
        with open(self.file("a"), "w") as file:
            file.write("mine")
        reply = self.sync(self.first, self.first, force=True, inline=inline({b"a": b"1"}))
        self.assertEqual((reply["reverted"], reply["kept"]), (["a"], None))
        self.assertFalse(os.path.exists(self.path("kept")))

    def test_local_edits_in_the_way_of_a_change_are_moved_aside(
        self,
    ):
        before, after = (
            {b"a": b"1", b"b": b"2", b"c": b"3"},
            {b"a": b"one", b"c": b"3", b"n": b"new"},
        )
        self.begin(before)
        for name in "abn":
            with open(self.file(name), "w") as file:
                file.write("mine " + name)
        reply = self.sync(after, before, inline=inline(after))
        self.assertEqual(reply["reverted"], ["a"])
        self.assertEqual(sorted(os.listdir(reply["kept"])), ["a", "b", "n"])

    def test_a_wrong_mode_is_corrected_and_setuid_dropped(self):
        self.begin(self.first)
        os.chmod(self.file("x"), 0o4755)
        os.chmod(self.file("a"), 0o600)
        reply = self.sync(self.first, self.first)
        self.assertEqual((reply["reverted"], reply["kept"]), (["a", "x"], None))
        self.assertEqual([os.stat(self.file(name)).st_mode for name in "ax"], [0o100644, 0o100755])

    def test_a_touched_file_is_hashed_once(self):
        self.begin(self.first)
        os.utime(self.file("a"))
        self.assertEqual(self.sync(self.first, self.first)["written"], 0)
        index = os.stat(self.path("stat-keys")).st_mtime_ns
        self.sync(self.first, self.first)
        self.assertEqual(os.stat(self.path("stat-keys")).st_mtime_ns, index)

    def test_a_blocked_path_is_reported_before_anything_is_changed(self):
        before = {b"a": b"1", b"d/b": b"2"}
        self.begin(before)
        os.unlink(self.file("d/b"))
        os.rmdir(self.file("d"))
        os.symlink(self.root, self.file("d"))
        reply = self.run_plan(before, before, inline=inline(before))
        self.assertEqual(
            (reply["error"]["code"], reply["error"]["detail"]["path"]), ("PATH_BLOCKED", "d")
        )
        self.assertNotIn("b", os.listdir(self.root))
        self.sync(before, before, inline=inline(before), force=True)
        os.mkdir(self.file("n"))
        with open(self.file("n/mine"), "w"):
            pass
        after = {b"n": b"1"}
        self.assertEqual(
            self.run_plan(after, before, inline=inline(after))["error"]["code"], "PATH_BLOCKED"
        )
        os.unlink(self.file("n/mine"))
        self.holds({**before, b"n": DIRECTORY})
        self.sync(after, before, inline=inline(after))

    def test_special_files_are_no_files(self):
        self.begin({b"a": b"1"})
        os.unlink(self.file("a"))
        os.mkfifo(self.file("a"))
        reply = self.sync({b"a": b"1"}, {b"a": b"1"}, inline=inline({b"a": b"1"}))
        self.assertTrue(stat.S_ISFIFO(os.lstat(os.path.join(reply["kept"], "a")).st_mode))

    def test_a_symlink_that_replaces_a_directory_during_a_sync_is_not_followed(self):
        """The training user owns the directories: one becomes a symbolic link between the look and
        the switch.
        """
        outside = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, outside)
        self.begin({b"d/a": b"1"})
        real = stages.Stage.sync

        def swap(stage):
            real(stage)
            stage.tree.directories.forget(b"d")
            os.rename(self.file("d"), self.file("moved"))
            os.symlink(outside, self.file("d"))

        stages.Stage.sync = swap
        try:
            reply = self.run_plan({b"d/a": b"2"}, {b"d/a": b"1"}, inline=inline({b"a": b"2"}))
        finally:
            stages.Stage.sync = real
        self.assertEqual(reply["error"]["code"], "PATH_BLOCKED")
        self.assertEqual(os.listdir(outside), [])

    def test_a_full_disk_leaves_the_tree_as_it_was(self):
        self.begin(self.first)
        real, written = os.pwrite, []

        def full(descriptor, data, offset):
            written.append(1)
            if len(written) > 4:
                raise OSError(28, "No space left on device")
            return real(descriptor, data, offset)

        os.pwrite = full
        try:
            files = {b"n%d" % number: noise(number, 5000) for number in range(9)}
            packs, _ = self.store.put_packs(files)
            error = self.refuse("NO_SPACE", self.first, files, packs=packs)
            self.assertEqual(error["detail"]["path"], self.path())
        finally:
            os.pwrite = real
        self.assertFalse(os.path.exists(self.path("stage")))

    def test_a_sync_that_needs_more_disk_than_is_free_is_refused_at_once(self):
        self.begin(self.first)
        largest = (1 << 32) - 1
        huge = 10000 * largest
        manifest = "nx-ec2 snapshot 1\0f - %d %s q\0" % (huge, "1" * 64)
        recipe = recipe_of([("2" * 64, largest)] * 10000)
        part = {
            "snapshot": sha256(manifest.encode()),
            "canonical": manifest,
            "recipes": {"1" * 64: [recipe]},
            "packs": [self.store.put_pack(pack([b"x"]))],
            "limits": {"entries": 5, "bytes": 1 << 60},
        }
        self.refuse("NO_SPACE", self.first, {}, **part)

    # Locks.

    def test_two_syncs_at_once_run_one_after_another(self):
        snapshots = [{b"a": noise(seed, 1000), b"d%d/x" % seed: b"1"} for seed in range(4)]
        children = []
        for files in snapshots:
            child = os.fork()
            if child == 0:
                reply = main.run(plan(files, inline=inline(files)), self.root)
                os._exit(0 if reply["ok"] else 1)
            children.append(child)
        self.assertEqual([os.waitpid(child, 0)[1] for child in children], [0] * 4)
        self.assertIn(read_tree(self.root), snapshots)

    def holder(self, expires, start=None):
        """A process that holds the lock and does not let go."""
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            locks.EXPIRY_S = expires
            with locks.TreeLock(self.root, "t") as lock:
                if start is not None:
                    owner = dict(lock._owner(), start=start)
                    os.pwrite(
                        lock.descriptor, json.dumps(owner).encode().ljust(locks.OWNER_BYTES), 0
                    )
                os.write(told, b"x")
                time.sleep(60)
                os._exit(0)
        os.read(ready, 1)
        os.close(ready)
        os.close(told)
        return child

    def test_a_process_that_holds_the_lock_past_its_expiry_is_killed(self):
        child = self.holder(-1)
        self.sync({b"a": b"1"}, inline=inline({b"a": b"1"}))
        self.assertEqual(os.waitpid(child, 0)[1], signal.SIGKILL)

    def test_a_process_that_holds_the_lock_in_time_is_not_killed_nor_a_reused_pid(self):
        wait, locks.LOCK_TIMEOUT_S = locks.LOCK_TIMEOUT_S, 0.3
        try:
            for expires, start in ((100, None), (-1, 1)):
                child = self.holder(expires, start)
                error = self.run_plan({b"a": b"1"})["error"]
                self.assertEqual(
                    (error["code"], error["detail"]["owner"].split()[0]), ("BUSY", str(child))
                )
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        finally:
            locks.LOCK_TIMEOUT_S = wait


class PlansWithoutRanges(Plans):
    """The same, of a server that ignores what part is asked for."""

    ranges = False


class KillTest(PlanTest):
    STEPS = (
        "replace",
        "rename",
        "unlink",
        "rmdir",
        "mkdir",
        "symlink",
        "link",
        "fsync",
        "open",
        "pwrite",
        "ftruncate",
        "fchmod",
        "chown",
        "fchown",
    )
    first = {
        b"same": b"0",
        b"changed": b"1",
        b"gone/a": b"2",
        b"x": b"3",
        b"moved": b"4",
        b"big": noise(1, 1200000),
        b"deep/er/f": b"d",
        b"e": DIRECTORY,
    }
    second = {
        b"same": b"0",
        b"changed": b"one",
        b"new/b": b"5",
        b"x/y": b"6",
        b"moved2": b"4",
        b"l": Link(b"same"),
        b"big2": noise(1, 1200000),
        b"copy": Executable(b"5"),
        b"big": noise(1, 600000) + b"+" + noise(1, 1200000)[600000:],
        b"deep": b"no directory",
        b"e/f": b"7",
    }

    def test_killed_at_any_step_the_same_plan_completes_the_sync(self):
        chunk = noise(1, 600000) + b"+"
        big = self.first[b"big"]
        recipes = {
            sha256(self.second[b"big"]): [
                [sha256(chunk), len(chunk)],
                [sha256(big), 600000, len(big) - 600000],
            ]
        }
        small = pack([b"one", b"5", b"6", b"no directory", chunk], segment=700000)
        packs = [self.store.put_pack(small)]
        spare, whole = self.store.put_packs(self.first, spare=True)
        history = [self.store.put_manifest(self.first, recipes=whole, packs=spare)]
        part = {
            "recipes": recipes,
            "packs": packs + spare,
            "inline": inline({b"e/f": b"7"}),
            "history": history,
        }
        self.assertGreater(self.kill_everywhere(part), 40)

    def kill_everywhere(self, part):
        self.begin(self.first)
        saved = self.root + ".saved"
        shutil.copytree(self.path(), saved, symlinks=True)
        self.addCleanup(shutil.rmtree, saved)
        for kill_at in range(1, 1000):
            shutil.rmtree(self.path())
            shutil.copytree(saved, self.path(), symlinks=True)
            self.sync(self.first, self.first)
            child = os.fork()
            if child == 0:
                count = [0]
                for name in self.STEPS:
                    self.counted(name, count, kill_at)
                main.run(plan(self.second, self.first, **part), self.root)
                os._exit(0)
            killed = os.waitpid(child, 0)[1] != 0
            with self.subTest(kill_at=kill_at):
                # Either the same again, or something else: back, and then there.
                back, spare = (
                    random.Random(kill_at).random() < 0.3,
                    [each for each in part["packs"] if each["spare"]],
                )
                if back:
                    reply = self.sync(self.first, self.first, history=part["history"], packs=spare)
                    self.assertIsNone(reply["kept"])
                reply = self.sync(self.second, self.first, **part)
                self.assertIsNone(reply["kept"])
                self.assertEqual(reply["reverted"], [])
            if not killed:
                return kill_at
        self.fail("there was no end")

    @staticmethod
    def counted(name, count, kill_at):
        real = getattr(os, name)

        def step(*args, **keywords):
            if name != "open" or args[1] & (os.O_WRONLY | os.O_RDWR):
                count[0] += 1
                if count[0] == kill_at:
                    if name == "pwrite":
                        # Half of it was written.
                        real(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                    os._exit(9)
            return real(*args, **keywords)

        setattr(os, name, step)


class RandomTest(PlanTest):
    def test_random_snapshots_are_synced_one_after_another(self):
        seed = int(os.environ.get("NX_EC2_TEST_SEED") or 20260101)
        for number in range(int(os.environ.get("NX_EC2_TEST_RUNS") or 25)):
            with self.subTest(seed=seed + number):
                shutil.rmtree(self.path(), ignore_errors=True)
                self.follow(random.Random(seed + number))

    def follow(self, chance):
        chain = [self.snapshot(chance, {})]
        while len(chain) < 4:
            files = self.snapshot(chance, chain[-1])
            # A chain of records names no snapshot twice.
            if snapshot_id(files) not in map(snapshot_id, chain):
                chain.append(files)
        before = None
        history, spare = [], []
        for files in chain:
            packs, recipes = self.store.put_packs(files, per_pack=chance.randint(1, 10))
            part = {"recipes": recipes, "packs": packs + spare, "history": history}
            if before is not None and chance.random() < 0.3:
                # Somebody else was here, or deleted something, or nothing is left.
                what = chance.choice(["other", "deleted", "lost"])
                if what == "lost":
                    shutil.rmtree(self.path())
                elif what == "other":
                    other = self.snapshot(chance, before)
                    self.sync(other, base_id=snapshot_id(before), inline=inline(other))
                else:
                    for directory, _, names in os.walk(self.path("files")):
                        for name in names:
                            if chance.random() < 0.5:
                                os.unlink(os.path.join(directory, name))
                reply = self.sync(files, before, **part)
            else:
                reply = self.sync(files, before, **part)
                self.assertEqual(reply["reverted"], [])
            self.assertIsNone(reply["kept"])
            again = self.sync(files, files)
            self.assertEqual((again["written"], again["deleted"]), (0, 0))
            history = history + [self.store.put_manifest(files, before, recipes, packs)]
            spare = spare + [dict(each, spare=True) for each in packs]
            before = files

    def snapshot(self, chance, before):
        files = {path: content for path, content in before.items() if chance.random() < 0.7}
        for path in [path for path in files if chance.random() < 0.15]:
            files[b"r/" + path] = files.pop(path)
        for _ in range(chance.randint(0, 12)):
            path = b"/".join(
                chance.choice([b"a", b"b", b"a-b", b"c.d", b"\xc3\xa9", b" "])
                for _ in range(chance.randint(1, 4))
            )
            kind = chance.random()
            if kind < 0.1:
                files[path] = DIRECTORY
            elif kind < 0.2:
                files[path] = Link(b"x")
            elif kind < 0.35:
                files[path] = Executable(noise(chance.randint(0, 20), chance.randint(0, 50)))
            elif kind < 0.45:
                files[path] = noise(chance.randint(0, 3), 1200000) + noise(
                    chance.randint(0, 3), 50000
                )
            else:
                files[path] = noise(chance.randint(0, 20), chance.randint(0, 3000))
        # No entry where another needs a directory: the later one in the order stays.
        for path in sorted(files):
            parent = path.rpartition(b"/")[0]
            while parent:
                files.pop(parent, None)
                parent = parent.rpartition(b"/")[0]
        return files


if __name__ == "__main__":
    unittest.main()
