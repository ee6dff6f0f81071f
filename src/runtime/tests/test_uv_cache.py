"""uv's cache is kept between set-ups, and only a set-up of the same caller changes it."""

import functools
import http.server
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_environment
from workspace import wheel, write

from nx_ec2_runtime.disk import garbage, garbage_collector
from nx_ec2_runtime.python_env import setup_progress, uv_cache
from nx_ec2_runtime.system import account as accounts
from nx_ec2_runtime.system.file_hash import hash_file

NOBODY = "nobody" in {each.pw_name for each in pwd.getpwall()} and os.geteuid() == 0


class CacheTest(unittest.TestCase):
    def setUp(self):
        self.root = os.path.realpath(tempfile.mkdtemp())
        os.chmod(self.root, 0o755)
        self.addCleanup(shutil.rmtree, self.root, True)
        self.account, self.count = pwd.getpwuid(os.geteuid()), 0

    def cache(self, caller="ann", guarded=True):
        self.count += 1
        home = os.path.join(self.root, "runs", str(self.count))
        os.makedirs(home)
        return uv_cache.Cache(
            self.root, home, caller=caller, account=self.account, guarded=guarded, pause=time.sleep
        )

    def fill(self, files, **more):
        with self.cache(**more) as cache:
            self.act(lambda: write(cache.path, files))

    def act(self, work):
        return accounts.act(self.account, work)

    def names(self, **more):
        with self.cache(**more) as cache:
            return sorted(
                os.path.relpath(os.path.join(at, name), cache.path)
                for at, _, names in os.walk(cache.path)
                for name in names
            )

    def test_the_cache_of_a_set_up_is_used_by_the_same_caller_only(self):
        for guarded in (True, False):
            caller = "ann%s" % guarded
            self.fill({"wheels/a": "1", "archive-v0/x/y": ""}, caller=caller, guarded=guarded)
            self.fill({"wheels/b": "2"}, caller=caller, guarded=guarded)
            self.assertEqual(
                self.names(caller=caller, guarded=guarded),
                ["archive-v0/x/y", "wheels/a", "wheels/b"],
            )
            self.assertEqual(self.names(caller="eve", guarded=guarded), [])

    def test_a_failed_set_up_keeps_the_cache_and_leaves_nothing_in_its_run(self):
        with self.assertRaises(ValueError), self.cache() as cache:
            write(cache.path, {"a": "1"})
            raise ValueError()
        self.assertEqual(self.names(), ["a"])
        self.assertEqual(
            [os.listdir(os.path.join(self.root, "runs", each)) for each in ("1", "2")], [[], []]
        )

    def test_links_that_lead_out_of_the_cache_are_dropped(self):
        with self.cache() as cache:
            write(cache.path, {"a/b/c": "1"})
            for n, target in enumerate(("b", "../a/b/c", "../../..", "/etc", "b/../../..", "..")):
                os.symlink(target, os.path.join(cache.path, "a", "link%d" % n))
        with self.cache() as cache:
            found = [
                os.path.join(at, name)
                for at, directories, names in os.walk(cache.path)
                for name in directories + names
            ]
            self.assertEqual(
                sorted(os.path.relpath(path, cache.path) for path in found),
                ["a", "a/b", "a/b/c", "a/link0", "a/link1", "a/link5"],
            )

    def test_two_set_ups_at_once_have_a_copy_each(self):
        self.fill({"a": "1"})
        with self.cache() as one, self.cache() as two:
            write(one.path, {"b": "2"})
            self.assertEqual(sorted(os.listdir(two.path)), ["a"])
        self.assertIn("a", self.names())

    def test_the_cache_is_not_removed_while_in_use_but_14_days_after_its_last_use(self):
        self.fill({"a": "1"})
        later = time.time() + 15 * garbage.DAY_S
        with self.cache():
            self.assertEqual(garbage_collector.collect_garbage(self.root, now=later)["removed"], [])
        self.assertEqual(
            [
                each["path"].split("/")[0]
                for each in garbage_collector.collect_garbage(self.root, now=later)["removed"]
            ],
            ["cache"],
        )
        self.assertEqual(self.names(), [])

    @unittest.skipUnless(NOBODY, "needs root, and a user nobody")
    def test_the_training_user_can_not_change_the_cache(self):
        self.account = pwd.getpwnam("nobody")
        self.fill({"archive-v0/a": "1", "wheels/b": "1"})
        tree = os.path.join(uv_cache.place(self.root, "ann", self.account), "tree")
        self.assertFalse(self.act(lambda: os.access(tree, os.R_OK) or os.access(tree, os.X_OK)))
        with self.cache() as cache:
            path = os.path.join(cache.path, "archive-v0", "a")
            # Modules that this loads may lie where the user can't read.
            self.assertEqual(hash_file(path)[:6], "6b86b2")
            self.assertEqual(
                self.act(
                    lambda: (
                        hash_file(path)[:6],
                        os.access(path, os.W_OK),
                        os.access(os.path.dirname(path), os.W_OK),
                    )
                ),
                ["6b86b2", False, True],
            )
            inode = os.stat(path).st_ino
            # It may take a file's name in its own copy, and write its own files; it never changes
            # what others have.
            with open(os.path.join(tree, "wheels", "b")) as other:
                self.act(
                    lambda: (
                        os.unlink(path),
                        write(cache.path, {"archive-v0/a": "2", "wheels/b": "2"}),
                    )
                )
                self.assertEqual(other.read(), "1")
        self.assertNotEqual(os.stat(os.path.join(tree, "archive-v0", "a")).st_ino, inode)
        found = [
            os.lstat(os.path.join(at, name))
            for at, directories, names in os.walk(tree)
            for name in directories + names
        ]
        self.assertEqual({(each.st_uid, each.st_mode & 0o022) for each in found}, {(0, 0)})

    @unittest.skipUnless(NOBODY, "needs root, and a user nobody")
    def test_a_copy_that_the_user_replaced_is_dropped(self):
        self.account = pwd.getpwnam("nobody")
        self.fill({"a": "1"})
        with self.cache() as cache:
            shutil.rmtree(cache.path)
            os.symlink("/etc", cache.path)
        self.assertEqual(self.names(), ["a"])


@unittest.skipUnless(test_environment.UV, "uv is not installed: its path in NX_EC2_TEST_UV")
class SharedTest(test_environment.ToolsTest):
    """With uv: what one environment is made of is not fetched for another one."""

    installer = "uv"

    class Handler(http.server.SimpleHTTPRequestHandler):
        fetched = []

        def do_GET(self):
            self.fetched.append(self.path.rpartition("/")[2])
            super().do_GET()

        def log_message(self, *_):
            pass

    def check(self):
        del self.more["UV_CACHE_DIR"]
        wheel(self.index, "two", "1.0", {"two.py": "TWO = 2"})
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(self.Handler, directory=self.index)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.Handler.fetched.clear()
        place = "http://127.0.0.1:%d" % server.server_port
        found = []
        for text, caller in (
            ("dep==1.0\n", "ann"),
            ("dep==1.0\ntwo\n", "ann"),
            ("dep==1.0\ntwo\n# other\n", "ann"),
            ("dep==1.0\n# other\n", "eve"),
        ):
            setup = self.setup(
                dict(
                    self.workspace("WHAT = 'one'"), **{"requirements.txt": text + "-e ./libs/lib\n"}
                ),
                packageIndex=place,
                caller=caller,
            )
            self.assertEqual(self.made(setup)(), self.shown(setup, "one"))
            self.assertNotIn("UV_CACHE_DIR", setup.steps.variables)
            found.append({name[:3] for name in self.Handler.fetched if name.endswith(".whl")})
            self.Handler.fetched.clear()
        self.assertEqual(found, [{"dep"}, {"two"}, set(), {"dep"}])
        # What an earlier set-up of the caller compiled is not compiled again, and another caller's
        # is not taken.
        first, second, third, other = map(
            int, re.findall(r"^(\d+) modules compiled", self.log(), re.MULTILINE)
        )
        self.assertEqual((second, third), (1, 0))
        self.assertGreater(min(first, other), 0)
        self.assertRegex(self.log(), r"the environment has \d+ packages of [\d.]+ [KM]?B installed")

    def test_packages_of_one_environment_are_not_fetched_again_for_another(self):
        self.check()

    @unittest.skipUnless(NOBODY, "needs root, and a user nobody")
    def test_packages_are_fetched_once_also_for_a_user_who_is_not_root(self):
        self.account = pwd.getpwnam("nobody")
        self.more.update(
            PATH="/usr/bin:/bin:" + os.path.dirname(test_environment.UV),
            HOME=os.path.join(self.root, "nobody"),
        )
        if (
            subprocess.call(
                ["python3", "-c", "import ensurepip, venv"],
                env=dict(os.environ, **self.more),
                preexec_fn=lambda: accounts.become(self.account),
                stderr=subprocess.DEVNULL,
            )
            != 0
        ):
            self.skipTest("the system's Python makes no environments here")
        os.mkdir(self.more["HOME"])
        accounts.own(self.more["HOME"], self.account)
        self.check()
        # Environments share their files with the cache, and all are root's.
        found = [
            os.stat(os.path.join(at, name))
            for at, _, names in os.walk(os.path.join(self.root, "envs"))
            for name in names
            if name == "dep.py"
        ]
        self.assertEqual({(each.st_uid, each.st_mode & 0o022) for each in found}, {(0, 0)})
        self.assertGreater(max(each.st_nlink for each in found), 1)


class ProgressTest(test_environment.SetupTest):
    def test_a_step_logs_its_progress(self):
        made = os.path.join(self.root, "made")
        write(made, {"lib/site-packages/a-1.dist-info/x": "12345", "lib/site-packages/a.py": "6"})
        os.link(os.path.join(made, "lib/site-packages/a.py"), os.path.join(made, "b"))
        said = []
        with mock.patch.object(setup_progress, "INTERVAL_S", 0):
            setup_progress.Progress("uv", made, account=self.account, say=said.append).look()
        self.assertRegex(
            said[0],
            r"^uv: \d+ s so far, ([\d.]+ \w?B received by the instance, )?1 package of 6 B installed$",
        )

    def test_each_step_of_a_set_up_logs_its_progress(self):
        setup = self.setup(
            self.workspace(""),
            setup=[["sh", "-c", "sleep 0.3"]],
            environment={"manager": "none", "root": "", "file": "", "locked": False},
        )
        with mock.patch.object(setup_progress, "INTERVAL_S", 0.1):
            setup.run(self.process, self.say, time.sleep)
        self.assertRegex(self.log(), r"sh: 0 s so far")

    def test_a_step_is_named_by_what_it_runs(self):
        for line, name in (
            (["/e/bin/python", "-I", "-m", "pip", "install"], "pip"),
            (["python3", "-m", "venv", "x"], "venv"),
            (["uv", "sync"], "uv"),
            (["/a/b", "-m"], "b"),
            (["x", "y", "z", "-m", "w"], "x"),
        ):
            self.assertEqual(setup_progress.name_of(line), name)

    def test_sizes_are_formatted_for_people(self):
        self.assertEqual(
            [setup_progress.size(n) for n in (0, 999, 1000, 1_500_000, 2_000_000_000_000)],
            ["0 B", "999 B", "1.0 KB", "1.5 MB", "2000.0 GB"],
        )


if __name__ == "__main__":
    unittest.main()
