"""Whatever the training user puts below its directories, root reads nothing from outside of them, and is not held up."""
import errno
import json
import os
import random
import stat
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: E402,F401
from nx_ec2_remote import checkpoints, inside, metrics, parts, saver, units, written  # noqa: E402
from nx_ec2_remote.failure import Failure  # noqa: E402
from kept import Bucket  # noqa: E402
from outside import NOBODY, SECRET, Outside, needs_root  # noqa: E402

PART = {
    "projectRoot": "p", "outputDir": "artifacts", "artifacts": {
        "outputs": [{"pattern": "artifacts", "base": "artifacts"}], "scratch": [], "numbered": [],
        "limits": {"files": 1000, "bytes": 1 << 30}, "extra": {"files": 1000, "bytes": 1 << 30},
    },
    "checkpoints": {"keep": 3, "every": None},
}


class Saving(Outside):
    def saver(self, account=NOBODY):
        self.bucket = Bucket()
        it = saver.Saver(self.home, PART, self.bucket, account=account)
        self.addCleanup(it.parts.close)
        return it

    def saved(self, account=NOBODY):
        """The paths of the artifacts that are saved, and what is skipped."""
        it = self.saver(account)
        it._save_artifacts()
        if it.artifacts is None or it.artifacts["state"] != "saved":
            return it.artifacts
        listed = json.loads(self.bucket.objects["artifacts.json"])
        return [each["path"] for each in listed["files"]], {each["path"]: each["why"] for each in listed["skipped"]}

    def assert_nothing_read(self):
        for name, data in self.bucket.objects.items():
            self.assertNotIn(SECRET.strip(), data, name)


class LinksTest(Saving):
    def test_a_project_that_became_a_link_has_no_artifacts_and_that_is_an_error(self):
        self.write("outside/artifacts/key", SECRET, 0o600)
        os.symlink("../outside", os.path.join(self.work, "p"))
        self.assertEqual(self.saved()["error"]["code"], "UNSAFE_PATH")
        self.assert_nothing_read()

    def test_so_has_an_output_directory_that_is_a_link_or_lies_in_one(self):
        self.write("outside/artifacts/key", SECRET, 0o600)
        os.mkdir(os.path.join(self.work, "p"))
        os.symlink("../../outside", os.path.join(self.work, "p", "artifacts"))
        self.assertEqual(self.saved()["error"]["code"], "UNSAFE_PATH")
        self.assert_nothing_read()

    def test_without_an_output_directory_there_are_no_artifacts(self):
        self.assertIsNone(self.saved())
        os.mkdir(os.path.join(self.work, "p"))
        self.assertEqual(self.saved(), ([], {}))

    def test_dots_lead_nowhere(self):
        for path in ("..", "../outside", "p/../../outside", "p/.."):
            with self.assertRaises(OSError) as raised:
                inside.open_directory(self.work, path)
            self.assertIn(raised.exception.errno, inside.GONE)
            with self.assertRaises(OSError):
                inside.open_file(self.work, path + "/secret")
        os.close(inside.open_directory(self.work, "./"))

    def test_a_base_that_is_a_link_is_refused(self):
        os.symlink("outside", os.path.join(self.home, "link"))
        with self.assertRaises(OSError) as raised:
            inside.open_directory(os.path.join(self.home, "link"))
        self.assertIn(raised.exception.errno, inside.GONE)

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

    def test_pipes_and_sockets_hold_nothing_up(self):
        self.write("work/p/artifacts/model", b"x")
        os.mkfifo(os.path.join(self.work, "p/artifacts/pipe"))
        self.assertEqual(self.saved(None), (["artifacts/model"], {"artifacts/pipe": "a special file"}))
        with self.assertRaises(OSError) as raised:
            inside.open_file(self.work, "p/artifacts/pipe")
        self.assertEqual(raised.exception.errno, errno.ENXIO)


@needs_root
class AsTheUserTest(Saving):
    """Names of root's files in the user's directory: hard links where the kernel lets it make them, and what it can rename."""

    def test_what_the_user_may_not_read_is_no_artifact(self):
        self.write("work/p/artifacts/mine", b"x", 0o600)
        os.chown(os.path.join(self.work, "p/artifacts/mine"), NOBODY.pw_uid, NOBODY.pw_gid)
        self.write("work/p/artifacts/for-all", b"x", 0o644)
        os.link(self.secret, os.path.join(self.work, "p/artifacts/hard"))
        os.rename(self.outside, os.path.join(self.work, "p/artifacts/moved"))
        self.assertEqual(self.saved(), (["artifacts/for-all", "artifacts/mine"], {
            "artifacts/hard": "the user nobody can not read it", "artifacts/moved": "the user nobody can not read it",
        }))
        self.assert_nothing_read()

    def test_nor_a_checkpoint_nor_a_line_of_metrics(self):
        os.mkdir(os.path.join(self.home, "checkpoints"))
        os.link(self.secret, os.path.join(self.home, "checkpoints/hard"))
        self.write("checkpoints/unit/a", b"x")
        os.mkdir(os.path.join(self.home, "checkpoints/unit/private"), 0o700)
        found = units.find(os.path.join(self.home, "checkpoints"), NOBODY)
        self.assertEqual({name: unit.why for name, unit in found.items()}, {
            "hard": "hard: the user nobody can not read it", "unit": "unit/private: the user nobody can not read it",
        })
        bucket = Bucket()
        known = parts.Parts(bucket, os.path.join(self.home, "parts.json"), NOBODY)
        self.addCleanup(known.close)
        it = checkpoints.Checkpoints(os.path.join(self.home, "checkpoints"), self.home, known, bucket, 3, None, 1, account=NOBODY)
        self.assertFalse(it.look(final=True))
        self.assertEqual(bucket.objects, {})
        self.write("outside/m.jsonl", b'{"loss": 1}\n', 0o600)
        os.mkdir(os.path.join(self.work, "p"))
        os.link(os.path.join(self.outside, "m.jsonl"), os.path.join(self.work, "p/m.jsonl"))
        training = metrics.TrainingMetrics()
        training.read_file(self.work, "p/m.jsonl", 1, NOBODY)
        self.assertEqual(training.latest, {})

    def test_a_file_that_becomes_unreadable_while_it_is_saved_changed(self):
        self.write("work/p/artifacts/a", b"x", 0o600)
        known = parts.Parts(Bucket(), os.path.join(self.home, "parts.json"), NOBODY)
        self.addCleanup(known.close)
        with self.assertRaises(parts.Changed):
            known.save(self.work, "p/artifacts/a")


class RaceTest(Saving):
    """A directory that changes places with a link, at random moments, while root walks."""

    def test_nothing_outside_is_ever_read(self):
        chance = random.Random(11)
        for name in ("a", "b/c", "b/d/e"):
            self.write("work/p/artifacts/" + name, b"inside " + name.encode())
            self.write("outside/artifacts/" + name, SECRET, 0o600)
        self.write("outside/c", SECRET, 0o600)
        for path, target in (("p", "../outside"), ("p/artifacts", "../../outside/artifacts"), ("p/artifacts/b", "../../../outside")):
            with self.subTest(path=path), self.swapping(os.path.join(self.work, path), target) as swapping:
                read, deadline = 0, time.monotonic() + 120
                while swapping.count < 200 or not read:
                    self.assertLess(time.monotonic(), deadline)
                    it = self.saver(None)
                    it._save_artifacts()
                    self.assert_nothing_read()
                    read += sum(1 for name in self.bucket.objects if name.startswith("part/"))
                    for _ in range(chance.randrange(20)):
                        for _, found in inside.walk(self.work):
                            self.assertNotEqual(found.st_size if stat.S_ISREG(found.st_mode) else 0, len(SECRET))
                        try:
                            descriptor = inside.open_file(self.work, "p/artifacts/b/c")
                        except OSError as error:
                            self.assertIn(error.errno, inside.GONE)
                            continue
                        self.assertEqual(os.read(descriptor, 100), b"inside b/c")
                        os.close(descriptor)
                        read += 1


class LimitsTest(Saving):
    def test_directories_beyond_the_depth_are_a_failure(self):
        at = os.path.join(self.work, "p", "artifacts")
        os.makedirs(at)
        for _ in range(inside.DEPTH + 2):
            at = os.path.join(at, "d")
            os.mkdir(at)
        with self.assertRaises(Failure) as raised:
            written.look(self.work, PART, written.Inputs(self.home))
        self.assertEqual(raised.exception.code, "LIMIT")


if __name__ == "__main__":
    unittest.main()
