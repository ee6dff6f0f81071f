"""Directories that root makes for the training user: never outside, whatever links the user sets."""

import errno
import hashlib
import json
import mmap
import os
import stat
import sys
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import runs
import test_sync  # noqa: F401
from outside_files import NOBODY, SECRET, Outside, needs_root

from nx_ec2_runtime.checkpoints import checkpoint_restore
from nx_ec2_runtime.datasets import datasets
from nx_ec2_runtime.disk import trash
from nx_ec2_runtime.python_env import cache_key, dependency_files
from nx_ec2_runtime.run import child_process, preparation, supervised_run
from nx_ec2_runtime.run_dir import log_writer
from nx_ec2_runtime.system import account as accounts
from nx_ec2_runtime.system import safe_walk
from nx_ec2_runtime.system.dirfd_cache import Directories
from nx_ec2_runtime.system.errors import Failure


@needs_root
class DirectoriesTest(Outside):
    def made(self, path):
        it = Directories(self.work, NOBODY)
        try:
            it.make(os.fsencode(path))
        finally:
            it.close()

    def test_new_directories_belong_to_the_user(self):
        self.made("a/b")
        self.assertEqual(os.stat(os.path.join(self.work, "a/b")).st_uid, NOBODY.pw_uid)

    def test_directories_are_not_made_through_a_link(self):
        os.symlink("../outside", os.path.join(self.work, "a"))
        with self.assertRaises(Failure) as raised:
            self.made("a/b")
        self.assertEqual(raised.exception.code, "PATH_BLOCKED")
        self.assert_outside_unchanged()

    def test_a_file_that_replaces_a_new_directory_keeps_its_owner(self):
        private = os.path.join(self.work, "private")
        os.rename(self.outside, private)
        real = os.mkdir

        def mkdir(name, *args, **more):
            real(name, *args, **more)
            os.rmdir(os.path.join(self.work, "a"))
            os.rename(private, os.path.join(self.work, "a"))

        with mock.patch.object(os, "mkdir", mkdir):
            self.made("a")
        status = os.stat(os.path.join(self.work, "a"))
        self.assertEqual((status.st_uid, stat.S_IMODE(status.st_mode)), (0, 0o700))

    def test_a_directory_that_the_user_makes_at_the_same_time_is_used(self):
        real = os.mkdir

        def mkdir(name, *args, **more):
            real(name, *args, **more)
            raise FileExistsError(errno.EEXIST, "it is there")

        with mock.patch.object(os, "mkdir", mkdir):
            self.made("a")
        self.assertTrue(os.path.isdir(os.path.join(self.work, "a")))

    def test_nothing_outside_is_made_while_a_directory_changes_places_with_a_link(self):
        os.mkdir(os.path.join(self.work, "a"))
        with self.swapping(os.path.join(self.work, "a"), "../outside") as swapping:
            number, made, deadline = 0, 0, time.monotonic() + 120
            while swapping.count < 200 or not made:
                self.assertLess(time.monotonic(), deadline)
                number += 1
                try:
                    self.made("a/d%d/e" % number)
                    made += 1
                except Failure as failure:
                    self.assertEqual(failure.code, "PATH_BLOCKED")
                except FileNotFoundError:
                    continue
        self.assert_outside_unchanged()

    def test_a_link_that_takes_the_place_of_a_directory_is_removed_and_not_what_it_leads_to(self):
        os.makedirs(os.path.join(self.work, "rest/b"))
        os.symlink("../../outside", os.path.join(self.work, "rest/link"))
        # It was a directory when it was looked at.
        with mock.patch.object(trash, "_is_directory", lambda *_: True):
            trash.remove_tree(os.path.join(self.work, "rest"))
        self.assertEqual(os.listdir(self.work), [])
        self.assert_outside_unchanged()


@needs_root
class PrepareTest(Outside):
    """The directories of a run, before its training starts."""

    def prepare(self, **part):
        run = object.__new__(supervised_run.SupervisedRun)
        run.run_dir, run.work, run.account = self.home, self.work, NOBODY
        run.spec = dict(
            {
                "projectRoot": "p",
                "outputDir": "out/artifacts",
                "script": None,
                "artifacts": {"numbered": []},
            },
            **part,
        )
        run.project = os.path.join(self.work, run.spec["projectRoot"])
        preparation.make_directories(run)

    def setUp(self):
        super().setUp()
        self.project = os.path.join(self.work, "p")
        os.mkdir(self.project)
        os.chown(self.project, NOBODY.pw_uid, NOBODY.pw_gid)

    def test_the_directories_of_a_run_belong_to_the_user(self):
        self.prepare()
        for path in ("work/p/out", "work/p/out/artifacts", "checkpoints"):
            self.assertEqual(os.stat(os.path.join(self.home, path)).st_uid, NOBODY.pw_uid, path)
        self.prepare()

    def test_a_missing_script_is_reported(self):
        with self.assertRaises(supervised_run.Failed) as raised:
            self.prepare(script="train.py")
        self.assertEqual(raised.exception.data["code"], "NO_SCRIPT")
        os.symlink("real.py", os.path.join(self.project, "train.py"))
        self.write("work/p/real.py", b"")
        self.prepare(script="train.py")

    def test_links_that_lead_outside_only_together_are_not_followed(self):
        os.symlink("p", os.path.join(self.work, "here"))
        os.symlink("../../outside", os.path.join(self.project, "out"))
        with self.assertRaises(OSError) as raised:
            self.prepare()
        self.assertRegex(str(raised.exception), "^as nobody: ")
        self.assert_outside_unchanged()

    def test_an_output_directory_behind_a_link_is_refused_before_the_training(self):
        self.write("work/elsewhere/artifacts/x", b"")
        os.symlink("../elsewhere", os.path.join(self.project, "out"))
        with self.assertRaises(supervised_run.Failed) as raised:
            self.prepare()
        self.assertEqual(raised.exception.data["code"], "PATH_BLOCKED")


@needs_root
class DataTest(Outside):
    def link(self, path="data/x"):
        datasets.link_data(
            [{"source": "s3://b/x/", "path": path, "directory": self.outside, "lock": None}],
            os.path.join(self.work, "p"),
            NOBODY,
        )

    def test_a_dataset_is_linked_by_the_user_and_found_again(self):
        os.mkdir(os.path.join(self.work, "p"))
        os.chown(os.path.join(self.work, "p"), NOBODY.pw_uid, NOBODY.pw_gid)
        self.link()
        self.link()
        at = os.path.join(self.work, "p/data/x")
        self.assertEqual((os.readlink(at), os.lstat(at).st_uid), (self.outside, NOBODY.pw_uid))
        with self.assertRaises(Failure) as raised:
            datasets.link_data(
                [{"source": "s3://b/y/", "path": "data/x", "directory": self.work, "lock": None}],
                os.path.join(self.work, "p"),
                NOBODY,
            )
        self.assertEqual(raised.exception.code, "PATH_BLOCKED")

    def test_a_dataset_is_not_linked_outside_of_the_project(self):
        os.symlink("../outside", os.path.join(self.work, "p"))
        with self.assertRaises((Failure, OSError)):
            self.link()
        self.assert_outside_unchanged()

    def test_a_data_root_is_used_only_if_no_other_user_can_replace_it(self):
        place = os.path.join(self.home, "disk", "nx-ec2")
        os.makedirs(place)
        for mode, holds in ((0o755, True), (0o1777, True), (0o777, False), (0o775, False)):
            os.chmod(os.path.dirname(place), mode)
            self.assertEqual(datasets.stays(place), holds, oct(mode))
        os.chmod(os.path.dirname(place), 0o755)
        os.chown(os.path.dirname(place), NOBODY.pw_uid, -1)
        self.assertFalse(datasets.stays(place))


@needs_root
class EnvironmentTest(Outside):
    def test_a_shared_environment_is_root_s_and_files_of_root_stay_unchanged(self):
        self.write("work/env/lib/a.py", b"x", 0o664)
        self.write("work/env/bin/python", b"x", 0o4755)
        os.symlink("../../outside", os.path.join(self.work, "env/link"))
        for at, names, others in os.walk(self.work):
            for path in [at] + [os.path.join(at, name) for name in names + others]:
                os.lchown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        os.chmod(os.path.join(self.work, "env/bin/python"), 0o4755)
        os.link(self.secret, os.path.join(self.work, "env/lib/hard"))
        os.mkdir(os.path.join(self.work, "env/private"), 0o700)
        accounts.guard(self.work, NOBODY)
        modes = {
            os.path.relpath(path, self.work): (status.st_uid, stat.S_IMODE(status.st_mode))
            for path, status in (
                (os.path.join(self.work, name), found) for name, found in safe_walk.walk(self.work)
            )
            if not stat.S_ISLNK(status.st_mode)
        }
        self.assertEqual(
            modes,
            {
                "env": (0, 0o755),
                "env/lib": (0, 0o755),
                "env/lib/a.py": (0, 0o444),
                "env/bin": (0, 0o755),
                "env/bin/python": (0, 0o555),
                "env/lib/hard": (0, 0o600),
                "env/private": (0, 0o700),
            },
        )
        self.assert_outside_unchanged()

    def test_an_environment_is_not_root_s_alone_if_a_process_can_still_write_to_a_file(self):
        path = os.path.join(self.work, "env/lib/a.py")
        for mapped in (False, True):
            self.write("work/env/lib/a.py", b"x", 0o664)
            for each in (self.work, os.path.join(self.work, "env"), os.path.dirname(path), path):
                os.lchown(each, NOBODY.pw_uid, NOBODY.pw_gid)
            descriptor = os.open(path, os.O_RDWR)
            held = mmap.mmap(descriptor, 1) if mapped else None
            if held:
                os.close(descriptor)
            with self.assertRaisesRegex(OSError, "a process has a file of it open for writing"):
                accounts.guard(self.work, NOBODY)
            held.close() if held else os.close(descriptor)
            for each in (self.work, os.path.join(self.work, "env"), os.path.dirname(path), path):
                os.lchown(each, NOBODY.pw_uid, NOBODY.pw_gid)
            accounts.guard(self.work, NOBODY)
            self.assertEqual(os.stat(path).st_uid, 0)

    def test_an_environment_is_not_root_s_alone_if_another_user_has_a_file_or_a_directory(self):
        self.write("work/env/lib/a.py", b"x", 0o664)
        for other in ("env/lib/a.py", "env/lib"):
            for each in (".", "env", "env/lib", "env/lib/a.py"):
                path = os.path.join(self.work, each)
                os.lchown(path, 100000 if each == other else NOBODY.pw_uid, NOBODY.pw_gid)
            with self.assertRaisesRegex(OSError, "user 100000 has a file of it"):
                accounts.guard(self.work, NOBODY)

    def test_the_inputs_of_an_environment_are_read_as_the_user(self):
        os.mkdir(os.path.join(self.work, "p"))
        self.write("outside/requirements.txt", b"-e ./lib\n", 0o600)
        os.symlink("../../outside/requirements.txt", os.path.join(self.work, "p/requirements.txt"))
        part = {
            "environment": {
                "manager": "pip",
                "root": "p",
                "file": "requirements.txt",
                "locked": False,
            }
        }
        gathered = dependency_files.read_dependency_files(
            self.work, part, commit=None, account=NOBODY
        )
        self.assertEqual((gathered.hashes, gathered.root), ({}, os.path.join(self.work, "p")))
        os.unlink(os.path.join(self.work, "p/requirements.txt"))
        self.write("work/p/requirements.txt", b"x==1\n")
        self.assertEqual(
            list(
                dependency_files.read_dependency_files(
                    self.work, part, commit=None, account=NOBODY
                ).hashes
            ),
            ["p/requirements.txt"],
        )


@needs_root
class RestoreTest(Outside):
    def test_a_checkpoint_is_assembled_where_the_user_can_exchange_nothing(self):
        directory = os.path.join(self.home, "checkpoints")
        os.mkdir(directory)
        os.chown(directory, NOBODY.pw_uid, NOBODY.pw_gid)
        # Where it was put together once.
        os.symlink("../outside", os.path.join(directory, ".nx-ec2-restore"))
        part = b"weights"
        name = hashlib.sha256(part).hexdigest()
        entry = {
            "path": "unit/a",
            "size": len(part),
            "sha256": name,
            "executable": False,
            "parts": [name],
        }
        manifest = json.dumps({
            "v": 1,
            "n": 1,
            "unit": "unit",
            "names": [{"name": "unit", "kind": "directory"}],
            "files": [entry],
        }).encode()
        seen = []

        def get(_):
            seen.extend(
                (status.st_uid, stat.S_IMODE(status.st_mode))
                for path, status in safe_walk.walk(self.home)
                if path == "checkpoints.restore"
            )
            return part

        checkpoint_restore.restore(
            manifest, hashlib.sha256(manifest).hexdigest(), directory, get_part=get, account=NOBODY
        )
        self.assertEqual(seen, [(0, 0o700)])
        with open(os.path.join(directory, "unit/a"), "rb") as file:
            self.assertEqual(file.read(), part)
        self.assertEqual(sorted(os.listdir(self.home)), ["checkpoints", "outside", "work"])
        self.assert_outside_unchanged()


@needs_root
class CommandTest(Outside):
    """A command starts in its directory as the user, who may have put a link in the place of it."""

    def run_in(self, directory):
        log = log_writer.LogFile(self.home)
        self.addCleanup(log.close)
        limits = {"memory": None, "cores": None}
        return child_process.Child(
            ["cat", "key"],
            {"PATH": "/bin:/usr/bin"},
            directory,
            account=NOBODY,
            log=log,
            mask=None,
            limits=limits,
            requested_stop=lambda: None,
            exclude_pid=None,
        ).wait()

    def test_a_command_can_not_start_in_a_directory_that_only_root_can_reach(self):
        # Everybody may read what is in it, and only root can get there.
        self.write("outside/inner/key", SECRET)
        os.symlink("../outside/inner", os.path.join(self.work, "p"))
        with self.assertRaises(child_process.CanNotStart) as raised:
            self.run_in(os.path.join(self.work, "p"))
        self.assertIn("as the user nobody in " + self.work, str(raised.exception))
        said = cache_key.versions(
            ["cat"], {"PATH": "/bin:/usr/bin"}, account=NOBODY, cwd=os.path.join(self.work, "p")
        )
        self.assertEqual(said, [None])

    def test_a_command_that_leaves_its_output_open_is_not_waited_for(self):
        tool = self.write("tool", b"#!/bin/sh\nsleep 20 &\nwait\n", 0o755)
        began = time.monotonic()
        with mock.patch.object(cache_key, "VERSION_TIMEOUT_S", 0.2):
            self.assertEqual(
                cache_key.versions(
                    [tool], {"PATH": "/bin:/usr/bin"}, account=NOBODY, cwd=self.home
                ),
                [None],
            )
        self.assertLess(time.monotonic() - began, 15)

    def test_a_command_starts_in_a_directory_that_the_user_can_reach(self):
        self.write("work/p/key", b"x")
        self.assertEqual(self.run_in(os.path.join(self.work, "p")), 0)
        self.assertNotEqual(
            cache_key.versions(
                ["cat"], {"PATH": "/bin:/usr/bin"}, account=NOBODY, cwd=os.path.join(self.work, "p")
            ),
            [None],
        )


@needs_root
class TrainingTest(runs.Trainings):
    """The whole of it: a training of the user's that exchanges its own project for a link before it
    ends.
    """

    def test_a_training_whose_project_became_a_link_reads_and_makes_nothing_outside(self):
        os.chmod(self.root, 0o755)
        outside = os.path.join(self.root, "outside")
        os.mkdir(outside, 0o700)
        script = (
            "import os\nos.chdir('..')\nos.rename('p', 'gone')\nos.symlink(%r, 'p')\nprint('swapped')"
            % outside
        )
        state, log = self.end(self.run_as(script))
        self.assertIn(b"swapped", log)
        self.assertEqual((state["outcome"], state["user"]), ("succeeded", "nobody"))
        self.assertEqual(os.listdir(outside), [])

    def run_as(self, script):
        from nx_ec2_runtime import main

        reply = main.run(dict(self.plan(script), user="nobody"), self.root)
        self.assertTrue(reply["ok"], reply)
        return reply["run"]["id"]


if __name__ == "__main__":
    unittest.main()
