"""Checkpoints that a training writes into its project: found by rules and by the layouts of
frameworks, saved, and restored in their place.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401
from outside_files import NOBODY, Outside, needs_root
from runs import ARTIFACTS
from test_checkpoints import ACCOUNT, Saving

from nx_ec2_runtime.checkpoints import (
    checkpoint_restore,
    checkpoints,
    part_upload,
    project_checkpoints,
    project_files,
)
from nx_ec2_runtime.run_dir import written_files
from nx_ec2_runtime.system import atomic_files
from nx_ec2_runtime.system.errors import Failure


def rule(pattern):
    """A rule of a plan, of a glob with `*` and `**/` alone."""
    text = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    plain = pattern.split("/")
    base = plain[: next((at for at, each in enumerate(plain) if "*" in each), len(plain))]
    return {"pattern": text, "base": "/".join(base)}


def part(paths, root="p"):
    return {
        "projectRoot": root,
        "checkpoints": {"keep": 3, "every": None, "paths": [rule(each) for each in paths]},
        "artifacts": ARTIFACTS,
    }


class InProject(Saving):
    """`write` writes into the project; the checkpoint directory is `self.home`/checkpoints."""

    def fresh(self):
        super().fresh()
        self.directory = os.path.join(self.home, "work/p")
        os.makedirs(self.directory)
        os.mkdir(os.path.join(self.home, "checkpoints"))
        self.sent = {}

    def send(self, files_sent):
        for path, data in files_sent.items():
            self.write(path, data)
            self.sent[b"p/" + path.encode()] = (
                "file",
                False,
                len(data),
                hashlib.sha256(data).hexdigest(),
            )

    def begin(self, *paths):
        written_files.keep_sent(self.home, dict(sorted(self.sent.items())))
        atomic_files.write_json(os.path.join(self.home, "baseline.json"), {"present": {}})
        self.part = part(paths)
        self.project = project_checkpoints.Project(self.home, self.part, clock=lambda: self.now)

    def open(self, *paths, attempt=1, keep=3):
        if paths:
            self.begin(*paths)
        saved = part_upload.Parts(self.bucket, os.path.join(self.home, "parts.json"))
        self.addCleanup(saved.close)
        return checkpoints.Checkpoints(
            os.path.join(self.home, "checkpoints"),
            self.home,
            parts=saved,
            bucket=self.bucket,
            keep=keep,
            every=None,
            attempt=attempt,
            clock=lambda: self.now,
            wall=lambda: 1000.0 + self.now,
            project=self.project,
        )

    def labels(self, *paths):
        self.begin(*paths)
        return sorted(self.project.find(again=True))

    def restored_elsewhere(self, n, *paths):
        """{path: bytes} of a project on another instance, which was sent the same, after a
        checkpoint was put back there.
        """
        home = tempfile.mkdtemp(dir=self.top)
        os.makedirs(os.path.join(home, "work/p"))
        for path, entry in self.sent.items():
            target = os.path.join(home, "work", path.decode())
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(b"s" * entry[2])
        written_files.keep_sent(home, dict(sorted(self.sent.items())))
        data = self.bucket.objects["checkpoint/%d.json" % n]
        project = project_files.ProjectFiles(home, part(paths) if paths else self.part, ACCOUNT)
        checkpoint_restore.restore(
            data,
            hashlib.sha256(data).hexdigest(),
            os.path.join(home, "checkpoints"),
            get_part=self.bucket.part,
            account=ACCOUNT,
            project=project,
        )
        self.other = home
        found = {}
        for at, _, names in os.walk(os.path.join(home, "work/p")):
            for name in names:
                with open(os.path.join(at, name), "rb") as file:
                    found[os.path.relpath(os.path.join(at, name), os.path.join(home, "work/p"))] = (
                        file.read()
                    )
        return found


@unittest.skipUnless(os.path.isdir("/proc/self"), "what is open is read from /proc")
class OpenTest(InProject):
    def test_what_is_open_for_writing_is_saved_when_it_is_closed(self):
        it = self.open("out")
        with open(self.write("out/step-1/model.pt"), "ab"):
            self.assertFalse(self.later(it))
            self.assertFalse(self.later(it))
        self.assertTrue(self.later(it))


class UnitsTest(InProject):
    """What is one checkpoint, in the layouts of frameworks."""

    def test_trainer(self):
        for step in (10, 20):
            for name in (
                "model.safetensors",
                "optimizer.pt",
                "trainer_state.json",
                "global_step10/shard.pt",
            ):
                self.write("output/checkpoint-%d/%s" % (step, name))
        self.write("output/runs/Nov28/events.out.tfevents.1")
        self.write("output/model.safetensors")
        wanted = ["./output/checkpoint-10", "./output/checkpoint-20"]
        self.assertEqual(self.labels("output/checkpoint-*"), wanted)
        self.assertEqual(self.labels("output"), wanted)

    def test_lightning(self):
        at = "lightning_logs/version_0/"
        for path in (
            "checkpoints/last.ckpt",
            "checkpoints/epoch=1-step=20.ckpt",
            "metrics.csv",
            "hparams.yaml",
            "events.out.tfevents.1.2",
        ):
            self.write(at + path)
        self.write(at + "checkpoints/epoch=2-step=30.ckpt/checkpoint/mp_rank_00_model_states.pt")
        wanted = [
            "./%scheckpoints/%s" % (at, name)
            for name in ("epoch=1-step=20.ckpt", "epoch=2-step=30.ckpt", "last.ckpt")
        ]
        self.assertEqual(self.labels("lightning_logs/**/checkpoints"), wanted)
        self.assertEqual(self.labels("lightning_logs"), sorted(wanted + ["./%shparams.yaml" % at]))

    def test_deepspeed_with_its_pointer_where_only_the_directories_are_named(self):
        for step in (1, 2):
            self.write("ds/global_step%d/mp_rank_00_model_states.pt" % step)
        self.write("ds/latest", b"global_step2")
        wanted = ["./ds/global_step1", "./ds/global_step2", "./ds/latest"]
        self.assertEqual(self.labels("ds/global_step*"), wanted)
        self.assertEqual(self.labels("ds/"[:-1]), wanted)
        self.assertEqual(self.project.find()["./ds/latest"].points, {"./ds/global_step2"})
        # A pointer to what is none of these stays where it is.
        self.write("ds/latest", b"elsewhere")
        self.assertEqual(self.labels("ds/global_step*"), wanted[:2])

    def test_accelerate_numbered_and_in_place(self):
        for name in ("model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
            self.write("acc/checkpoints/checkpoint_0/" + name)
            self.write("acc/state/" + name)
        self.assertEqual(self.labels("acc"), ["./acc/checkpoints/checkpoint_0", "./acc/state"])
        self.assertEqual(self.labels("acc/state"), ["./acc/state"])

    def test_megatron(self):
        self.write("meg/iter_0000010/mp_rank_00/model_optim_rng.pt")
        self.write("meg/latest_checkpointed_iteration.txt", b"10")
        wanted = ["./meg/iter_0000010", "./meg/latest_checkpointed_iteration.txt"]
        self.assertEqual(self.labels("meg"), wanted)
        self.assertEqual(self.labels("meg/iter_*"), wanted)

    def test_tensorflow_keras_and_pytorch_s_distributed(self):
        for path in (
            "tf/ckpt-1.index",
            "tf/ckpt-1.data-00000-of-00001",
            "k/best.keras",
            "k/model.weights.h5",
            "k/net.h5",
            "sm/saved_model.pb",
            "dcp/.metadata",
        ):
            self.write(path)
        for path in ("sm/variables/variables.index", "dcp/__0_0.distcp"):
            self.write(path)
        self.write("tf/checkpoint", b'model_checkpoint_path: "ckpt-1"\n')
        self.assertEqual(self.labels("tf"), ["./tf/checkpoint", "./tf/ckpt-1"])
        self.assertEqual(self.labels("tf/ckpt-*"), ["./tf/checkpoint", "./tf/ckpt-1"])
        self.assertEqual(
            self.labels("k/*.keras", "k/*.h5"),
            ["./k/best.keras", "./k/model.weights.h5", "./k/net.h5"],
        )
        self.assertEqual(self.labels("sm", "dcp"), ["./dcp", "./sm"])

    def test_temporary_names_and_logs_beside_a_checkpoint_are_no_units(self):
        for path in (
            "snapshot.pt",
            "snapshot.pt.tmp",
            "train.py",
            ".hidden.pt",
            "out/ckpt.pt",
            "out/log.csv",
            ".venv/x.pt",
            "cache/__pycache__/y.pt",
        ):
            self.write(path)
        self.assertEqual(self.labels("snapshot.pt", "out"), ["./out/ckpt.pt", "./snapshot.pt"])
        self.assertEqual(self.labels("**/*.pt"), ["./out/ckpt.pt", "./snapshot.pt"])
        self.assertEqual(
            self.labels(".hidden.pt", "out/log.csv"), ["./.hidden.pt", "./out/log.csv"]
        )

    def test_a_checkpoint_of_the_trainer_is_complete_with_its_state_file(self):
        self.write("output/checkpoint-1/trainer_state.json")
        self.write("output/checkpoint-2/model.safetensors")
        self.begin("output/checkpoint-*")
        found = self.project.find()
        self.assertEqual(
            {label: unit.unfinished for label, unit in found.items()},
            {"./output/checkpoint-1": False, "./output/checkpoint-2": True},
        )

    def test_a_synced_file_is_no_checkpoint_until_the_training_changes_it(self):
        self.send({"weights/base.pt": b"sent", "weights/head.pt": b"sent"})
        self.assertEqual(self.labels("weights"), [])
        self.write("weights/head.pt", b"trained")
        self.assertEqual(sorted(self.project.find(again=True)), ["./weights/head.pt"])
        # As long as it is not known what was there before the training.
        os.unlink(os.path.join(self.home, "baseline.json"))
        self.assertEqual(project_checkpoints.Project(self.home, self.part).find(), {})

    def test_a_synced_unit_that_a_pointer_names_is_a_checkpoint(self):
        self.send({"ds/global_step1/x.pt": b"sent"})
        self.begin("ds")
        self.write("ds/latest", b"global_step1")
        self.assertEqual(
            sorted(self.project.find(again=True)), ["./ds/global_step1", "./ds/latest"]
        )

    def test_a_unit_below_a_directory_that_is_not_utf_8_is_reported_and_others_are_saved(
        self,
    ):
        it = self.open("out")
        self.write("out/step-1/model.pt")
        self.write(os.fsdecode(b"out/\xfe/step-9/model.pt"))
        self.assertTrue(it.look(final=True))
        self.assertEqual([each["unit"] for each in it.kept], ["./out/step-1"])
        self.assertEqual(
            list(it.unfit.values()), ["./out/?/step-9: the name of its directory is not UTF-8"]
        )
        lists = [
            data for name, data in self.bucket.objects.items() if name.startswith("checkpoint/")
        ]
        for data in [json.dumps(it.kept).encode()] + lists:
            self.assertNotIn(b"\\udc", data)

    def test_only_links_to_names_beside_them_are_followed(self):
        secret = tempfile.mkdtemp(dir=self.top)
        with open(os.path.join(secret, "a.pt"), "w") as file:
            file.write("secret")
        os.symlink(secret, os.path.join(self.directory, "out"))
        self.write("logs/epoch=1.ckpt")
        os.symlink("epoch=1.ckpt", os.path.join(self.directory, "logs/last.ckpt"))
        os.symlink(os.path.join(secret, "a.pt"), os.path.join(self.directory, "logs/best.ckpt"))
        self.assertEqual(
            self.labels("out", "out/*.pt", "logs"), ["./logs/epoch=1.ckpt", "./logs/last.ckpt"]
        )


class SavingTest(InProject):
    def test_a_set_has_the_newest_unit_of_each_directory_and_is_restored_there(self):
        it = self.open("output/checkpoint-*", "snapshot.pt")
        for step in (1, 2):
            self.write("output/checkpoint-%d/model" % step, b"m%d" % step)
            self.write("output/checkpoint-%d/trainer_state.json" % step, b"{}")
        self.write("snapshot.pt", b"s")
        with open(os.path.join(self.home, "checkpoints/state"), "w") as file:
            file.write("d")
        self.later(it)
        self.assertEqual(
            self.set(it.latest()["n"]), ["./output/checkpoint-2", "./snapshot.pt", "state"]
        )
        self.assertEqual(
            self.restored_elsewhere(it.latest()["n"]),
            {
                "output/checkpoint-2/model": b"m2",
                "output/checkpoint-2/trainer_state.json": b"{}",
                "snapshot.pt": b"s",
            },
        )
        with open(os.path.join(self.other, "checkpoints/state")) as file:
            self.assertEqual(file.read(), "d")

    def test_a_file_that_is_overwritten_in_place_is_saved_when_it_stops_changing(self):
        it = self.open("out/ckpt.pt")
        for text in (b"first", b"second"):
            self.write("out/ckpt.pt", text)
            it.look()
            self.now += 1.0
            self.write("out/ckpt.pt", text + b", whole")
            it.look()
            self.now += 1.0
            it.look()
            self.assertNotIn(text, [self.content(each) for each in it.kept])
            self.now += 1.0
            it.look()
            self.assertEqual(self.content(it.latest()), text + b", whole")
        self.assertEqual([each["unit"] for each in it.kept], ["./out/ckpt.pt"] * 2)

    def content(self, entry):
        manifest = self.manifest(entry["n"])
        return b"".join(
            self.bucket.part(each) for file in manifest["files"] for each in file["parts"]
        )

    def test_an_incomplete_unit_of_an_attempt_that_was_cut_off_is_moved_aside(self):
        it = self.open("out/ckpt.pt")
        self.write("out/ckpt.pt", b"whole")
        self.later(it)
        half = self.write("out/ckpt.pt", b"ha")
        it.look(final=True, cut=True, ended=os.stat(half).st_mtime + 0.5)
        self.assertEqual(self.content(it.latest()), b"whole")
        self.assertEqual(list(it.state["refused"]), ["./out/ckpt.pt"])
        aside = os.path.join(self.home, "aside")
        project = project_files.ProjectFiles(self.home, self.part, ACCOUNT)
        self.assertTrue(project.move_aside("./out/ckpt.pt", aside))
        self.assertFalse(project.move_aside("./out/ckpt.pt", aside))
        self.assertEqual(
            [os.listdir(aside), os.listdir(os.path.join(self.directory, "out"))],
            [["out_ckpt.pt"], []],
        )
        last = it.state["last"]
        self.assertEqual(
            len(
                checkpoint_restore.lacking(
                    last, os.path.join(self.home, "checkpoints"), ACCOUNT, project=project
                )
            ),
            1,
        )
        data = self.bucket.objects["checkpoint/1.json"]
        checkpoint_restore.restore(
            data,
            it.latest()["sha256"],
            os.path.join(self.home, "checkpoints"),
            get_part=self.bucket.part,
            account=ACCOUNT,
            project=project,
        )
        self.assertEqual(self.there("out"), {"out/ckpt.pt": b"whole"})
        self.assertEqual(
            checkpoint_restore.lacking(
                last, os.path.join(self.home, "checkpoints"), ACCOUNT, project=project
            ),
            [],
        )

    def test_another_instance_does_not_save_the_restored_checkpoint_again(self):
        it = self.open("snapshot.pt")
        self.write("snapshot.pt", b"one")
        self.later(it)
        kept = it.kept
        manifest = self.manifest(1)
        self.fresh_home()
        self.begin("snapshot.pt")
        other = self.open(attempt=2)
        other.state._adopt(kept, 1)
        other.expects(manifest)
        self.write("snapshot.pt", b"one")
        self.later(other)
        self.assertEqual([each["n"] for each in other.kept], [1])
        self.write("snapshot.pt", b"two")
        self.later(other)
        self.assertEqual([each["n"] for each in other.kept], [1, 2])

    def fresh_home(self):
        bucket = self.bucket
        self.fresh()
        self.bucket = bucket

    def test_a_checkpoint_is_no_extra_file_but_can_be_an_output(self):
        it = self.open("out", "output/checkpoint-*")
        for path in (
            "out/ckpt.pt",
            "output/checkpoint-1/trainer_state.json",
            "output/checkpoint-1.complete",
            "artifacts/checkpoint.pt",
            "loose.txt",
            "out/log.csv",
        ):
            self.write(path)
        self.later(it, final=True)
        found = written_files.look(
            os.path.join(self.home, "work"),
            self.part,
            inputs=written_files.Inputs(self.home),
            checkpoints=self.project.paths(),
        )
        self.assertEqual(sorted(path for path, _ in found.extra), ["p/loose.txt", "p/out/log.csv"])
        self.assertEqual([path for path, _ in found.outputs], ["artifacts/checkpoint.pt"])
        self.assertEqual(len(found.checkpoints), 3)


class RestoringTest(InProject):
    def saved(self, *paths):
        it = self.open(*paths)
        self.later(it, final=True)
        return it.latest()

    def refused(self, *paths):
        with self.assertRaises(Failure) as raised:
            self.restored_elsewhere(1, *paths)
        self.assertEqual(raised.exception.code, "PATH_BLOCKED")
        return raised.exception.message

    def test_a_synced_file_is_replaced_only_by_its_own_unit(self):
        self.send({"out/ckpt.pt": b"ssss", "train.py": b"s"})
        self.open("out")
        self.write("out/ckpt.pt", b"trained")
        self.later(self.open(), final=True)
        self.assertEqual(self.restored_elsewhere(1), {"out/ckpt.pt": b"trained", "train.py": b"s"})
        # Another project, whose code lies where the checkpoint does.
        self.sent[b"p/out/ckpt.pt/train.py"] = self.sent.pop(b"p/out/ckpt.pt")
        self.assertEqual(
            self.refused(), "out/ckpt.pt/train.py was sent, and the checkpoint would replace it"
        )

    def test_a_checkpoint_is_restored_only_where_a_configured_path_is(self):
        self.open("out/ckpt.pt")
        self.write("out/ckpt.pt")
        self.later(self.open(), final=True)
        self.assertEqual(self.restored_elsewhere(1, "out"), {"out/ckpt.pt": b"x"})
        self.assertEqual(
            self.refused("other"),
            "the checkpoint holds ./out/ckpt.pt, which no path of train.checkpoints.paths names",
        )

    def test_names_outside_or_inside_of_one_another_are_refused(self):
        self.open("out")
        self.write("out/ckpt.pt")
        self.later(self.open(), final=True)
        manifest = self.manifest(1)

        def changed(name, path, kind="file"):
            made = dict(
                manifest,
                names=[{"name": name, "kind": kind}],
                files=[dict(manifest["files"][0], path=path)],
            )
            data = json.dumps(made).encode()
            return checkpoint_restore.read(data, hashlib.sha256(data).hexdigest())

        self.assertTrue(changed("./a", "./a") and changed("./a/b", "./a/b/c", "directory"))
        for name in (
            "./../a",
            "./a/../../b",
            "./",
            ".//a",
            "./a/",
            "./a/./b",
            "/a",
            "a/b",
            "../a",
            "./a\0",
        ):
            with self.assertRaises(Failure, msg=name):
                changed(name, name)
        for name, path in (("./a", "./ab"), ("./a", "a"), ("a", "./a"), ("./a", "./a/b")):
            with self.assertRaises(Failure, msg=path):
                changed(name, path)
        data = json.dumps(
            dict(
                manifest,
                names=[
                    {"name": "./out", "kind": "directory"},
                    {"name": "./out/ckpt.pt", "kind": "file"},
                ],
            )
        ).encode()
        with self.assertRaises(Failure):
            checkpoint_restore.read(data, hashlib.sha256(data).hexdigest())

    def test_a_restore_follows_no_link(self):
        self.open("out/ckpt.pt")
        self.write("out/ckpt.pt")
        self.later(self.open(), final=True)
        shutil.rmtree(os.path.join(self.directory, "out"))
        beside = tempfile.mkdtemp(dir=self.top)
        os.symlink(beside, os.path.join(self.directory, "out"))
        data = self.bucket.objects["checkpoint/1.json"]
        with self.assertRaises(Failure) as raised:
            checkpoint_restore.restore(
                data,
                hashlib.sha256(data).hexdigest(),
                os.path.join(self.home, "checkpoints"),
                get_part=self.bucket.part,
                account=ACCOUNT,
                project=project_files.ProjectFiles(self.home, self.part, ACCOUNT),
            )
        self.assertEqual(raised.exception.code, "PATH_BLOCKED")
        self.assertEqual(os.listdir(beside), [])
        self.assertFalse(os.path.exists(os.path.join(self.home, "checkpoints.restore")))


@needs_root
class AsTheUserTest(Outside):
    """What root does for a training in a project that is the training's."""

    def setUp(self):
        super().setUp()
        self.project = os.path.join(self.work, "p")
        os.mkdir(self.project)
        os.chown(self.project, NOBODY.pw_uid, NOBODY.pw_gid)
        content = b"weights"
        self.name = hashlib.sha256(content).hexdigest()
        entry = {
            "path": "./out/unit-1/a",
            "size": len(content),
            "sha256": self.name,
            "executable": False,
            "parts": [self.name],
        }
        self.manifest = json.dumps({
            "v": 1,
            "n": 1,
            "unit": "./out/unit-1",
            "names": [{"name": "./out/unit-1", "kind": "directory"}],
            "files": [entry],
        }).encode()

    def restore(self):
        it = project_files.ProjectFiles(self.home, part(["out"]), NOBODY)
        checkpoint_restore.restore(
            self.manifest,
            hashlib.sha256(self.manifest).hexdigest(),
            os.path.join(self.home, "checkpoints"),
            get_part=lambda _: b"weights",
            account=NOBODY,
            project=it,
        )

    def test_restored_files_belong_to_the_training_user(self):
        self.restore()
        for path in ("out", "out/unit-1", "out/unit-1/a"):
            self.assertEqual(os.stat(os.path.join(self.project, path)).st_uid, NOBODY.pw_uid, path)
        self.restore()

    def test_a_restore_writes_nothing_where_the_user_may_not(self):
        os.mkdir(os.path.join(self.project, "out"), 0o755)
        with self.assertRaises(Failure) as raised:
            self.restore()
        self.assertEqual(raised.exception.code, "PATH_BLOCKED")
        self.assertEqual(os.listdir(os.path.join(self.project, "out")), [])

    def test_a_restore_writes_nothing_through_a_link(self):
        os.symlink("../../outside", os.path.join(self.project, "out"))
        with self.assertRaises(Failure):
            self.restore()
        self.assert_outside_unchanged()


if __name__ == "__main__":
    unittest.main()
