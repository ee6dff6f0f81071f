"""Files and artifacts in the store: each part is uploaded once, and no file that changed."""

import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401
from memory_bucket import Bucket

from nx_ec2_runtime.checkpoints import part_download, part_upload
from nx_ec2_runtime.report import artifacts
from nx_ec2_runtime.run_dir import written_files
from nx_ec2_runtime.system.errors import Failure


def small_parts(case, size=1000):
    before = part_upload.PART_BYTES
    part_upload.PART_BYTES = size
    case.addCleanup(setattr, part_upload, "PART_BYTES", before)


class Files(unittest.TestCase):
    def setUp(self):
        self.base = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.base)
        self.known = os.path.join(tempfile.mkdtemp(), "parts.json")
        self.addCleanup(shutil.rmtree, os.path.dirname(self.known))
        self.random = random.Random(7)
        small_parts(self)

    def write(self, path, data, mode=0o644):
        full = os.path.join(self.base, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(data)
        os.chmod(full, mode)
        return full

    def noise(self, size):
        return bytes(self.random.getrandbits(8) for _ in range(size))

    def parts(self, bucket):
        it = part_upload.Parts(bucket, self.known)
        self.addCleanup(it.close)
        return it

    def restored(self, entry, bucket):
        target = os.path.join(self.base, "restored")
        part_download.restore(entry, target, bucket.part)
        with open(target, "rb") as file:
            return file.read()


class PartsTest(Files):
    def test_any_file_is_restored_unchanged(self):
        bucket = Bucket()
        saved = self.parts(bucket)
        for size in [0, 1, 999, 1000, 1001, 2000, 7777] + [
            self.random.randrange(30000) for _ in range(20)
        ]:
            data = self.noise(size)
            seen = []
            self.write("d/f", data, 0o755 if size % 2 else 0o644)
            entry = saved.save(self.base, "d/f", seen.append)
            self.assertEqual(
                entry,
                {
                    "path": "d/f",
                    "size": size,
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "executable": bool(size % 2),
                    "parts": [
                        hashlib.sha256(data[at : at + 1000]).hexdigest()
                        for at in range(0, size, 1000)
                    ],
                },
            )
            self.assertEqual(sum(seen), size)
            self.assertEqual(self.restored(entry, bucket), data)
            self.assertEqual(
                bool(os.stat(os.path.join(self.base, "restored")).st_mode & 0o111), bool(size % 2)
            )
        self.assertEqual(len(bucket.puts), len(set(bucket.puts)))

    def test_the_size_of_a_part_is_the_formats(self):
        self.doCleanups()
        self.assertEqual(part_upload.PART_BYTES, 8 * 1024 * 1024)

    def test_a_part_is_sent_once_within_a_file_between_files_and_by_the_next_process(self):
        bucket = Bucket()
        self.write("same", b"x" * 10000)
        self.write("other", b"x" * 5000 + b"y" * 1000)
        self.parts(bucket).save_all(self.base, ["same", "other"])
        self.assertEqual(len(bucket.puts), 2)
        self.parts(bucket).save(self.base, "other")
        self.assertEqual(len(bucket.puts), 2)

    def test_a_part_that_is_being_uploaded_is_not_uploaded_twice(self):
        bucket, passed, seen = Bucket(), threading.Event(), []

        def on_bytes(count):
            seen.append(count)
            if len(seen) == 3:
                passed.set()

        bucket.before_put = lambda _: self.assertTrue(passed.wait(20))
        self.write("same", b"x" * 4000)
        self.parts(bucket).save(self.base, "same", on_bytes)
        self.assertEqual((len(bucket.puts), sum(seen)), (1, 4000))

    def test_killed_at_any_put_the_next_process_uploads_no_part_twice(self):
        self.write("a", self.noise(9500))
        self.write("b", self.noise(3000))
        want = Bucket()
        self.parts(want).save_all(self.base, ["a", "b"])
        for fail in range(1, len(want.puts) + 1):
            self.known = os.path.join(
                tempfile.mkdtemp(dir=os.path.dirname(self.known)), "parts.json"
            )
            bucket = Bucket(fail=fail)
            with self.assertRaises(Failure):
                self.parts(bucket).save_all(self.base, ["a", "b"])
            acknowledged = set(bucket.objects)
            bucket.fail, bucket.puts = None, []
            self.parts(bucket).save_all(self.base, ["a", "b"])
            self.assertEqual(bucket.objects, want.objects)
            self.assertFalse(acknowledged & set(bucket.puts))

    def test_a_list_of_parts_with_an_incomplete_line_is_continued(self):
        bucket = Bucket()
        self.write("a", self.noise(3000))
        self.parts(bucket).save(self.base, "a")
        with open(self.known, "r+b") as file:
            file.truncate(65 * 3 - 20)
        self.parts(bucket).save(self.base, "a")
        self.assertEqual(len(bucket.puts), 4)
        self.parts(bucket).save(self.base, "a")
        self.assertEqual(len(bucket.puts), 4)

    def test_up_to_four_parts_are_uploaded_at_once(self):
        together = threading.Barrier(4)
        bucket = Bucket()
        bucket.before_put = lambda _: together.wait(20)
        self.write("a", self.noise(8000))
        self.parts(bucket).save(self.base, "a")
        self.assertEqual(bucket.most, 4)

    def test_a_file_that_changes_while_it_is_read_is_not_saved(self):
        def grow(path):
            with open(path, "ab") as file:
                file.write(b"more")

        def cut(path):
            os.truncate(path, 10)

        def rewrite(path):
            with open(path, "r+b") as file:
                file.write(b"z")
            os.utime(path, (5, 5))

        def replace(path):
            found = os.stat(path)
            shutil.copyfile(path, path + ".new")
            os.utime(path + ".new", ns=(found.st_atime_ns, found.st_mtime_ns))
            os.rename(path + ".new", path)

        for change in (grow, cut, rewrite, replace, os.unlink):
            with self.subTest(change.__name__):
                path = self.write("a", self.noise(20000))
                done, lock = [], threading.Lock()

                def once(_):
                    # No put ends before the change: there are more parts than puts at once, so the
                    # file is still being read.
                    with lock:
                        if not done:
                            change(path)
                            done.append(1)

                bucket = Bucket()
                bucket.before_put = once
                with self.assertRaises(part_upload.Changed):
                    self.parts(bucket).save(self.base, "a")

    def test_only_regular_files_are_read_and_no_link_is_followed(self):
        self.write("d/real", b"x")
        os.symlink("real", os.path.join(self.base, "d/link"))
        os.symlink("d", os.path.join(self.base, "way"))
        os.mkfifo(os.path.join(self.base, "pipe"))
        saved = self.parts(Bucket())
        for path in ("d/link", "way/real", "pipe", "d", "gone", "d/real/below"):
            with self.subTest(path), self.assertRaises(part_upload.Changed):
                saved.save(self.base, path)

    def test_a_damaged_part_is_refused_and_restores_nothing(self):
        bucket = Bucket()
        self.write("a", self.noise(4500))
        entry = self.parts(bucket).save(self.base, "a")
        spoilt = [dict(bucket.objects), dict(bucket.objects), dict(bucket.objects)]
        second = "part/" + entry["parts"][1]
        spoilt[0][second] = b"other" + spoilt[0][second][5:]
        del spoilt[1][second]
        spoilt[2][second] = spoilt[2][second] + b"more"
        cases = [(entry, Bucket(objects)) for objects in spoilt]
        cases.append((dict(entry, sha256="0" * 64), bucket))
        cases.append((dict(entry, parts=list(reversed(entry["parts"]))), bucket))
        cases.extend(
            (dict(entry, **change), bucket)
            for change in (
                {"size": 4000},
                {"parts": entry["parts"][:4]},
                {"path": "../a"},
                {"path": "a//b"},
                {"path": "/a"},
                {"size": -1},
                {"size": "4500"},
                {"executable": 1},
            )
        )
        for wrong, where in cases:
            with self.assertRaises(Failure) as raised:
                self.restored(wrong, where)
            self.assertEqual(raised.exception.code, "PART_MISMATCH")
            if where is not bucket:
                self.assertEqual(raised.exception.detail, {"part": entry["parts"][1], "path": "a"})
            self.assertEqual(os.listdir(self.base), ["a"])


class ArtifactsTest(Files):
    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.base, "no-home")

    def save(self, bucket=None, patterns=("artifacts",), progress=None, **limits):
        part = {
            "projectRoot": ".",
            "artifacts": {
                "outputs": [{"pattern": each, "base": "artifacts"} for each in patterns],
                "scratch": [],
                "numbered": [],
                "limits": dict({"files": 100, "bytes": 1 << 30}, **limits),
                "extra": {"files": 100, "bytes": 1 << 30},
            },
        }
        bucket = bucket or Bucket()
        state = artifacts.save_artifacts(
            part,
            self.base,
            written_files.Inputs(self.home),
            parts=self.parts(bucket),
            bucket=bucket,
            progress=progress,
        )
        data = bucket.objects["artifacts.json"]
        self.assertEqual(state["sha256"], hashlib.sha256(data).hexdigest())
        return state, json.loads(data)

    def test_saves_what_the_patterns_name_and_says_what_it_skips(self):
        self.write("artifacts/model.bin", b"model" * 1000, 0o755)
        self.write("artifacts/deep/er/x.txt", b"x")
        self.write("artifacts/unwanted", b"no")
        self.write("elsewhere", b"no")
        os.symlink("model.bin", os.path.join(self.base, "artifacts/link"))
        os.symlink("..", os.path.join(self.base, "artifacts/up"))
        os.mkfifo(os.path.join(self.base, "artifacts/pipe"))
        self.write(os.fsdecode(b"artifacts/\xff"), b"x")
        seen = []
        state, listed = self.save(
            patterns=(r"artifacts/(?!unwanted).*",), progress=lambda *now: seen.append(now)
        )
        self.assertEqual(
            [entry["path"] for entry in listed["files"]],
            ["artifacts/deep/er/x.txt", "artifacts/model.bin", "artifacts/link"],
        )
        self.assertEqual([entry["executable"] for entry in listed["files"]], [False, True, True])
        self.assertEqual(
            {each["path"]: each["why"] for each in listed["skipped"]},
            {
                "artifacts/up": "a symbolic link",
                "artifacts/pipe": "a special file",
                "artifacts/?": "its name is not UTF-8",
            },
        )
        self.assertEqual(
            [(each["path"], each["unsaved"]) for each in listed["skipped"] if "unsaved" in each],
            [("artifacts/?", "name")],
        )
        self.assertEqual(
            (state["state"], state["files"], state["bytes"], seen[-1]),
            ("saved", 3, 10001, (5001, 5001)),
        )

    def test_a_link_is_saved_as_a_copy_of_the_file_that_it_leads_to(self):
        self.write("artifacts/epoch=1.ckpt", b"one")
        self.write("artifacts/left-out", b"no")
        self.write("secret", b"secret")
        scratch = os.path.join(os.path.dirname(self.known), "weights.bin")
        with open(scratch, "wb") as file:
            file.write(b"weights")
        links = {
            "last.ckpt": "epoch=1.ckpt",
            "deep/last": "../last.ckpt",
            "deep/dotted": ".././deep/../epoch=1.ckpt",
            "loop": "loop2",
            "loop2": "loop",
            "out": "../secret",
            "absolute": os.path.join(self.base, "artifacts/epoch=1.ckpt"),
            "unmatched": "left-out",
            "gone": "nothing",
            "dir": "deep",
            "up": "../artifacts",
            "by-up": "up/last.ckpt",
            "elsewhere": scratch,
            "elsewhere-dir": os.path.dirname(scratch),
            "null": "/dev/null",
            "input": "../data/a.csv",
            "inputs": os.path.join(self.base, "data"),
        }
        os.mkdir(os.path.join(self.base, "artifacts/deep"))
        self.write("data/a.csv", b"sent")
        self.home = os.path.dirname(self.known)
        sent = ("file", False, 4, hashlib.sha256(b"sent").hexdigest())
        written_files.keep_sent(self.home, {b"data/a.csv": sent})
        for name, to in links.items():
            os.symlink(to, os.path.join(self.base, "artifacts", name))
        bucket = Bucket()
        state, listed = self.save(bucket, patterns=("artifacts/(?!left-out).*",))
        by_path = {entry["path"][len("artifacts/") :]: entry["sha256"] for entry in listed["files"]}
        one = hashlib.sha256(b"one").hexdigest()
        self.assertEqual(
            by_path,
            {
                **dict.fromkeys(
                    ("epoch=1.ckpt", "last.ckpt", "deep/last", "deep/dotted", "absolute", "by-up"),
                    one,
                ),
                # Of files elsewhere, too: on a disk for large files, for example.
                "out": hashlib.sha256(b"secret").hexdigest(),
                "elsewhere": hashlib.sha256(b"weights").hexdigest(),
                "unmatched": hashlib.sha256(b"no").hexdigest(),
                "input": hashlib.sha256(b"sent").hexdigest(),
            },
        )
        left = {
            each["path"][len("artifacts/") :]: each.get("unsaved") for each in listed["skipped"]
        }
        self.assertEqual(
            left,
            {
                "elsewhere-dir": "link",
                # These lose nothing.
                **dict.fromkeys(("dir", "gone", "loop", "loop2", "null", "inputs", "up"), None),
            },
        )
        self.assertEqual(state["unsaved"], 1)
        self.assertEqual(
            {each["why"] for each in listed["skipped"]},
            {
                "a symbolic link",
                "a symbolic link to artifacts, whose files come back",
                "a symbolic link to a directory outside the outputs",
            },
        )
        # A link to a directory whose files come back by themselves, as wandb/latest-run is, says
        # so.
        self.write("artifacts/deep/er/model.pt", b"model")
        _, listed = self.save(Bucket(), patterns=("artifacts/(?!left-out).*",))
        why = {each["path"]: each["why"] for each in listed["skipped"]}
        self.assertEqual(
            (why["artifacts/dir"], why["artifacts/gone"]),
            ("a symbolic link to artifacts/deep, whose files come back", "a symbolic link"),
        )
        self.assertEqual(len([name for name in bucket.puts if name.startswith("part/")]), 5)
        # Each copy counts as a file.
        state, listed = self.save(files=3)
        self.assertEqual(state["files"], 3)
        self.assertIn(
            {"path": "artifacts/last.ckpt", "why": artifacts.OVER_LIMIT, "unsaved": "files"},
            listed["skipped"],
        )

    def test_a_path_that_a_client_could_not_read_is_skipped(self):
        deep = "artifacts"
        descriptor = os.open(self.base, os.O_RDONLY)
        for name in ["artifacts"] + ["d" * 250] * 17:
            os.mkdir(name, dir_fd=descriptor)
            below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
        os.close(descriptor)
        for number in range(1200):
            os.symlink("nothing", os.path.join(self.base, deep, "link%d" % number))
        _, listed = self.save()
        self.assertEqual(listed["files"], [])
        self.assertEqual(len(listed["skipped"]), 1001)
        self.assertEqual(listed["skipped"][-1]["path"], "201 more")
        self.assertTrue(all(len(each["path"]) < 300 for each in listed["skipped"]))

    def test_a_removed_or_linked_output_directory_has_no_artifacts(self):
        self.assertEqual(self.save()[1]["files"], [])
        self.write("secret/key", b"x")
        os.symlink("secret", os.path.join(self.base, "artifacts"))
        self.assertEqual(self.save()[1]["files"], [])

    def test_over_a_limit_the_smallest_files_are_saved_and_the_others_are_named(self):
        for size in (10, 30, 20):
            self.write("artifacts/%d" % size, b"x" * size)
        for limits, saved, left in (
            ({"files": 2}, ["10", "20"], [("30", "files")]),
            ({"bytes": 59}, ["10", "20"], [("30", "bytes")]),
            ({"bytes": 9}, [], [("30", "bytes"), ("20", "bytes"), ("10", "bytes")]),
            ({"files": 3, "bytes": 60}, ["10", "20", "30"], []),
        ):
            with self.subTest(**limits):
                state, listed = self.save(**limits)
                self.assertEqual([each["path"][10:] for each in listed["files"]], saved)
                self.assertEqual(
                    [(each["path"][10:], each["unsaved"]) for each in listed["skipped"]], left
                )
                self.assertEqual((state["state"], state["unsaved"]), ("saved", len(left)))

    def test_a_file_that_always_changes_is_reported(self):
        path = self.write("artifacts/busy", b"x" * 5000)
        look_again = part_upload.Parts._now

        def save(change):
            # Between the last byte that is read and the look whether that is still the file.
            with mock.patch.object(
                part_upload.Parts,
                "_now",
                lambda parts, *args: (change(), look_again(parts, *args))[1],
            ):
                return self.save()

        times = iter(range(1, 10))
        state, listed = save(lambda: os.utime(path, (next(times), 1000 * next(times))))
        self.assertEqual((state["state"], state["files"]), ("saved", 0))
        self.assertEqual(
            listed["skipped"],
            [{"path": "artifacts/busy", "why": artifacts.CHANGED, "unsaved": "changed"}],
        )
        once = iter([lambda: os.utime(path, (1, 1))])
        self.assertEqual(save(lambda: next(once, lambda: None)())[0]["files"], 1)

    def test_a_growing_file_is_skipped_and_the_others_are_read_once(self):
        for name in ("a", "busy", "z"):
            self.write("artifacts/" + name, name.encode())
        os.symlink("busy", os.path.join(self.base, "artifacts/link"))
        os.symlink("a", os.path.join(self.base, "artifacts/other"))
        read, look_again, readings = part_upload.Parts._read, part_upload.Parts._now, []

        def grow(parts, base, path):
            if path == "artifacts/busy":
                with open(os.path.join(self.base, path), "ab") as file:
                    file.write(b"more")
            return look_again(parts, base, path)

        def count(parts, base, path, sending):
            readings.append(path)
            return read(parts, base, path, sending)

        with mock.patch.object(part_upload.Parts, "_now", grow), mock.patch.object(
            part_upload.Parts, "_read", count
        ):
            state, listed = self.save()
        self.assertEqual(
            [each["path"] for each in listed["files"]],
            ["artifacts/a", "artifacts/z", "artifacts/other"],
        )
        self.assertEqual(
            [(each["path"], each.get("unsaved")) for each in listed["skipped"]],
            [
                ("artifacts/busy", "changed"),
                ("artifacts/link", "changed"),
            ],
        )
        self.assertEqual(
            sorted(readings),
            ["artifacts/a"] + ["artifacts/busy"] * artifacts.MAX_READS + ["artifacts/z"],
        )
        self.assertEqual((state["state"], state["error"]), ("saved", None))

    def test_growing_files_are_listed_though_the_list_of_skipped_files_is_full(self):
        path = self.write("artifacts/zz-busy", b"x")
        for number in range(artifacts.MAX_LISTED + 1):
            os.symlink("nothing", os.path.join(self.base, "artifacts/link%d" % number))
        look_again = part_upload.Parts._now
        with mock.patch.object(
            part_upload.Parts, "_now", lambda *args: (os.utime(path), look_again(*args))[1]
        ):
            _, listed = self.save()
        self.assertEqual(
            [each["path"] for each in listed["skipped"] if each.get("unsaved") == "changed"],
            ["artifacts/zz-busy"],
        )

    def test_killed_at_any_put_the_next_process_uploads_the_same_objects(self):
        for name in "abc":
            self.write("artifacts/" + name, self.noise(2500))
        want = Bucket()
        self.save(want)
        for fail in range(1, len(want.puts) + 1):
            for late in (False, True):
                self.known = os.path.join(
                    tempfile.mkdtemp(dir=os.path.dirname(self.known)), "parts.json"
                )
                bucket = Bucket(fail=fail, late=late)
                with self.assertRaises(Failure):
                    self.save(bucket)
                bucket.fail = None
                self.save(bucket)
                self.assertEqual(bucket.objects, want.objects)


if __name__ == "__main__":
    unittest.main()
