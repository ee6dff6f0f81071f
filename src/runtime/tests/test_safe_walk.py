"""Root reads nothing outside of the training user's directories, whatever links, pipes or mounts
are in them, and does not block.
"""

import contextlib
import errno
import json
import os
import random
import stat
import sys
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401
from memory_bucket import Bucket
from outside_files import NOBODY, SECRET, Outside, needs_root

from nx_ec2_runtime.checkpoints import checkpoint_units, checkpoints, part_upload
from nx_ec2_runtime.report import artifacts, metrics, uploads
from nx_ec2_runtime.run_dir import written_files
from nx_ec2_runtime.system import safe_walk

PART = {
    "projectRoot": "p",
    "outputDir": "artifacts",
    "artifacts": {
        "outputs": [{"pattern": "artifacts", "base": "artifacts"}],
        "scratch": [],
        "numbered": [],
        "limits": {"files": 1000, "bytes": 1 << 30},
        "extra": {"files": 1000, "bytes": 1 << 30},
    },
    "checkpoints": {"keep": 3, "every": None, "paths": []},
}


class Saving(Outside):
    def saver(self, account=NOBODY):
        self.bucket = Bucket()
        it = uploads.Saver(self.home, PART, self.bucket, account=account)
        self.addCleanup(it.parts.close)
        return it

    def saved(self, account=NOBODY):
        """The paths of the artifacts that are saved, and what is skipped."""
        it = self.saver(account)
        it._save_artifacts()
        if it.artifacts is None or it.artifacts["state"] != "saved":
            return it.artifacts
        listed = json.loads(self.bucket.objects["artifacts.json"])
        return [each["path"] for each in listed["files"]], {
            each["path"]: each["why"] for each in listed["skipped"]
        }

    def assert_nothing_read(self):
        for name, data in self.bucket.objects.items():
            self.assertNotIn(SECRET.strip(), data, name)


class DefectTest(Saving):
    """An exception that nothing expects ends the saving; it is not met again and again, without a
    word.
    """

    def look(self, name):
        it = self.saver()
        self.write("work/p/artifacts/model", b"trained")
        with mock.patch.object(uploads.Saver, name, side_effect=ValueError("a defect")), mock.patch(
            "traceback.print_exc"
        ):
            it._work({"attempts": [], "attempt": 1}, True)
        self.assertTrue(it.done)
        return it

    def test_a_defect_in_the_code_of_artifacts_is_reported(self):
        error = self.look("_check_directories").artifacts["error"]
        self.assertEqual(
            (error["code"], error["message"]),
            ("SAVE_FAILED", "the artifacts can't be saved: ValueError: a defect"),
        )

    def test_a_defect_in_the_code_of_checkpoints_does_not_prevent_artifacts_from_being_saved(self):
        it = self.look("_save_checkpoints")
        self.assertEqual(it.trouble, "checkpoints can't be saved: ValueError: a defect")
        self.assertEqual((it.artifacts["state"], it.artifacts["files"]), ("saved", 1))


class LinksTest(Saving):
    def test_a_project_that_became_a_link_has_no_artifacts_and_is_an_error(self):
        self.write("outside/artifacts/key", SECRET, 0o600)
        os.symlink("../outside", os.path.join(self.work, "p"))
        self.assertEqual(self.saved()["error"]["code"], "UNSAFE_PATH")
        self.assert_nothing_read()

    def test_an_output_directory_behind_a_link_has_no_artifacts(self):
        self.write("outside/artifacts/key", SECRET, 0o600)
        os.mkdir(os.path.join(self.work, "p"))
        os.symlink("../../outside", os.path.join(self.work, "p", "artifacts"))
        self.assertEqual(self.saved()["error"]["code"], "UNSAFE_PATH")
        self.assert_nothing_read()

    def test_without_an_output_directory_there_are_no_artifacts(self):
        self.assertIsNone(self.saved())
        os.mkdir(os.path.join(self.work, "p"))
        self.assertEqual(self.saved(), ([], {}))

    def test_paths_with_dots_are_refused(self):
        for path in ("..", "../outside", "p/../../outside", "p/.."):
            with self.assertRaises(OSError) as raised:
                safe_walk.open_directory(self.work, path)
            self.assertIn(raised.exception.errno, safe_walk.GONE)
            with self.assertRaises(OSError):
                safe_walk.open_file(self.work, path + "/secret")
        os.close(safe_walk.open_directory(self.work, "./"))

    def test_a_base_that_is_a_link_is_refused(self):
        os.symlink("outside", os.path.join(self.home, "link"))
        with self.assertRaises(OSError) as raised:
            safe_walk.open_directory(os.path.join(self.home, "link"))
        self.assertIn(raised.exception.errno, safe_walk.GONE)

    def test_metrics_are_read_through_no_link(self):
        self.write("outside/m.jsonl", b'{"loss": 1}\n')
        os.symlink("../outside", os.path.join(self.work, "p"))
        it = metrics.TrainingMetrics()
        it.read_file(self.work, "p/m.jsonl", 1)
        self.assertEqual(it.latest, {})
        os.unlink(os.path.join(self.work, "p"))
        self.write("work/p/m.jsonl", b'{"loss": 2}\n')
        it.read_file(self.work, "p/m.jsonl", 1)
        self.assertEqual(it.latest, {"loss": 2})
        it.close()

    def test_pipes_and_sockets_do_not_block(self):
        self.write("work/p/artifacts/model", b"x")
        os.mkfifo(os.path.join(self.work, "p/artifacts/pipe"))
        self.assertEqual(
            self.saved(None), (["artifacts/model"], {"artifacts/pipe": "a special file"})
        )
        with self.assertRaises(OSError) as raised:
            safe_walk.open_file(self.work, "p/artifacts/pipe")
        self.assertEqual(raised.exception.errno, errno.ENXIO)


@needs_root
class AsTheUserTest(Saving):
    """Names of root's files in the user's directory: hard links where the kernel lets it make them,
    and what it can rename.
    """

    def test_a_file_that_the_user_may_not_read_is_no_artifact(self):
        self.write("work/p/artifacts/mine", b"x", 0o600)
        os.chown(os.path.join(self.work, "p/artifacts/mine"), NOBODY.pw_uid, NOBODY.pw_gid)
        self.write("work/p/artifacts/for-all", b"x", 0o644)
        os.link(self.secret, os.path.join(self.work, "p/artifacts/hard"))
        os.rename(self.outside, os.path.join(self.work, "p/artifacts/moved"))
        self.assertEqual(
            self.saved(),
            (
                ["artifacts/for-all", "artifacts/mine"],
                {
                    "artifacts/hard": "the user nobody can't read it",
                    "artifacts/moved": "the user nobody can't read it",
                },
            ),
        )
        self.assert_nothing_read()

    def test_a_file_that_the_user_may_not_read_is_no_checkpoint_and_no_metrics(self):
        os.mkdir(os.path.join(self.home, "checkpoints"))
        os.link(self.secret, os.path.join(self.home, "checkpoints/hard"))
        self.write("checkpoints/unit/a", b"x")
        os.mkdir(os.path.join(self.home, "checkpoints/unit/private"), 0o700)
        found = checkpoint_units.find(os.path.join(self.home, "checkpoints"), NOBODY)
        self.assertEqual(
            {name: unit.why for name, unit in found.items()},
            {
                "hard": "hard: the user nobody can't read it",
                "unit": "unit/private: the user nobody can't read it",
            },
        )
        bucket = Bucket()
        known = part_upload.Parts(bucket, os.path.join(self.home, "parts.json"), NOBODY)
        self.addCleanup(known.close)
        it = checkpoints.Checkpoints(
            os.path.join(self.home, "checkpoints"),
            self.home,
            parts=known,
            bucket=bucket,
            keep=3,
            every=None,
            attempt=1,
            account=NOBODY,
        )
        self.assertFalse(it.look(final=True))
        self.assertEqual(bucket.objects, {})
        self.write("outside/m.jsonl", b'{"loss": 1}\n', 0o600)
        os.mkdir(os.path.join(self.work, "p"))
        os.link(os.path.join(self.outside, "m.jsonl"), os.path.join(self.work, "p/m.jsonl"))
        training = metrics.TrainingMetrics()
        training.read_file(self.work, "p/m.jsonl", 1, account=NOBODY)
        self.assertEqual(training.latest, {})

    def test_a_file_that_becomes_unreadable_while_it_is_saved_counts_as_changed(self):
        self.write("work/p/artifacts/a", b"x", 0o600)
        known = part_upload.Parts(Bucket(), os.path.join(self.home, "parts.json"), NOBODY)
        self.addCleanup(known.close)
        with self.assertRaises(part_upload.Changed):
            known.save(self.work, "p/artifacts/a")


class RaceTest(Saving):
    """A directory that changes places with a link, at random moments, while root walks."""

    def test_nothing_outside_is_read_while_a_directory_changes_places_with_a_link(self):
        chance = random.Random(11)
        for name in ("a", "b/c", "b/d/e"):
            self.write("work/p/artifacts/" + name, b"inside " + name.encode())
            self.write("outside/artifacts/" + name, SECRET, 0o600)
        self.write("outside/c", SECRET, 0o600)
        for path, target in (
            ("p", "../outside"),
            ("p/artifacts", "../../outside/artifacts"),
            ("p/artifacts/b", "../../../outside"),
        ):
            with self.subTest(path=path), self.swapping(
                os.path.join(self.work, path), target
            ) as swapping:
                read, deadline = 0, time.monotonic() + 120
                while swapping.count < 200 or not read:
                    self.assertLess(time.monotonic(), deadline)
                    it = self.saver(None)
                    it._save_artifacts()
                    self.assert_nothing_read()
                    read += sum(1 for name in self.bucket.objects if name.startswith("part/"))
                    for _ in range(chance.randrange(20)):
                        for _, found in safe_walk.walk(self.work):
                            self.assertNotEqual(
                                found.st_size if stat.S_ISREG(found.st_mode) else 0, len(SECRET)
                            )
                        try:
                            descriptor = safe_walk.open_file(self.work, "p/artifacts/b/c")
                        except OSError as error:
                            self.assertIn(error.errno, safe_walk.GONE)
                            continue
                        self.assertEqual(os.read(descriptor, 100), b"inside b/c")
                        os.close(descriptor)
                        read += 1


class WhatCanNotBeEnteredTest(Saving):
    """It is named where an output may be in it, and keeps nothing else from being saved."""

    def setUp(self):
        super().setUp()
        self.write("work/p/artifacts/model", b"x")

    def look(self):
        found = written_files.look(self.work, PART, inputs=written_files.Inputs(self.home))
        return [path for path, _ in found.outputs], [
            (each["path"], each["why"]) for each in found.skipped
        ]

    def nest(self, *names, name="d"):
        """Makes more nested directories than are entered, the innermost with a file in it."""
        at = os.open(os.path.join(self.work, *names[:1]), os.O_RDONLY)
        for each in names[1:] + (name,) * (safe_walk.MAX_DEPTH + 2):
            if each not in os.listdir(at):
                os.mkdir(each, dir_fd=at)
            inner = os.open(each, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = inner
        os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        os.close(at)

    def test_a_path_that_is_longer_than_clients_read_is_cut(self):
        self.nest("p", "artifacts", name="d" * 50)
        saved, skipped = self.saved(None)
        self.assertEqual(
            (saved, [len(path) for path in skipped]),
            (["artifacts/model"], [artifacts.SHOWN_CHARACTERS + 3]),
        )

    def test_directories_of_an_output_beyond_the_depth_limit_are_reported(self):
        self.nest("p", "artifacts")
        outputs, skipped = self.look()
        self.assertEqual(outputs, ["artifacts/model"])
        self.assertEqual([why for _, why in skipped], ["directories are nested too deep in it"])
        self.assertTrue(skipped[0][0].startswith("artifacts/d/d/"))

    def test_directories_elsewhere_beyond_the_depth_limit_are_skipped(self):
        os.mkdir(os.path.join(self.work, "cache"))
        self.nest("cache")
        self.assertEqual(self.look(), (["artifacts/model"], []))

    def test_a_checkpoint_with_directories_beyond_the_depth_is_held_back_alone(self):
        for name in ("a", "b"):
            self.write("work/%s/x" % name, b"x")
        self.nest("a")
        found = checkpoint_units.find(self.work, None)
        self.assertEqual(found["b"].why, None)
        self.assertIn("nested too deep", found["a"].why)

    def refusing(self, name, code, *calls):
        """os.stat, os.open or os.listdir fail for this name as a dead mount, or one of another
        user's, does.
        """

        def failing(call):
            real = getattr(os, call)

            def fail(path, *args, **more):
                at = (
                    os.readlink("/proc/self/fd/%d" % path).rpartition("/")[2]
                    if isinstance(path, int) and call == "listdir"
                    else path
                )
                if at == name:
                    raise OSError(code, os.strerror(code), name)
                return real(path, *args, **more)

            return mock.patch.object(os, call, fail)

        stack = contextlib.ExitStack()
        for call in calls:
            stack.enter_context(failing(call))
        return stack

    def test_file_systems_that_do_not_answer_are_skipped(self):
        self.write("work/mounted/x", b"x")
        self.write("work/p/artifacts/mounted/x", b"x")
        calls = [("stat",), ("open",)] + ([("listdir",)] if os.path.isdir("/proc/self") else [])
        for code in (errno.ENOTCONN, errno.EACCES, errno.ESTALE, errno.EIO):
            for refused in calls:
                with self.subTest(code=code, refused=refused), self.refusing(
                    "mounted", code, *refused
                ):
                    self.assertEqual(
                        self.look(),
                        (["artifacts/model"], [("artifacts/mounted", "it can't be reached")]),
                    )
        with self.refusing("artifacts", errno.ENOTCONN, "stat"):
            self.assertEqual(self.look(), ([], [("artifacts", "it can't be reached")]))

    def test_a_lack_of_descriptors_is_a_failure_and_skips_nothing(self):
        for code in (errno.EMFILE, errno.ENOMEM):
            with self.refusing("artifacts", code, "open"), self.assertRaises(OSError):
                self.look()

    def test_other_file_systems_are_entered_only_for_outputs(self):
        for name in ("work/data/x", "work/p/data/x", "work/p/artifacts/x"):
            self.write(name, b"x")
        real = os.stat

        def stat(path, *args, **more):
            found = real(path, *args, **more)
            if path not in ("data", "artifacts", "p"):
                return found
            return os.stat_result(
                tuple(found)[:2] + (found.st_dev + 1,) + tuple(found)[3:10],
                {"st_mtime_ns": found.st_mtime_ns, "st_ctime_ns": found.st_ctime_ns},
            )

        with open(os.path.join(self.home, written_files.SENT), "wb"):
            pass
        written_files.keep_baseline(self.home, PART, False)
        with mock.patch.object(os, "stat", stat):
            found = written_files.look(self.work, PART, inputs=written_files.Inputs(self.home))
        self.assertEqual(
            ([path for path, _ in found.outputs], [path for path, _ in found.extra]),
            (["artifacts/model", "artifacts/x"], []),
        )


if __name__ == "__main__":
    unittest.main()
