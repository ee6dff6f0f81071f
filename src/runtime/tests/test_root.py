"""A root directory that another user can change is refused before anything is written there."""

import fcntl
import os
import pwd
import shutil
import tempfile
import unittest
from unittest import mock

import test_sync  # noqa: F401  (puts the runtime on the path)
from outside_files import NOBODY, needs_root

from nx_ec2_runtime import main
from nx_ec2_runtime.system import atomic_files, root_directory, used_roots
from nx_ec2_runtime.system.errors import Failure
from nx_ec2_runtime.watchdog import service

POLL = {"v": 1, "op": "activity", "watchdog": False}


class RootTest(unittest.TestCase):
    def setUp(self):
        self.top = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.top)
        os.chmod(self.top, 0o755)
        environment = mock.patch.dict(os.environ)
        environment.start()
        self.addCleanup(environment.stop)
        os.environ.pop("NX_EC2_LOCAL_INSTANCE", None)
        self.machine = self.top + "-machine"
        self.addCleanup(shutil.rmtree, self.machine, ignore_errors=True)
        directory = mock.patch.object(used_roots, "DIRECTORY", self.machine)
        directory.start()
        self.addCleanup(directory.stop)

    def path(self, *names):
        return os.path.join(self.top, *names)

    def directory(self, *names, mode=0o755, owner=None):
        path = self.path(*names)
        os.makedirs(path)
        os.chmod(path, mode)
        if owner:
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return path

    def refused(self, root):
        """The message of an operation that is refused, with nothing written below the top."""
        before = sorted(os.walk(self.top))
        reply = main.run(POLL, root, ("program", b"program"))
        self.assertFalse(reply["ok"], reply)
        self.assertEqual(reply["error"]["code"], "NO_ROOT")
        self.assertEqual(sorted(os.walk(self.top)), before)
        return reply["error"]["message"]

    @needs_root
    def test_a_root_below_a_directory_of_the_training_user_is_refused(self):
        home = self.directory("home", owner=NOBODY)
        self.assertEqual(
            self.refused(home + "/nx"),
            '"remoteRoot" is not safe: %s, on the way to %s/nx: it belongs to the user nobody, who '
            "can change what is in it" % (home, home),
        )
        self.directory("home", "of-root")
        self.assertIn(home + ", on the way", self.refused(home + "/of-root/nx"))
        self.assertIn("not safe: %s: it belongs" % home, self.refused(home))

    def test_a_root_that_others_can_write_to_is_refused(self):
        for mode in (0o777, 0o757):
            shared = self.directory("shared-%o" % mode, mode=mode)
            self.assertIn("other than its owner", self.refused(shared + "/nx"))
        # Others can create names in a sticky directory: those that the runtime is about to use.
        sticky = self.directory("sticky", mode=0o1777)
        self.assertIn("(mode 1777)", self.refused(sticky))
        self.assertTrue(main.run(POLL, sticky + "/nx")["ok"])

    @needs_root
    def test_a_root_that_a_group_can_write_to_is_refused(self):
        team = self.directory("team", mode=0o775)
        self.assertIn("(mode 0775)", self.refused(team + "/nx"))

    def test_the_private_group_of_a_plain_user(self):
        own = self.directory("own", mode=0o775)
        status, account = os.stat(own), pwd.getpwuid(os.geteuid())
        group = mock.Mock(gr_mem=[], gr_name=account.pw_name)
        with mock.patch("grp.getgrgid", return_value=group), mock.patch("os.geteuid") as user:
            user.return_value = status.st_uid or 1000
            fields = list(status)
            fields[4] = user.return_value
            with mock.patch("pwd.getpwuid", return_value=account):
                self.assertTrue(root_directory._is_private_group(os.stat_result(fields)))
                group.gr_mem = ["another"]
                self.assertFalse(root_directory._is_private_group(os.stat_result(fields)))

    @needs_root
    def test_a_root_that_is_reached_by_unsafe_links_is_refused(self):
        target = self.directory("target")
        link = self.path("link")
        os.symlink(target, link)
        self.assertTrue(main.run(POLL, link + "/nx")["ok"])
        self.assertTrue(os.path.isdir(target + "/nx"))
        # One of another user, where the sticky bit lets only this user exchange it.
        self.directory("sticky", mode=0o1777)
        theirs = self.path("sticky", "link")
        os.symlink(target, theirs)
        os.chown(theirs, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
        self.assertIn("%s, on the way" % theirs, self.refused(theirs + "/other"))
        # One of root's that leads through a directory of another user.
        self.directory("home", owner=NOBODY)
        self.directory("home", "inner")
        os.symlink("home/inner", self.path("detour"))
        self.assertIn(self.path("home") + ", on the way", self.refused(self.path("detour")))
        os.symlink("loop", self.path("loop"))
        self.assertIn("Too many levels", self.refused(self.path("loop", "nx")))

    def test_a_missing_root_is_created(self):
        self.assertEqual(
            root_directory.prepare(self.path("a", "..", "a", "b")), self.path("a", "b")
        )
        self.assertEqual(os.stat(self.path("a", "b")).st_mode & 0o777, 0o755)

    @needs_root
    def test_the_root_of_local_aws_may_lie_in_a_workspace(self):
        home = self.directory("home", owner=NOBODY)
        os.environ.update(NX_EC2_LOCAL_INSTANCE="i-1", NX_EC2_ROOT=home + "/root")
        self.assertEqual(root_directory.prepare(home + "/root"), home + "/root")
        with self.assertRaises(Failure):
            root_directory.prepare(home + "/configured")

    @needs_root
    def test_the_watchdog_uses_the_default_root_instead_of_an_unsafe_one(self):
        home = self.directory("home", owner=NOBODY)
        self.assertEqual(service.root_of({"root": home + "/nx"}), "/var/lib/nx-ec2")
        self.assertEqual(service.root_of({"root": self.path("nx")}), self.path("nx"))

    def machine_file(self, name, content=""):
        os.makedirs(self.machine, exist_ok=True)
        with open(os.path.join(self.machine, name), "w") as file:
            file.write(content)

    def test_a_command_that_starts_something_records_its_root_and_no_other_does(self):
        sync = {"v": 1, "op": "sync"}
        with mock.patch.dict(main.OPERATIONS, sync=lambda plan, root: {}):
            self.assertTrue(main.run(POLL, self.path("a"))["ok"])
            self.assertFalse(os.path.exists(self.machine))
            for name in ("a", "b", "a"):
                self.assertTrue(main.run(sync, self.path(name))["ok"])
        self.assertEqual(used_roots.with_used("/c"), ["/c", self.path("a"), self.path("b")])
        with open(used_roots.path(), "rb") as file:
            self.assertEqual(file.read().count(b"/a"), 1)

    def test_activity_is_that_below_all_roots(self):
        running = "20260101-000000-p-aaaaaa"
        os.makedirs(self.path("other", "runs", running))
        self.assertEqual(main.run(POLL, self.path("root"))["runs"], [])
        used_roots.record(self.path("other"))
        with open(self.path("other", "runs", running, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertEqual(main.run(POLL, self.path("root"))["runs"], [running])
            required = dict(POLL, watchdog=True)
            self.assertEqual(main.run(required, self.path("root"))["error"]["code"], "NO_ROOT")
            atomic_files.write_json(self.path("other", "watchdog", "config.json"), {})
            self.assertEqual(main.run(required, self.path("root"))["runs"], [running])

    def test_a_root_that_an_older_watchdog_does_not_look_below_is_refused(self):
        self.machine_file("watchdog.py")
        sync = {"v": 1, "op": "sync"}
        with mock.patch.dict(main.OPERATIONS, sync=lambda plan, root: {}):
            reply = main.run(sync, self.path("other"))
            self.assertEqual(reply["error"]["code"], "NO_ROOT")
            self.assertIn("the watchdog of this instance does not look", reply["error"]["message"])
            self.assertTrue(reply["error"]["detail"]["unwatched"])
            # Its own root.
            atomic_files.write_json(self.path("root", "watchdog", "config.json"), {})
            self.assertTrue(main.run(sync, self.path("root"))["ok"])
            self.assertTrue(main.run(POLL, self.path("other"))["ok"])
            self.machine_file("roots")
            self.assertTrue(main.run(sync, self.path("other"))["ok"])

    def test_a_root_that_can_not_be_recorded_is_refused_where_a_watchdog_reads_the_records(self):
        sync = {"v": 1, "op": "sync"}
        full = OSError(28, "No space left on device")
        denied = mock.patch.object(used_roots, "open", create=True, side_effect=full)
        with mock.patch.dict(main.OPERATIONS, sync=lambda plan, root: {}):
            with denied:
                self.assertTrue(main.run(sync, self.path("root"))["ok"])
            self.machine_file("roots")
            with denied:
                reply = main.run(sync, self.path("root"))
            self.assertIn("roots could not be written", reply["error"]["message"])
            self.assertIn("No space left", reply["error"]["message"])

    def test_a_written_file_follows_no_link(self):
        victim, path = self.path("victim"), self.path("run.json")
        with open(victim, "w") as file:
            file.write("as it was")
        os.symlink(victim, "%s.%d" % (path, os.getpid()))
        atomic_files.write_json(path, {"state": "running"})
        with open(victim) as file:
            self.assertEqual(file.read(), "as it was")
        self.assertEqual(atomic_files.read_json(path), {"state": "running"})
        self.assertFalse(os.path.islink(path))


if __name__ == "__main__":
    unittest.main()
