"""Checkpoints of several names are saved, restored and counted as one, never in part."""

import hashlib
import json
import os
import random
import re
import sys
import tempfile
import time
import unittest
import unittest.mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_checkpoints import ACCOUNT, Saving, below

from nx_ec2_runtime.checkpoints import (
    checkpoint_restore,
    checkpoint_units,
    named_units,
    pointers,
    unit_names,
    versions,
)
from nx_ec2_runtime.checkpoints.unit import Unit
from nx_ec2_runtime.system import atomic_files
from nx_ec2_runtime.system.errors import Failure


class Sets(Saving):
    def link(self, name, to):
        """As frameworks do: a new link renamed over the old one."""
        at = os.path.join(self.directory, name)
        os.symlink(to, at + ".tmp")
        os.rename(at + ".tmp", at)

    def deepspeed(self, step):
        for rank in range(2):
            self.write("global_step%d/rank%d.pt" % (step, rank), b"%d-%d" % (step, rank) * 400)
        self.write("latest", b"global_step%d" % step)

    def tensorflow(self, step):
        self.write("ckpt-%d.data-00000-of-00001" % step, b"%d" % step * 500)
        self.write("ckpt-%d.index" % step, b"index %d" % step)
        self.write(
            "checkpoint",
            b'model_checkpoint_path: "ckpt-%d"\nall_model_checkpoint_paths: "ckpt-1"\n' % step,
        )

    def megatron(self, step):
        self.write("iter_%07d/mp_rank_00/model.pt" % step, b"%d" % step * 500)
        self.write("latest_checkpointed_iteration.txt", b"%d\n" % step)

    def detectron(self, step):
        self.write("model_%07d.pth" % step, b"%d" % step * 500)
        self.write("last_checkpoint", b"model_%07d.pth" % step)

    def mmengine(self, step):
        self.write("epoch_%d.pth" % step, b"%d" % step * 500)
        self.write("last_checkpoint", b"/some/where/epoch_%d.pth" % step)

    def linked(self, step):
        self.write("step-%d/model" % step, b"%d" % step * 500)
        self.link("latest", "step-%d" % step)

    def linked_by_path(self, step):
        self.write("step-%d.pt" % step, b"%d" % step * 500)
        self.link("last.pt", os.path.join(self.directory, "step-%d.pt" % step))

    def in_json(self, step):
        self.write("step-%d.pt" % step, b"%d" % step * 500)
        self.write(
            "latest.json", json.dumps({"path": "out/step-%d.pt" % step, "step": step}).encode()
        )

    def lightning(self, step):
        self.write("epoch=%d-step=%d.ckpt" % (step, step * 10), b"%d" % step * 500)
        self.write("last.ckpt", b"%d" % step * 500)

    def loose(self, step):
        self.write("model.pt", b"%d" % step * 500)
        self.write("optimizer.pt", b"%d" % step * 500)

    def ranks(self, step):
        for rank in range(3):
            self.write("epoch%d_rank%d.pt" % (step, rank), b"%d-%d" % (step, rank) * 500)

    def shards(self, step):
        for shard in range(1, 4):
            self.write(
                "step%d-%05d-of-00003.safetensors" % (step, shard), b"%d-%d" % (step, shard) * 500
            )

    # What each makes at step 2: the names that make it, and how it is called.
    MADE = {
        "deepspeed": (["global_step2", "latest"], "global_step2"),
        "tensorflow": (["checkpoint", "ckpt-2.data-00000-of-00001", "ckpt-2.index"], "ckpt-2"),
        "megatron": (["iter_0000002", "latest_checkpointed_iteration.txt"], "iter_0000002"),
        "detectron": (["last_checkpoint", "model_0000002.pth"], "model_0000002.pth"),
        "mmengine": (["epoch_2.pth", "last_checkpoint"], "epoch_2.pth"),
        "linked": (["latest", "step-2"], "step-2"),
        "linked_by_path": (["last.pt", "step-2.pt"], "step-2.pt"),
        "in_json": (["latest.json", "step-2.pt"], "step-2.pt"),
        "lightning": (["epoch=2-step=20.ckpt", "last.ckpt"], "last.ckpt"),
        "loose": (["model.pt", "optimizer.pt"], "optimizer.pt"),
        "ranks": (["epoch2_rank0.pt", "epoch2_rank1.pt", "epoch2_rank2.pt"], "epoch2_rank*.pt"),
        "shards": (
            ["step2-%05d-of-00003.safetensors" % n for n in (1, 2, 3)],
            "step2-*-of-00003.safetensors",
        ),
    }

    def state(self, directory):
        """What a training finds: a text for each name, what links lead to, too."""
        found = {
            path: hashlib.sha256(data).hexdigest() for path, data in below(directory, "").items()
        }
        for name in os.listdir(directory):
            if os.path.islink(os.path.join(directory, name)):
                found[name] = "-> " + os.path.basename(os.readlink(os.path.join(directory, name)))
        return found

    def back(self, entry):
        target = tempfile.mkdtemp(dir=self.top)
        checkpoint_restore.restore(
            self.bucket.objects["checkpoint/%d.json" % entry["n"]],
            entry["sha256"],
            target,
            get_part=self.bucket.part,
            account=ACCOUNT,
        )
        return self.state(target)


class SetsTest(Sets):
    def test_a_directory_of_many_pointers_is_not_searched_for_each(self):
        for n in range(50):
            self.write("latest-%d" % n, b"%d" % (1000 + n))
            self.link("best-%d" % n, "latest-%d" % n)
        searched = AssertionError("all names were searched")
        with unittest.mock.patch.object(named_units.Others, "__iter__", side_effect=searched):
            units = checkpoint_units.find(self.directory)
        self.assertEqual(
            {label: unit.points for label, unit in units.items() if unit.to},
            {"best-%d" % n: {"latest-%d" % n} for n in range(50)},
        )

    def test_each_step_of_a_framework_is_one_checkpoint_and_is_restored_complete(self):
        for framework, (names, label) in self.MADE.items():
            with self.subTest(framework):
                self.fresh()
                it = self.open()
                for step in (1, 2):
                    getattr(self, framework)(step)
                    self.assertTrue(self.later(it))
                self.assertEqual([n for n, _ in self.names(it)], [1, 2])
                self.assertEqual((self.set(2), it.latest()["unit"]), (sorted(names), label))
                self.assertEqual(
                    set(self.back(it.latest())),
                    {
                        path
                        for path in self.state(self.directory)
                        if path.partition("/")[0] in names
                    },
                )
                for path, content in self.back(it.latest()).items():
                    self.assertEqual(content, self.state(self.directory)[path])
                self.assertFalse(self.later(it))

    def test_as_many_sets_are_kept_as_are_asked_for(self):
        for framework in self.MADE:
            self.fresh()
            it = self.open(keep=2)
            for step in range(1, 6):
                getattr(self, framework)(step)
                self.later(it)
            self.assertEqual([n for n, _ in self.names(it)], [4, 5], framework)

    def test_a_pointer_is_not_saved_before_its_unit_is_complete(self):
        it = self.open()
        self.deepspeed(1)
        self.later(it)
        self.write("latest", b"global_step2")
        self.assertFalse(self.later(it, 30))
        self.write("global_step2/rank0.pt", b"first")
        self.assertFalse(self.later(it, 1.9))
        self.write("global_step2/rank1.pt", b"second")
        self.assertTrue(self.later(it))
        self.assertEqual(self.set(2), ["global_step2", "latest"])
        self.assertEqual(self.names(it), [(1, "global_step1"), (2, "global_step2")])

    def test_a_unit_waits_for_its_pointer_but_not_for_ever(self):
        it = self.open()
        self.deepspeed(1)
        self.later(it)
        self.write("global_step2/rank0.pt")
        self.assertFalse(self.later(it, 50))
        self.assertTrue(self.later(it, 10))
        # What the pointer names is there as well.
        self.assertEqual(self.set(2), ["global_step1", "global_step2", "latest"])

    def test_tensorflow_waits_for_its_index_and_for_all_of_its_data(self):
        it = self.open()
        self.write("ckpt-1.data-00000-of-00002")
        self.write("ckpt-1.index")
        self.assertFalse(self.later(it, 100))
        self.write("ckpt-1.data-00001-of-00002")
        self.assertTrue(self.later(it))
        os.unlink(os.path.join(self.directory, "ckpt-1.index"))
        self.write("ckpt-2.data-00000-of-00001")
        self.assertFalse(self.later(it, 100))
        # A file that merely ends so is none of TensorFlow's.
        self.write("docs.index")
        self.assertFalse(self.later(it, 59))
        self.now += 60
        self.assertTrue(it.look())

    def test_a_best_link_to_an_older_unit_saves_that_unit_too(self):
        it = self.open()
        for step in (1, 2, 3):
            self.write("step-%d.pt" % step, b"%d" % step)
        self.link("best", "step-1.pt")
        self.later(it)
        self.assertEqual(self.set(it.latest()["n"]), ["best", "step-1.pt", "step-3.pt"])
        self.write("step-4.pt")
        self.later(it)
        self.assertEqual(self.set(it.latest()["n"]), ["best", "step-1.pt", "step-4.pt"])

    def test_a_set_waits_for_a_name_that_is_written_and_then_takes_its_last_version(self):
        it = self.open()
        self.loose(1)
        self.later(it)
        before = self.back(it.latest())
        self.write("model.pt", b"2" * 500)
        for second in range(59):
            self.write("optimizer.pt", b"2" * second)
            self.now += 1
            self.assertFalse(it.look(), second)
        for second in range(5):
            self.write("optimizer.pt", b"3" * second)
            self.now += 1
            it.look()
        self.assertEqual(len(it.kept), 2)
        self.assertEqual(self.back(it.latest())["optimizer.pt"], before["optimizer.pt"])
        self.assertNotEqual(self.back(it.latest())["model.pt"], before["model.pt"])

    def test_a_link_that_leads_elsewhere_or_nowhere_does_not_delay_others(self):
        it = self.open()
        outside = self.top
        for name, to in (
            ("out", outside),
            ("up", ".."),
            ("etc", "/etc/passwd"),
            ("nowhere", "gone"),
            ("latest", "gone.tmp"),
        ):
            self.link(name, to)
        self.write("a")
        self.assertTrue(self.later(it))
        self.assertEqual(self.set(1), ["a"])

    def test_unchanged_files_are_not_read_again(self):
        it = self.open()
        self.loose(1)
        self.later(it)
        read = []
        save_all = it.upload.parts.save_all
        it.upload.parts.save_all = lambda base, paths, *more: (
            read.extend(paths) or save_all(base, paths, *more)
        )
        self.write("optimizer.pt", b"more")
        self.later(it)
        self.assertEqual((read, self.set(2)), (["optimizer.pt"], ["model.pt", "optimizer.pt"]))


class VersionsTest(Sets):
    """Only the newest of several versions is in a set; what may be something else is in each."""

    VERSIONS = (
        ("step1", "step2"),
        ("epoch=3-val_loss=0.25.ckpt", "epoch=12-val_loss=0.2.ckpt"),
        ("checkpoint-500", "checkpoint-1000"),
        ("iter_0000010", "iter_0000020"),
        ("ckpt-1", "ckpt-2"),
        ("model_Epoch 3.pt", "model_Epoch 4.pt"),
        ("fold0_epoch3.pt", "fold0_epoch4.pt"),
        ("resnet50-step-1.pt", "resnet50-step-20.pt"),
        ("global_step1", "global_step10"),
        ("globalstep1", "globalstep2"),
        ("step3-rank1-of-2.pt", "step4-rank1-of-2.pt"),
        ("ep9.pt", "ep10.pt"),
    )
    OTHERS = (
        ("fold0.pt", "fold1.pt"),
        ("fold0_epoch3.pt", "fold1_epoch3.pt"),
        ("model1.pt", "model2.pt"),
        ("seed1-step5", "seed2-step5"),
        ("0", "1"),
        ("a1", "a2"),
        ("footstep1", "footstep2"),
        ("checkpoint-fold0", "checkpoint-fold1"),
        ("checkpoint_0_epoch_3", "checkpoint_1_epoch_3"),
        ("v1.5", "v1.6"),
        ("shard-1-of-2", "shard-1-of-4"),
        ("step#", "step1"),
        ("epoch1.pt", "epoch1.json"),
        ("lr0.1", "lr0.2"),
    )

    def test_names_that_differ_in_a_number_only_are_versions(self):
        for one, other in self.VERSIONS:
            self.assertEqual(versions.family(one), versions.family(other))
        for one, other in self.OTHERS:
            self.assertNotEqual(versions.family(one), versions.family(other))

    def test_numbered_names_that_are_no_versions_are_all_restored(self):
        for names in (
            ["fold%d.pt" % n for n in range(5)],
            ["rank_%d.pt" % n for n in range(4)],
            ["shard-%05d-of-00004" % n for n in range(1, 5)],
            ["0", "1"],
        ):
            self.fresh()
            it = self.open(keep=1)
            for name in names:
                self.write(name, name.encode())
                self.later(it)
            it.look(final=True)
            self.assertEqual(sorted(self.back(it.latest())), names)

    def test_a_pointer_and_orbax_say_what_is_a_version(self):
        it = self.open()
        for step in (1, 2, 3):
            self.detectron(step)
            self.write("%d/_CHECKPOINT_METADATA" % (step * 10), b"%d" % step)
            self.write("fold%d.pt" % step, b"%d" % step)
            self.later(it)
        it.look(final=True)
        self.assertEqual(
            self.set(it.latest()["n"]),
            ["30", "fold1.pt", "fold2.pt", "fold3.pt", "last_checkpoint", "model_0000003.pth"],
        )

    def test_a_pointer_to_one_of_several_parts_leaves_the_others_in_the_set(self):
        it = self.open()
        for fold in (1, 2):
            self.write("fold%d.pt" % fold, b"%d" % fold)
            self.write("latest.json", b'{"path": "fold%d.pt"}' % fold)
            self.later(it)
        self.assertEqual(self.set(it.latest()["n"]), ["fold1.pt", "fold2.pt", "latest.json"])

    def test_a_set_of_random_names_lacks_only_older_versions(self):
        rng = random.Random(3)
        for _ in range(60):
            self.fresh()
            it, newest, written = self.open(keep=1), {}, set()
            for _ in range(rng.randrange(2, 8)):
                part = rng.choice((
                    "fold%d_",
                    "model-%d-",
                    "seed=%d.",
                    "head%d-",
                    "x%d_",
                    "%d-",
                    "checkpoint-%d_",
                    "",
                )).replace("%d", "%d" % rng.randrange(3))
                step = rng.choice((
                    "step%d.pt",
                    "epoch_%d",
                    "iter-%d.ckpt",
                    "global_step%d",
                    "weights.bin",
                )).replace("%d", "%d" % rng.randrange(12))
                name = part + step
                self.write(name, b"%d" % rng.getrandbits(32))
                written.add(name)
                # As the generator made it, not by the rule that is tested.
                newest[part, re.sub("[0-9]+", "", step)] = name
                if rng.random() < 0.5:
                    self.later(it)
            self.later(it)
            it.look(final=True)
            self.assertEqual(sorted(self.back(it.latest())), sorted(set(newest.values())), written)


class CutOffTest(Sets):
    def ended(self, cut, **more):
        it = self.open()
        newest = max(
            os.lstat(os.path.join(at, name)).st_mtime
            for at, _, names in os.walk(self.directory)
            for name in names
        )
        it.look(final=True, cut=cut, ended=newest + 0.5)
        return it

    def test_a_unit_written_at_the_signal_is_kept_if_nothing_was_cut_off(self):
        for framework, (names, _) in self.MADE.items():
            self.fresh()
            getattr(self, framework)(2)
            self.ended(False)
            self.assertEqual(self.set(1), sorted(names), framework)

    def test_a_renamed_unit_is_complete_however_the_training_ended(self):
        for kind in ("file", "directory"):
            self.fresh()
            written = self.write("a.tmp" if kind == "file" else "a.tmp/model", b"x" * 5000)
            # Some time later, by the clock of the file system.
            self.write("other.tmp")
            os.rename(os.path.join(self.directory, "a.tmp"), os.path.join(self.directory, "a"))
            self.write("half.pt")
            self.ended(True)
            self.assertEqual(self.set(1), ["a"], written)

    def test_a_renamed_unit_that_is_written_again_is_doubtful(self):
        for path in ("a.tmp", "a.tmp/model", "a.tmp/deep/model"):
            self.fresh()
            self.write(path)
            self.write("other.tmp")
            os.rename(os.path.join(self.directory, "a.tmp"), os.path.join(self.directory, "a"))
            self.write("other.tmp")
            with open(os.path.join(self.directory, "a" + path[5:]), "ab") as file:
                file.write(b"half of it")
            self.assertEqual(self.ended(True).kept, [], path)

    def test_a_set_with_an_incomplete_name_is_not_saved_and_its_pointer_not_used(self):
        for framework in ("deepspeed", "tensorflow", "megatron", "detectron", "linked", "in_json"):
            self.fresh()
            it = self.open()
            getattr(self, framework)(1)
            self.later(it)
            getattr(self, framework)(2)
            it.look(final=True, cut=True, ended=time.time())
            self.assertEqual(len(it.kept), 1, framework)
            refused = {name for each in it.state["refused"].values() for name in each["names"]}
            self.assertEqual(refused, set(self.MADE[framework][0]), framework)

    def test_if_a_known_name_was_cut_off_the_last_set_stays_the_newest(self):
        it = self.open()
        self.loose(1)
        self.later(it)
        self.loose(2)
        old = time.time() - 60
        os.utime(os.path.join(self.directory, "model.pt"), (old, old))
        it.look(final=True, cut=True, ended=time.time())
        self.assertEqual(len(it.kept), 1)

    def test_doubtful_units_are_recorded_if_the_store_is_out_of_reach(self):
        it = self.open()
        self.deepspeed(1)
        self.later(it)
        self.deepspeed(2)
        put = self.bucket.put

        def out_of_reach(name, data):
            if name == "checkpoint/2.json":
                raise Failure("UPLOAD_FAILED", "no answer")
            return put(name, data)

        self.bucket.put = out_of_reach
        with self.assertRaises(Failure):
            self.later(it)
        self.deepspeed(3)
        with self.assertRaises(Failure):
            it.look(final=True, cut=True, ended=time.time())
        state = atomic_files.read_json(os.path.join(self.home, "checkpoints.json"))
        self.assertEqual(
            (sorted(state["refused"]), state["judged"], state["ended"]),
            (["global_step3", "latest"], 1, False),
        )


class KilledTest(Sets):
    """The reporter is killed at each write to the store: what is restored after it is one of the
    sets that the training made.
    """

    def test_killed_at_any_put_no_set_is_restored_in_part(self):
        for framework in (
            "deepspeed",
            "tensorflow",
            "megatron",
            "linked",
            "lightning",
            "loose",
            "ranks",
        ):
            self.fresh()
            self.steps(framework, None)
            puts = len(self.bucket.puts)
            for fail in range(1, puts + 1):
                for late in (False, True):
                    self.fresh()
                    self.steps(framework, fail, late)

    def steps(self, framework, fail, late=False):
        self.bucket.fail, self.bucket.late, self.now = fail, late, 0.0
        whole = []
        for step in (1, 2, 3):
            getattr(self, framework)(step)
            whole.append(self.state(self.directory))
            it = self.open()
            try:
                self.later(it)
            except Failure:
                self.bucket.fail = None
                self.whole(framework, it, whole)
                it = self.open()
                self.later(it)
            self.whole(framework, it, whole)
        self.assertEqual(len(it.kept), 3)

    def whole(self, framework, it, states):
        for each in it.kept:
            back = self.back(each)
            self.assertTrue(
                any(set(back.items()) <= set(state.items()) for state in states), (framework, back)
            )
            if framework not in ("loose", "lightning"):
                step = str(int(re.search("[0-9]+", each["unit"]).group()))
                self.assertEqual(
                    sorted({path.partition("/")[0] for path in back}),
                    sorted(name.replace("2", step, 1) for name in self.MADE[framework][0]),
                )

    def test_after_any_kill_a_restored_pointer_has_the_unit_that_it_names(
        self,
    ):
        rng = random.Random(11)
        for _ in range(15):
            self.fresh()
            self.now, it, made = 0.0, self.open(keep=100), {}
            for step in range(1, 15):
                directory = "global_step%d" % step
                acts = [
                    ("%s/f%d" % (directory, n), b"%d" % rng.getrandbits(16) * rng.randrange(1, 800))
                    for n in range(rng.randrange(1, 4))
                ]
                acts += [("latest", directory.encode())] + [
                    ("best.pt", b"%d" % step * 300)
                ] * rng.randrange(2)
                if rng.random() < 0.3:
                    rng.shuffle(acts)
                if rng.random() < 0.2:
                    acts.pop(rng.randrange(len(acts)))
                made[directory] = {
                    path: hashlib.sha256(data).hexdigest()
                    for path, data in acts
                    if path.startswith(directory)
                }
                for path, data in acts:
                    self.write(path, data)
                    self.now += rng.choice((0.1, 0.5, 1.5))
                    if rng.random() < 0.2:
                        self.bucket.fail = len(self.bucket.puts) + rng.randrange(1, 4)
                    try:
                        it.look()
                    except Failure:
                        self.bucket.fail = None
                        it = self.open(keep=100)
                self.now += rng.choice((0.5, 3))
                try:
                    it.look()
                except Failure:
                    self.bucket.fail = None
                    it = self.open(keep=100)
            self.bucket.fail = None
            it.look(final=True)
            self.assertTrue(it.kept)
            for each in it.kept:
                target = tempfile.mkdtemp(dir=self.top)
                checkpoint_restore.restore(
                    self.bucket.objects["checkpoint/%d.json" % each["n"]],
                    each["sha256"],
                    target,
                    get_part=self.bucket.part,
                    account=ACCOUNT,
                )
                if os.path.exists(os.path.join(target, "latest")):
                    with open(os.path.join(target, "latest")) as file:
                        named = file.read()
                    self.assertTrue(
                        os.path.isdir(os.path.join(target, named)), (each, os.listdir(target))
                    )


def named(name, text, names):
    """The units that a pointer names, found by a search of all names for a number."""

    def numbered(number):
        return [
            unit
            for name, unit in names.items()
            if [int(each) for each in pointers.NUMBER.findall(name)[-1:]] == [number]
        ]

    return pointers.named(name, text, names, numbered=numbered)


class PointersTest(unittest.TestCase):
    def test_the_units_that_a_pointer_names(self):
        names = {
            "global_step10": "global_step10",
            "ckpt-1.index": "ckpt-1",
            "ckpt-1": "ckpt-1",
            "iter_0000010": "iter_0000010",
            "a.pt": "a.pt",
            "a": "a.pt",
        }
        for name, text, found, missing in (
            ("latest", "global_step10", {"global_step10"}, False),
            ("latest", "global_step1", set(), True),
            ("latest", "global_step10\n", {"global_step10"}, False),
            ("latest_checkpointed_iteration.txt", "11", set(), True),
            ("latest_checkpointed_iteration.txt", "release", set(), True),
            (
                "checkpoint",
                'model_checkpoint_path: "/x/y/ckpt-1"\nall_model_checkpoint_paths: "ckpt-0"',
                {"ckpt-1"},
                False,
            ),
            ("checkpoint", 'model_checkpoint_path: "ckpt-2"', set(), True),
            ("checkpoint", "weights", set(), False),
            ("last_checkpoint", "/x/a.pt", {"a.pt"}, False),
            ("best.txt", "a.pt", {"a.pt"}, False),
            ("any.txt", "a.pt\n", {"a.pt"}, False),
            ("any.txt", "of a.pt", set(), False),
            ("best.json", '{"file": "a.pt", "n": 10}', {"a.pt"}, False),
            ("any.txt", "10", set(), False),
            ("any.txt", "", set(), False),
            ("latest", "", set(), False),
            ("latest", "../..", set(), True),
            ("latest", "/", set(), True),
        ):
            self.assertEqual(named(name, text, names), (found, missing), (name, text))
        self.assertEqual(
            named(
                "latest_checkpointed_iteration.txt",
                "10",
                {"iter_0000010": "i", "iter_0000100": "j"},
            ),
            ({"i"}, False),
        )

    def test_a_number_names_the_same_with_an_index_as_by_a_search_of_all_names(self):
        rng = random.Random(7)
        for _ in range(500):
            labels = [
                "%s%s"
                % (
                    rng.choice(["a", "b-1.", "latest-", "iter_000"]),
                    rng.choice(["", "5", "05", "12", "5.x"]),
                )
                for _ in range(rng.randrange(7))
            ]
            units = {label: Unit(label) for label in labels}
            for label, unit in units.items():
                unit.names = dict.fromkeys(
                    [label] + [label + "-%d" % n for n in range(rng.randrange(3))], "file"
                )
            names = named_units.Others.of(units)
            numbers = named_units.Others.by_number(names)
            for label in units:
                others = named_units.Others(names, label, numbers)
                for text in ("5", "05\n", "12", "1", "0", "99"):
                    for name in ("latest", "latest_checkpointed_iteration.txt"):
                        indexed = pointers.named(name, text, others, numbered=others.numbered)
                        self.assertEqual(
                            indexed, named(name, text, others), (labels, label, name, text)
                        )

    def test_where_a_link_leads(self):
        for target, found in (
            ("a", "a"),
            ("./a", "a"),
            ("/d/a", "a"),
            ("/d/x/../a", "a"),
            ("..", None),
            ("../d/a", "a"),
            ("/d", None),
            ("x/a", None),
            ("/etc/a", None),
            (".", None),
        ):
            self.assertEqual(pointers.linked(target, "/d"), found, target)

    def test_a_pointer_with_any_text_is_parsed(self):
        rng = random.Random(5)
        letters = [
            "a",
            "1",
            "0",
            "\n",
            "\0",
            " ",
            "/",
            ".",
            "..",
            '"',
            "'",
            "\\",
            "{",
            "é",
            "\udcff",
            "model_checkpoint_path:",
            "²",
            "٣",
        ]
        for _ in range(3000):
            text = "".join(rng.choice(letters) for _ in range(rng.randrange(12)))
            name = rng.choice([
                "latest",
                "checkpoint",
                "last_checkpoint",
                "best.txt",
                "x",
                "latest_checkpointed_iteration.txt",
            ])
            found, missing = named(name, text, {"a": "a", "a1": "a1", "0": "0", "a٣": "a٣"})
            self.assertLessEqual(found, {"a", "a1", "0", "a٣"})
            self.assertIsInstance(missing, bool)

    def test_names_that_belong_together(self):
        for name, stem in (
            ("model-00001-of-00003.safetensors", "model-*-of-00003.safetensors"),
            ("epoch_5_of_10.pt", "epoch_5_of_10.pt"),
            ("rank0.pt", "rank*.pt"),
            ("step3_rank_12.pt", "step3_rank_*.pt"),
            ("frank1.pt", "frank1.pt"),
            ("ckpt-1.index", "ckpt-1"),
            ("other.index", "other.index"),
            ("a\n1", "a\n1"),
        ):
            self.assertEqual(unit_names.stem(name, {"ckpt-1"}), stem, name)


class NextAttemptTest(Sets):
    def test_the_last_complete_set_is_restored_after_one_was_cut_off(self):
        for framework in ("deepspeed", "tensorflow", "linked", "megatron"):
            self.fresh()
            it = self.open()
            getattr(self, framework)(1)
            first = self.state(self.directory)
            self.later(it)
            getattr(self, framework)(2)
            it.look(final=True, cut=True, ended=time.time())
            for each in it.state["refused"].values():
                for name in each["names"]:
                    os.rename(os.path.join(self.directory, name), os.path.join(self.home, name))
            entry, fetched = it.latest(), []

            def part(sha256):
                fetched.append(sha256)
                return self.bucket.part(sha256)

            checkpoint_restore.restore(
                self.bucket.objects["checkpoint/1.json"],
                entry["sha256"],
                self.directory,
                get_part=part,
                account=ACCOUNT,
            )
            self.assertEqual(self.state(self.directory), first, framework)
            # What stands there is not fetched again.
            self.assertLessEqual(len(fetched), 1)
            it = self.open(attempt=2)
            self.assertFalse(self.later(it, 100), framework)
            getattr(self, framework)(3)
            self.assertTrue(self.later(it), framework)


if __name__ == "__main__":
    unittest.main()
