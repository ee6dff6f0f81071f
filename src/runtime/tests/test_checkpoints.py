"""Checkpoints: only complete units are saved, under one number each, and restored unchanged."""

import hashlib
import json
import os
import pwd
import random
import shutil
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401
from memory_bucket import Bucket
from test_part_upload import small_parts

from nx_ec2_runtime.checkpoints import checkpoint_restore, checkpoints, part_upload, whole_units
from nx_ec2_runtime.system.errors import Failure

ACCOUNT = pwd.getpwuid(os.geteuid())


def below(directory, unit):
    """{path: bytes} of the files of a unit."""
    found = {}
    for at, _, names in os.walk(os.path.join(directory, unit)):
        for name in names:
            with open(os.path.join(at, name), "rb") as file:
                found[os.path.relpath(os.path.join(at, name), directory)] = file.read()
    return found


class Saving(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top)
        self.bucket, self.now = Bucket(), 0.0
        small_parts(self)
        self.fresh()

    def fresh(self):
        """Another training directory, run directory and bucket."""
        self.directory, self.home = tempfile.mkdtemp(dir=self.top), tempfile.mkdtemp(dir=self.top)
        self.bucket = Bucket()

    def open(self, attempt=1, keep=3, every=None, **more):
        saved = part_upload.Parts(self.bucket, os.path.join(self.home, "parts.json"))
        self.addCleanup(saved.close)
        return checkpoints.Checkpoints(
            self.directory,
            self.home,
            parts=saved,
            bucket=self.bucket,
            keep=keep,
            every=every,
            attempt=attempt,
            clock=lambda: self.now,
            wall=lambda: 1000.0 + self.now,
            **more,
        )

    def write(self, path, data=b"x", at=None):
        """Some time after everything that was written before, by the clock of the file system."""
        full = os.path.join(self.directory, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        probe = os.path.join(self.top, "probe")
        with open(probe, "w"):
            before = os.stat(probe).st_ctime_ns
        while os.stat(probe).st_ctime_ns == before:
            os.utime(probe)
        with open(full, "wb") as file:
            file.write(data)
        if at is not None:
            os.utime(full, (at, at))
        return full

    def later(self, it, seconds=2.0, **how):
        it.look()
        self.now += seconds
        return it.look(**how)

    def names(self, it):
        return [(each["n"], each["unit"]) for each in it.kept]

    def manifest(self, n):
        return json.loads(self.bucket.objects["checkpoint/%d.json" % n])

    def set(self, n):
        """The names of a checkpoint."""
        return [each["name"] for each in self.manifest(n)["names"]]

    def brought_back(self, entry):
        target = tempfile.mkdtemp(dir=self.top)
        checkpoint_restore.restore(
            self.bucket.objects["checkpoint/%d.json" % entry["n"]],
            entry["sha256"],
            target,
            get_part=self.bucket.part,
            account=ACCOUNT,
        )
        return below(target, "")

    def there(self, unit):
        return below(self.directory, unit)


@unittest.skipUnless(os.path.isdir("/proc/self"), "what is open is read from /proc")
class OpenTest(Saving):
    """A write that waits for the disk, or for tensors of a GPU, looks like a file that is whole."""

    def begin(self, path, data=b"half"):
        file = open(os.path.join(self.directory, path), "wb")
        self.addCleanup(file.close)
        file.write(data)
        file.flush()
        os.utime(file.name, (1, 1))
        return file

    def test_what_is_open_for_writing_is_saved_when_it_is_closed(self):
        it = self.open()
        file = self.begin("a.pt")
        for _ in range(5):
            self.assertFalse(self.later(it))
        file.write(b" and half")
        file.close()
        self.assertTrue(self.later(it))
        self.assertEqual(self.brought_back(it.latest()), {"a.pt": b"half and half"})

    def test_an_open_file_that_has_not_changed_for_long_is_saved(self):
        it = self.open()
        self.begin("a.pt")
        self.assertFalse(self.later(it))
        self.assertTrue(self.later(it, whole_units.QUIET_ALTHOUGH_OPEN_S))

    def test_a_file_that_is_open_for_reading_is_complete(self):
        it = self.open()
        with open(self.write("a.pt"), "rb"):
            self.assertTrue(self.later(it))

    def test_a_file_that_was_open_when_the_training_was_cut_off_is_not_resumed_from(self):
        for path in ("new.pt", "a.pt"):
            with self.subTest(path):
                self.fresh()
                it = self.open()
                self.write("a.pt", b"whole")
                self.later(it)
                file = self.begin(path)
                for _ in range(5):
                    self.later(it)
                file.close()
                # The reporter may be another by then.
                self.open().look(final=True, cut=True, ended=1e6)
                self.assertEqual(self.brought_back(self.open().latest()), {"a.pt": b"whole"})
                self.open(attempt=2)
                self.later(self.open(attempt=2))
                self.assertEqual(self.names(self.open(attempt=2)), [(1, "a.pt")])

    def test_a_file_that_stays_open_does_not_keep_others_from_being_saved(self):
        it = self.open()
        table = self.begin("table.csv", b"epoch\n")
        self.later(it)
        self.later(it, whole_units.QUIET_ALTHOUGH_OPEN_S)
        for epoch in range(3):
            self.write("%d.pt" % epoch)
            table.write(b"%d\n" % epoch)
            table.flush()
            self.assertTrue(self.later(it), epoch)
            self.assertLessEqual({"%d.pt" % epoch, "table.csv"}, set(self.set(it.latest()["n"])))
        self.write("3.pt")
        table.write(b"3\n")
        table.flush()
        it.look()
        it.look(final=True, cut=True, ended=time.time() + 10)
        self.assertIn("3.pt", self.set(it.latest()["n"]))


class CheckpointsTest(Saving):
    def test_a_file_that_does_not_change_for_two_seconds_is_a_checkpoint(self):
        it = self.open()
        self.write("last.ckpt", b"x" * 2500)
        self.assertFalse(it.look())
        self.now = 1.9
        self.assertFalse(it.look())
        self.now = 2.0
        self.assertTrue(it.look())
        data = self.bucket.objects["checkpoint/1.json"]
        self.assertEqual(
            it.latest(),
            {
                "n": 1,
                "unit": "last.ckpt",
                "sha256": hashlib.sha256(data).hexdigest(),
                "size": 2500,
                "files": 1,
                "at": 1002000,
                "attempt": 1,
            },
        )
        self.assertEqual(
            {name: value for name, value in json.loads(data).items() if name != "files"},
            {
                "v": 1,
                "n": 1,
                "unit": "last.ckpt",
                "at": 1002000,
                "attempt": 1,
                "names": [{"name": "last.ckpt", "kind": "file"}],
            },
        )
        self.assertFalse(self.later(it))

    def test_a_file_that_grows_in_place_waits_until_it_is_done(self):
        it = self.open()
        for size in range(1, 6):
            self.write("last.ckpt", b"x" * size)
            self.now += 1.9
            self.assertFalse(it.look())
        self.now += 2
        self.assertTrue(it.look())
        self.assertEqual(it.latest()["size"], 5)

    def test_a_directory_that_is_written_file_by_file_is_one_unit_when_complete(self):
        it = self.open()
        # As the Trainer of Hugging Face writes it; serializing the optimizer takes its time.
        for name, wait in (
            ("config.json", 0.1),
            ("model.safetensors", 1.5),
            ("training_args.bin", 60),
            ("optimizer.pt", 30),
            ("rng_state.pth", 1),
            ("trainer_state.json", 1.9),
        ):
            self.write("checkpoint-500/" + name, name.encode())
            self.assertFalse(it.look())
            self.now += wait
            self.assertFalse(it.look())
        self.now += 0.2
        self.assertTrue(it.look())
        self.assertEqual(self.names(it), [(1, "checkpoint-500")])
        self.assertEqual(
            (it.latest()["files"], self.manifest(1)["names"]),
            (6, [{"name": "checkpoint-500", "kind": "directory"}]),
        )
        self.assertIn("checkpoint-500/optimizer.pt", self.brought_back(it.latest()))

    def test_logs_and_other_files_of_the_trainer_do_not_push_checkpoints_out(self):
        it = self.open(keep=1)
        for name in (
            "runs/events.out.tfevents.1.host.5.0",
            "events.out.tfevents.2",
            "train.log",
            "wandb/x",
            "lightning_logs/version_0/hparams.yaml",
        ):
            self.write(name)
        self.assertFalse(self.later(it))
        for name in ("model.safetensors", "training_args.bin", "trainer_state.json"):
            self.write("checkpoint-5/" + name)
        self.later(it)
        for name in ("model.safetensors", "training_args.bin", "README.md", "runs/more"):
            self.write(name)
        self.assertFalse(self.later(it))
        self.assertFalse(self.later(it, final=True))
        self.assertEqual(self.names(it), [(1, "checkpoint-5")])

    def test_files_beside_a_checkpoint_directory_of_another_program_are_saved(self):
        it = self.open()
        self.write("checkpoint-5/model")
        self.write("best.pt")
        self.later(it)
        self.assertEqual(
            (self.names(it), self.set(1)), ([(1, "best.pt")], ["best.pt", "checkpoint-5"])
        )

    def test_a_distributed_checkpoint_waits_for_its_metadata(self):
        it = self.open()
        self.write("step-1/__0_0.distcp")
        self.assertFalse(self.later(it, 100))
        self.assertFalse(self.later(it, 100, final=True))
        self.write("step-1/.metadata")
        self.assertTrue(self.later(it))

    def test_temporary_names_are_no_units(self):
        it = self.open()
        for name in (
            "tmp-checkpoint-5/model",
            ".hidden",
            "a.tmp",
            "a.part",
            "a.partial",
            "9.orbax-checkpoint-tmp-17/x",
            "b.complete",
        ):
            self.write(name)
        os.symlink("a.tmp", os.path.join(self.directory, "link"))
        os.mkdir(os.path.join(self.directory, "empty"))
        self.assertFalse(self.later(it, final=True))
        os.rename(
            os.path.join(self.directory, "tmp-checkpoint-5"),
            os.path.join(self.directory, "checkpoint-5"),
        )
        os.rename(os.path.join(self.directory, "a.tmp"), os.path.join(self.directory, "a"))
        self.assertTrue(self.later(it))
        self.assertEqual(self.set(1), ["a", "checkpoint-5"])

    def test_the_age_of_a_renamed_unit_counts_from_the_rename(self):
        it = self.open()
        self.write("tmp-checkpoint-5/model")
        self.write("other")
        self.later(it)
        self.write("pass-time")
        os.unlink(os.path.join(self.directory, "pass-time"))
        os.rename(
            os.path.join(self.directory, "tmp-checkpoint-5"),
            os.path.join(self.directory, "checkpoint-5"),
        )
        self.later(it)
        self.assertEqual(self.names(it), [(1, "other"), (2, "checkpoint-5")])

    def test_a_mark_makes_a_unit_complete_at_once_until_it_is_written_again(self):
        for mark in ("d/.complete", "d.complete"):
            self.fresh()
            it = self.open()
            self.write("d/model")
            self.assertFalse(it.look())
            self.write(mark, b"")
            self.assertTrue(it.look())
            self.write("d/model", b"half of the n")
            self.assertFalse(it.look())
            self.write(mark, b"")
            self.assertTrue(it.look())

    def test_a_unit_that_changes_during_its_upload_is_not_recorded_and_tried_again(self):
        for change in ("grow", "add", "remove", "replace"):
            self.fresh()
            it = self.open()
            self.write("d/a", b"a" * 3000)
            self.write("d/b", b"b" * 3000)
            done = []

            def meanwhile(_):
                if done:
                    return
                done.append(1)
                if change == "remove":
                    os.unlink(os.path.join(self.directory, "d/a"))
                else:
                    self.write("d/c" if change == "add" else "d/a", b"changed" * 1000)

            self.bucket.before_put = meanwhile
            self.assertFalse(self.later(it), change)
            self.assertEqual(
                (it.kept, [name for name in self.bucket.puts if name.startswith("checkpoint")]),
                ([], []),
            )
            self.now += 1
            self.assertFalse(it.look())
            self.assertTrue(self.later(it))
            self.assertEqual(self.brought_back(it.latest()), self.there("d"))

    def test_an_overwritten_unit_is_another_checkpoint_and_a_touched_one_is_not(self):
        it = self.open()
        self.write("last.ckpt", b"one")
        self.later(it)
        self.write("last.ckpt", b"two")
        self.later(it)
        self.write("last.ckpt", b"two")
        self.assertFalse(self.later(it))
        self.assertEqual(self.names(it), [(1, "last.ckpt"), (2, "last.ckpt")])
        self.assertEqual(self.brought_back(it.kept[0]), {"last.ckpt": b"one"})

    def test_a_unit_that_is_being_removed_is_no_new_checkpoint(self):
        it = self.open()
        for name in "abc":
            self.write("checkpoint-1/" + name)
        self.later(it)
        os.unlink(os.path.join(self.directory, "checkpoint-1/a"))
        self.assertFalse(self.later(it))
        self.assertFalse(self.later(it, final=True))
        shutil.rmtree(os.path.join(self.directory, "checkpoint-1"))
        self.assertFalse(self.later(it))
        self.assertEqual(self.names(it), [(1, "checkpoint-1")])

    def test_the_newest_are_kept_in_the_order_in_which_they_were_written(self):
        it = self.open(keep=2)
        for step in (5, 10, 15, 20):
            self.write("checkpoint-%d" % step, b"%d" % step)
        self.later(it)
        self.assertEqual(self.names(it), [(1, "checkpoint-15"), (2, "checkpoint-20")])
        self.assertFalse(self.later(it))
        self.write("checkpoint-25", b"25")
        self.later(it)
        self.assertEqual(self.names(it), [(2, "checkpoint-20"), (3, "checkpoint-25")])

    def test_at_most_one_checkpoint_is_saved_per_interval_besides_the_last(self):
        it = self.open(every=100)
        self.write("a", b"a")
        self.write("b", b"b")
        self.later(it)
        self.assertEqual(self.names(it), [(1, "b")])
        self.write("c", b"c")
        self.assertFalse(self.later(it, 97))
        self.write("d", b"d")
        self.assertTrue(self.later(it, 3))
        self.assertEqual(self.names(it), [(1, "b"), (2, "d")])
        self.write("e", b"e")
        self.assertTrue(it.look(final=True))
        self.assertEqual(self.names(it), [(1, "b"), (2, "d"), (3, "e")])

    def test_at_the_end_every_unit_is_saved_at_once(self):
        it = self.open()
        self.write("last.ckpt")
        self.assertTrue(it.look(final=True))

    def test_a_unit_that_a_killed_training_was_writing_is_never_a_checkpoint(self):
        it = self.open()
        now = time.time()
        self.write("good", at=now - 10)
        self.write("half/config", at=now - 19)
        os.utime(os.path.join(self.directory, "half"), (now - 19, now - 19))
        half = self.write("half/model")
        self.write("marked")
        self.write("marked.complete")
        it.look(final=True, cut=True, ended=os.stat(half).st_mtime + 1)
        self.assertEqual(self.set(1), ["good", "marked"])
        it = self.open(attempt=2)
        self.assertFalse(self.later(it, 100))
        with open(half, "ab") as file:
            file.write(b"written anew")
        self.assertTrue(self.later(it))
        self.assertEqual((it.latest()["attempt"], self.set(2)), (2, ["good", "half", "marked"]))

    def test_units_that_a_lost_attempt_left_are_not_saved(self):
        it = self.open()
        self.write("good")
        self.later(it)
        self.write("half")
        it = self.open(attempt=2)
        self.assertFalse(self.later(it, 100))
        self.assertEqual(self.names(it), [(1, "good")])

    def test_a_restarted_reporter_continues_the_same_attempt(self):
        self.write("a")
        self.assertFalse(self.open().look())
        self.assertTrue(self.later(self.open()))

    def test_killed_at_any_put_the_next_process_uploads_the_same_and_uses_no_number_twice(self):
        def steps():
            for step in range(3):
                shutil.rmtree(os.path.join(self.directory, "last"), ignore_errors=True)
                self.write("last/model", b"model %d" % step * 300)
                self.write("last/same", b"same" * 500)
                yield

        for _ in steps():
            self.later(self.open())
        want, puts = self.bucket.objects, len(self.bucket.puts)
        self.assertEqual(
            sorted(each for each in want if each.startswith("checkpoint")),
            ["checkpoint/1.json", "checkpoint/2.json", "checkpoint/3.json"],
        )
        for fail in range(1, puts + 1):
            for late in (False, True):
                self.fresh()
                self.now = 0.0
                self.bucket.fail, self.bucket.late = fail, late
                for _ in steps():
                    it = self.open()
                    try:
                        self.later(it)
                    except Failure:
                        listed = [
                            self.bucket.objects["checkpoint/%d.json" % each["n"]]
                            for each in it.kept
                        ]
                        self.assertEqual(
                            [hashlib.sha256(data).hexdigest() for data in listed],
                            [each["sha256"] for each in it.kept],
                        )
                        self.bucket.fail = None
                        it = self.open()
                        it.look()
                        self.now += 2
                        it.look()
                        self.now -= 2
                self.assertEqual(self.without_time(self.bucket.objects), self.without_time(want))
                self.assertEqual([each["n"] for each in it.kept], [1, 2, 3])
                if not late:
                    self.assertEqual(len(set(self.bucket.puts)), len(want))
                for each in it.kept:
                    self.assertEqual(len(self.brought_back(each)), 2)

    def without_time(self, objects):
        return {
            name: dict(json.loads(data), at=0) if name.startswith("checkpoint") else data
            for name, data in objects.items()
        }

    def test_another_instance_continues_the_list_and_the_numbers(self):
        it = self.open()
        self.write("a")
        self.later(it)
        before = it.kept
        self.bucket.put("checkpoint/2.json", b"written, and in no list yet")
        self.directory, self.home = tempfile.mkdtemp(dir=self.top), tempfile.mkdtemp(dir=self.top)
        it = self.open(attempt=2, kept=before, number=2)
        manifest = checkpoint_restore.restore(
            self.bucket.objects["checkpoint/1.json"],
            before[0]["sha256"],
            self.directory,
            get_part=self.bucket.part,
            account=ACCOUNT,
        )
        it.restored(manifest)
        self.assertFalse(self.later(it))
        self.write("a", b"more")
        self.assertTrue(self.later(it))
        self.assertEqual(self.names(it), [(1, "a"), (3, "a")])

    def test_a_unit_that_can_not_be_restored_as_it_is_is_reported_and_not_saved(self):
        it = self.open()
        self.write("d/a")
        os.symlink("a", os.path.join(self.directory, "d/b"))
        self.write("good")
        self.later(it)
        self.assertEqual(it.unfit, {"d": "d/b: a symbolic link"})
        self.assertEqual(self.names(it), [(1, "good")])
        os.unlink(os.path.join(self.directory, "d/b"))
        self.write("d/b")
        self.later(it)
        self.assertEqual((it.unfit, self.names(it)[-1]), ({}, (2, "d")))

    def test_each_checkpoint_of_a_random_training_is_the_state_of_one_moment(self):
        rng = random.Random(11)
        for _ in range(12):
            self.fresh()
            it, states = self.open(keep=100), {"step%d" % unit: set() for unit in range(3)}
            self.bucket.fail = None
            for _ in range(60):
                unit = "step%d" % rng.randrange(3)
                path = os.path.join(self.directory, unit, "f%d" % rng.randrange(3))
                act = rng.random()
                if act < 0.6:
                    self.write(
                        os.path.relpath(path, self.directory),
                        bytes(rng.getrandbits(8) for _ in range(rng.randrange(2500))),
                    )
                elif act < 0.7 and os.path.exists(path):
                    os.unlink(path)
                states[unit].add(
                    json.dumps(
                        sorted(
                            (name, hashlib.sha256(data).hexdigest())
                            for name, data in self.there(unit).items()
                        )
                    )
                )
                if rng.random() < 0.2:
                    self.bucket.fail = len(self.bucket.puts) + rng.randrange(1, 4)
                self.now += rng.choice((0.5, 1, 3))
                try:
                    it.look()
                except Failure:
                    self.bucket.fail = None
                    it = self.open(keep=100)
            self.assertEqual(len({each["n"] for each in it.kept}), len(it.kept))
            for each in it.kept:
                back = self.brought_back(each)
                self.assertIn(
                    json.dumps(
                        sorted(
                            (name, hashlib.sha256(data).hexdigest()) for name, data in back.items()
                        )
                    ),
                    states[each["unit"]],
                )


class RestoreTest(Saving):
    def saved(self):
        it = self.open()
        self.write("d/a", b"a" * 2500)
        os.chmod(self.write("d/deep/b", b"b"), 0o755)
        it.look(final=True)
        return it.latest(), self.bucket.objects["checkpoint/1.json"]

    def test_a_restored_checkpoint_replaces_what_has_its_name(self):
        entry, data = self.saved()
        self.write("d/a", b"half")
        self.write("d/other", b"other")
        self.write("beside", b"stays")
        checkpoint_restore.restore(
            data, entry["sha256"], self.directory, get_part=self.bucket.part, account=ACCOUNT
        )
        self.assertEqual(self.there("d"), {"d/a": b"a" * 2500, "d/deep/b": b"b"})
        self.assertTrue(os.stat(os.path.join(self.directory, "d/deep/b")).st_mode & 0o100)
        self.assertEqual(sorted(os.listdir(self.directory)), ["beside", "d"])

    @unittest.skipUnless(os.geteuid() == 0, "only root can give files away")
    def test_a_restored_checkpoint_belongs_to_the_training_user(self):
        entry, data = self.saved()
        nobody = pwd.getpwnam("nobody")
        checkpoint_restore.restore(
            data, entry["sha256"], self.directory, get_part=self.bucket.part, account=nobody
        )
        for path in ("d", "d/a", "d/deep", "d/deep/b"):
            self.assertEqual(os.stat(os.path.join(self.directory, path)).st_uid, nobody.pw_uid)

    def test_a_checkpoint_with_another_hash_changes_nothing(self):
        entry, data = self.saved()
        # What stands there as it should be would not be fetched.
        self.write("d/a", b"changed")
        before = self.there("d")
        spoilt = dict(self.bucket.objects)
        name = next(name for name in spoilt if name.startswith("part/"))
        spoilt[name] = b"spoilt"

        def made(**change):
            other = json.dumps(dict(json.loads(data), **change)).encode()
            return other, hashlib.sha256(other).hexdigest()

        file, named = json.loads(data)["files"][0], json.loads(data)["names"]
        cases = [
            ((data, "0" * 64), "CHECKPOINT_MISMATCH"),
            ((data[:-1], hashlib.sha256(data[:-1]).hexdigest()), "CHECKPOINT_MISMATCH"),
        ]
        cases += [
            (made(**change), "CHECKPOINT_MISMATCH")
            for change in (
                {"v": 2},
                {"unit": ".."},
                {"unit": "a/b"},
                {"unit": ""},
                {"files": []},
                {"files": [file, file]},
                {"names": []},
                {"names": 5},
                {"names": [{"name": "e", "kind": "directory"}]},
                {"names": [{"name": "d", "kind": "file"}]},
                {"names": [{"name": "d", "kind": "pipe"}]},
                {"names": named + named},
                {"names": named + [{"name": "e", "kind": "directory"}]},
                {"names": named + [{"name": "e", "kind": "file"}]},
                {"names": named + [{"name": "l", "kind": "link", "to": "../x"}]},
                {"names": named + [{"name": "l", "kind": "link", "to": "l"}]},
                {"names": named + [{"name": "..", "kind": "link", "to": "d"}]},
                {"names": named + [{"name": "a/l", "kind": "link", "to": "d"}]},
                {"names": named + [{"name": "l", "kind": "link"}]},
                {"files": [file, dict(file, path="d/a/b")]},
                {"unit": 5},
                {"files": 5},
            )
        ]
        cases += [
            (made(files=[dict(file, path=path)]), "PART_MISMATCH")
            for path in ("d/../../x", "/d/a", "d//a", "d/a\0")
        ]
        for (wrong, sha256), code in cases:
            with self.subTest(wrong[:200]), self.assertRaises(Failure) as raised:
                checkpoint_restore.restore(
                    wrong, sha256, self.directory, get_part=self.bucket.part, account=ACCOUNT
                )
            self.assertEqual(raised.exception.code, code)
        with self.assertRaises(Failure) as raised:
            checkpoint_restore.restore(
                data, entry["sha256"], self.directory, get_part=Bucket(spoilt).part, account=ACCOUNT
            )
        self.assertEqual(raised.exception.code, "PART_MISMATCH")
        self.assertEqual((self.there("d"), os.listdir(self.directory)), (before, ["d"]))


if __name__ == "__main__":
    unittest.main()
