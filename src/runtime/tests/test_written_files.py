"""The files that a run has written are found, and no others."""

import json
import os
import random
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hashlib

import test_sync  # noqa: F401
from memory_bucket import Bucket
from runs import Trainings

from nx_ec2_runtime.checkpoints import part_upload
from nx_ec2_runtime.report import artifacts
from nx_ec2_runtime.run_dir import written_files
from nx_ec2_runtime.system import atomic_files


class Directory(unittest.TestCase):
    def setUp(self):
        self.home = os.path.realpath(tempfile.mkdtemp())
        self.work = os.path.join(self.home, "work")
        os.makedirs(os.path.join(self.work, "p"))
        self.sent = {}

    def write(self, path, data=b"x"):
        whole = os.path.join(self.work, path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "wb") as file:
            file.write(data)

    def send(self, **contents):
        for path, data in contents.pop("files", contents).items():
            self.write(path, data)
            self.sent[os.fsencode(path)] = (
                "file",
                False,
                len(data),
                hashlib.sha256(data).hexdigest(),
            )
        written_files.keep_sent(self.home, dict(sorted(self.sent.items())))

    def part(self, *outputs, scratch=(), **extra):
        rules = [
            {"pattern": pattern, "base": base}
            for pattern, base in outputs or [("artifacts", "artifacts")]
        ]
        return {
            "projectRoot": "p",
            "artifacts": {
                "outputs": rules,
                "scratch": [{"pattern": each, "base": each} for each in scratch],
                "limits": {"files": 100, "bytes": 1 << 30},
                "extra": dict({"files": 100, "bytes": 1 << 30}, **extra),
            },
        }

    def begin(self, *outputs, was_set_up=False):
        written_files.keep_baseline(self.home, self.part(*outputs), was_set_up)

    def look(self, *outputs, **more):
        found = written_files.look(
            self.work, self.part(*outputs, **more), inputs=written_files.Inputs(self.home)
        )
        return [path for path, _ in found.outputs], [path for path, _ in found.extra], found


class LookTest(Directory):
    def test_new_and_changed_files_are_outputs_or_extra(self):
        self.send(files={"p/train.py": b"code", "p/config.json": b"{}", "lib/a.py": b"a"})
        self.begin()
        self.write("p/artifacts/model.pt")
        self.write("p/out/deep/model.pt")
        self.write("p/config.json", b"[]")
        self.write("lib/a.py", b"a")
        self.write("mlruns/0/meta.yaml")
        outputs, extra, _ = self.look()
        self.assertEqual(
            (outputs, extra),
            (
                ["artifacts/model.pt"],
                ["mlruns/0/meta.yaml", "p/config.json", "p/out/deep/model.pt"],
            ),
        )

    def test_an_output_names_files_directories_and_what_is_in_directories_that_match(self):
        self.send(files={"p/train.py": b"code"})
        self.begin()
        for path in (
            "snapshot.pt",
            "wandb/run/x",
            "lightning_logs/version_0/metrics.csv",
            "lightning_logs/other",
            "snapshot.pt.bak",
        ):
            self.write("p/" + path)
        outputs, extra, _ = self.look(
            ("snapshot\\.pt", "snapshot.pt"),
            ("wandb", "wandb"),
            ("lightning_logs/version_[^/]*", "lightning_logs"),
        )
        self.assertEqual(
            outputs, ["lightning_logs/version_0/metrics.csv", "snapshot.pt", "wandb/run/x"]
        )
        self.assertEqual(extra, ["p/lightning_logs/other", "p/snapshot.pt.bak"])

    def test_a_file_of_an_output_that_was_sent_counts_where_it_changed(self):
        self.send(files={"p/artifacts/kept.json": b"one", "p/artifacts/params.json": b"two"})
        self.begin()
        self.write("p/artifacts/kept.json", b"one")
        self.write("p/artifacts/params.json", b"2.0")
        self.assertEqual(self.look()[:2], (["artifacts/params.json"], []))

    def test_caches_are_no_extra_files_and_an_output_may_name_one(self):
        self.send(files={"p/train.py": b"code"})
        self.begin()
        for path in (
            "p/__pycache__/train.pyc",
            ".venv/bin/python",
            "p/.cache/hub/weights",
            "p/pkg.egg-info/PKG-INFO",
            "p/x.pyc",
        ):
            self.write(path)
        self.assertEqual(self.look()[:2], ([], []))
        self.assertEqual(self.look(("\\.cache", ".cache"))[0], [".cache/hub/weights"])
        self.assertEqual(self.look(("\\.cache/hub/.*", ".cache/hub"))[0], [".cache/hub/weights"])

    def test_scratch_files_are_neither_extra_nor_looked_for_and_an_output_in_them_is_one(self):
        self.send(files={"p/train.py": b"code"})
        self.begin()
        for path in ("p/data/mnist/a", "p/data/model.pt", "p/tmp.bin", "p/other", "data/b"):
            self.write(path)
        scratch = {"scratch": ("data", "tmp\\.bin")}
        self.assertEqual(self.look(**scratch)[:2], ([], ["data/b", "p/other"]))
        self.assertEqual(
            self.look(("data/model\\.pt", "data/model.pt"), **scratch)[:2],
            (["data/model.pt"], ["data/b", "p/other"]),
        )

    def test_files_of_the_set_up_are_no_outputs_unless_the_training_changes_them(self):
        self.send(files={"p/train.py": b"code"})
        self.write("p/build/lib.so", b"built")
        self.write("p/build/log", b"built")
        self.begin(was_set_up=True)
        self.write("p/build/log", b"written")
        self.assertEqual(self.look()[1], ["p/build/log"])

    def test_a_second_link_to_a_file_that_was_sent_is_no_change_of_it(self):
        self.send(files={"p/data.bin": b"data"})
        self.begin()
        os.link(os.path.join(self.work, "p/data.bin"), os.path.join(self.home, "other"))
        self.assertEqual(self.look()[1], [])

    def test_a_file_changed_after_the_clock_was_set_back_counts_as_changed(self):
        # Its time is then before the one at which what was sent was put there.
        self.write("p/config.json", b"[]")
        changed = os.stat(os.path.join(self.work, "p/config.json")).st_ctime_ns
        self.sent[b"p/config.json"] = ("file", False, 2, hashlib.sha256(b"{}").hexdigest())
        sent = os.path.join(self.home, written_files.SENT)
        while not os.path.exists(sent) or os.stat(sent).st_ctime_ns <= changed:
            written_files.keep_sent(self.home, self.sent)
        self.begin()
        self.assertEqual(self.look(("config.json", "config.json"))[0], ["config.json"])

    def test_before_the_training_starts_there_are_no_extra_files(self):
        self.send(files={"p/train.py": b"code"})
        self.write("p/half-built")
        self.assertEqual(self.look()[1], [])

    def test_each_of_random_files_is_found_once_or_unchanged(self):
        chance = random.Random(12)
        for _ in range(30):
            self.setUp()
            names = [
                "%s%s"
                % (
                    chance.choice(("p/", "", "p/artifacts/", "q/r/")),
                    chance.choice("abcdefgh \n*é"),
                )
                for _ in range(12)
            ]
            sent = {name: b"%d" % chance.randrange(3) for name in names if chance.random() < 0.5}
            self.send(files=sent)
            self.begin()
            now = dict(sent)
            for name in names:
                if chance.random() < 0.6:
                    now[name] = b"%d" % chance.randrange(3)
                    self.write(name, now[name])
            outputs, extra, _ = self.look()
            want = {name for name in now if sent.get(name) != now[name]}
            self.assertEqual(sorted(["p/" + path for path in outputs] + extra), sorted(want))
            self.assertTrue(all(path.startswith("artifacts/") for path in outputs))


class SaveExtraTest(Directory):
    def save(self, part):
        bucket = Bucket()
        known = part_upload.Parts(bucket, os.path.join(self.home, "parts.json"))
        self.addCleanup(known.close)
        state = artifacts.save_artifacts(
            part, self.work, written_files.Inputs(self.home), parts=known, bucket=bucket
        )
        return state, json.loads(bucket.objects["artifacts.json"]), bucket

    def test_the_smallest_are_saved_as_far_as_the_limit_allows_and_the_others_are_named(self):
        self.send(files={"p/train.py": b"code"})
        self.begin()
        for size in (5, 100, 20):
            self.write("p/out/%d" % size, b"x" * size)
        state, listed, _ = self.save(self.part(bytes=30))
        self.assertEqual([each["path"] for each in listed["extra"]], ["p/out/20", "p/out/5"])
        self.assertEqual(
            listed["unsaved"], [{"path": "p/out/100", "why": "over the limit", "size": 100}]
        )
        self.assertEqual(state["extra"], {"files": 2, "bytes": 25, "unsaved": 1})
        state, listed, _ = self.save(self.part(files=1))
        self.assertEqual((len(listed["extra"]), state["extra"]["unsaved"]), (1, 2))

    def test_a_file_that_is_still_written_does_not_keep_others_from_being_saved(self):
        self.send(files={"p/train.py": b"code"})
        self.begin()
        self.write("p/out/a", b"x" * 5000)
        self.write("p/out/b", b"y" * 5000)
        bucket = Bucket()
        bucket.before_put = lambda name: (
            name.startswith("part/") and self.write("p/out/a", os.urandom(5000))
        )
        known = part_upload.Parts(bucket, os.path.join(self.home, "parts.json"))
        self.addCleanup(known.close)
        artifacts.save_artifacts(
            self.part(), self.work, written_files.Inputs(self.home), parts=known, bucket=bucket
        )
        listed = json.loads(bucket.objects["artifacts.json"])
        self.assertIn("p/out/b", [each["path"] for each in listed["extra"]])


class TrainingTest(Trainings):
    def test_a_training_knows_what_was_there_before_it(self):
        state, _ = self.train("import os; os.makedirs('out'); open('out/model', 'w').write('x')")
        home = os.path.join(self.root, "runs", state["id"])
        part = atomic_files.read_json(os.path.join(home, "plan.json"))
        found = written_files.look(
            os.path.join(home, "work"), part, inputs=written_files.Inputs(home)
        )
        self.assertEqual(
            ([path for path, _ in found.outputs], [path for path, _ in found.extra]),
            ([], ["p/out/model"]),
        )


if __name__ == "__main__":
    unittest.main()
