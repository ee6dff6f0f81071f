"""Compiled code that the command names runs; any other never does, and the source does instead."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bootstrap
import test_sync  # noqa: F401  (puts the runtime on the path)
from outside_files import NOBODY, needs_root
from store import DIRECTORY, Link, inline, plan, read_tree

from nx_ec2_runtime.system import compiled_code

RUNTIME = bootstrap.packed()
NAME = hashlib.sha256(RUNTIME).hexdigest()
MAIN = "nx_ec2_runtime.main"
FILES = {b"a": b"1", b"d/b": b"2", b"d/e": DIRECTORY, b"l": Link(b"d/b")}
# What a sync that changes nothing may load. Each takes processor time in every sync.
OURS = """
main sync sync.synchronizer sync.snapshot sync.tree sync.tree_diff sync.tree_lock sync.unchanged
system system.account system.atomic_files system.digest system.dirfd_cache system.errors
system.file_hash system.plain_json system.reply system.root_directory system.used_roots
"""
PYTHONS = {
    *("_collections_abc", "_stat", "genericpath", "os", "os.path", "posixpath", "stat"),
    # The build leaves this one out.
    "__future__",
    *("_json", "_sha2", "_sha256", "binascii", "errno", "fcntl", "pwd", "time", "zlib"),
}


class Modules:
    """As the bootstrap's: `compiled` is what a process has compiled."""

    def __init__(self, **compiled):
        self.modules = bootstrap.functions()["Modules"](RUNTIME).modules
        self.compiled = {
            "nx_ec2_runtime." + name.replace("_", "."): compile(text, name, "exec")
            for name, text in compiled.items()
        }

    def read_code(self, name):
        return None


class CompiledCodeTest(unittest.TestCase):
    def setUp(self):
        self.top = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.top)
        os.chmod(self.top, 0o755)
        self.root = os.path.join(self.top, "home", "nx")
        self.directory = os.path.join(self.root, "runtime")
        os.makedirs(self.directory)
        self.marker = os.path.join(self.top, "ran")
        with open(os.path.join(self.directory, NAME), "wb") as file:
            file.write(RUNTIME)

    def command(self, files=FILES, base=None, **request):
        """The reply of a sync, and what was printed on standard error."""
        part = inline(files) if base is None else {}
        return self.carry_out(plan(files, base, inline=part), **request)

    def carry_out(self, wanted, **request):
        options = {name: request.pop(name) for name in ("flags", "limit") if name in request}
        wanted = dict(wanted, root=self.root, runtime={"url": "http://127.0.0.1:9/"})
        packed = bootstrap.packed_plan(wanted)
        return bootstrap.run(dict({"v": 1, "runtime": NAME, "plan": packed}, **request), **options)

    def sync(self, **request):
        """The name of the code that a sync has kept."""
        reply, _ = self.command(**request)
        self.assertTrue(reply["ok"], reply)
        self.assertEqual(read_tree(self.root), FILES)
        return reply.get("compiled")

    def path(self, name):
        return os.path.join(self.directory, name + ".code")

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def forge(self, runtime=NAME):
        """The name of code of which `main` leaves a mark."""
        text = "open(%r, 'w').close()\n" % self.marker
        with open(os.path.join(bootstrap.RUNTIME, "main.py"), encoding="utf-8") as file:
            text = file.read().replace("TYPE_CHECKING = False", text + "TYPE_CHECKING = False")
        index, data = compiled_code.pack(Modules(main=text), runtime)
        name = hashlib.sha256(index).hexdigest()
        self.write(name, len(index).to_bytes(8, "big") + index + data)
        return name

    def test_code_that_the_command_names_runs(self):
        self.sync(compiled=self.forge())
        self.assertTrue(os.path.exists(self.marker))

    def not_run(self, name, **more):
        self.sync(compiled=name, **more)
        self.assertFalse(os.path.exists(self.marker))

    def test_code_that_the_command_does_not_name_never_runs(self):
        name = self.forge()
        self.not_run(None)
        self.not_run("0" * 64)
        # Its bytes under the name of others.
        kept = self.sync(compiled=None)
        shutil.copy(self.path(name), self.path(kept))
        self.not_run(kept)

    def test_code_of_another_python_or_runtime_never_runs(self):
        self.not_run(self.forge("1" * 64))
        with mock.patch.object(compiled_code, "MAGIC_NUMBER", b"\0\0\r\n"):
            self.not_run(self.forge())
        with mock.patch.object(compiled_code.sys, "version", sys.version + " "):
            self.not_run(self.forge())

    def test_code_that_was_cut_off_or_changed_is_compiled_anew(self):
        self.sync(compiled=None)
        kept = self.sync(base=FILES, compiled=None)
        whole = self.read(kept)
        size = 8 + int.from_bytes(whole[:8], "big")
        ends = [0, 4, 8, size - 1, size, size + 1, size + 1000, len(whole) - 1]
        damaged = [whole[:end] for end in ends]
        for at in (0, 7, 8, size - 1, size, size + 5000, len(whole) - 1):
            damaged.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        for data in damaged:
            self.write(kept, data)
            again = self.sync(base=FILES, compiled=kept)
            self.assertIsNotNone(again)
            self.assertIsNone(self.sync(base=FILES, compiled=again))

    def test_code_that_others_can_change_never_runs(self):
        name = self.forge()
        for path in (self.path(name), self.directory):
            mode = os.stat(path).st_mode & 0o777
            for bits in (0o020, 0o002):
                os.chmod(path, mode | bits)
                self.not_run(name)
                os.chmod(path, mode)
        for path in (self.root, os.path.dirname(self.root)):
            os.chmod(path, 0o775)
            self.command(compiled=name)
            self.assertFalse(os.path.exists(self.marker))
            os.chmod(path, 0o755)
        self.sync(compiled=name)
        self.assertTrue(os.path.exists(self.marker))

    @needs_root
    def test_code_of_another_user_never_runs(self):
        name = self.forge()
        for path in (self.path(name), self.directory):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
            self.not_run(name)
            os.chown(path, 0, 0)

    def test_a_link_or_a_pipe_in_its_place_never_runs(self):
        name = self.forge()
        aside = os.path.join(self.top, "aside")
        os.rename(self.path(name), aside)
        os.symlink(aside, self.path(name))
        self.not_run(name)
        os.unlink(self.path(name))
        os.mkfifo(self.path(name))
        self.not_run(name)
        os.unlink(self.path(name))
        os.rename(aside, self.path(name))
        os.rename(self.directory, aside)
        os.symlink(aside, self.directory)
        self.not_run(name)

    def test_nothing_is_kept_for_a_client_that_does_not_ask(self):
        self.assertIsNone(self.sync())
        self.assertEqual(os.listdir(self.directory), [NAME])

    def test_a_full_disk_does_not_fail_the_command(self):
        self.assertIsNone(self.sync(compiled=None, limit=1000))
        self.assertIsNotNone(self.sync(base=FILES, compiled=None))

    def test_what_is_compiled_later_is_added(self):
        activity = {"v": 1, "op": "activity", "watchdog": False}
        self.sync()
        first = self.carry_out(activity, compiled=None)[0]["compiled"]
        second = self.sync(base=FILES, compiled=first)
        self.assertNotIn(second, (None, first))
        self.assertIsNone(self.sync(base=FILES, compiled=second))
        self.assertNotIn("compiled", self.carry_out(activity, compiled=second)[0])

    def test_a_sync_that_changes_nothing_loads_these_modules_and_no_others(self):
        flags = ("-X", "importtime", "-I", "-S", "-B")
        empty = subprocess.run([sys.executable, *flags, "-c", ""], capture_output=True, check=True)
        self.sync(compiled=None)
        kept = self.sync(base=FILES, compiled=None)
        for name in (None, kept):
            reply, error = self.command(FILES, FILES, compiled=name, flags=flags)
            self.assertTrue(reply["ok"], reply)
            loaded = imported(error) - imported(empty.stderr.decode())
            ours = {each for each in loaded if each.startswith("nx_ec2_runtime")}
            wanted = {"nx_ec2_runtime." + each for each in OURS.split()} | {"nx_ec2_runtime"}
            if name is None:
                wanted.add("nx_ec2_runtime.system.compiled_code")
            self.assertEqual(ours, wanted)
            self.assertLessEqual(loaded - ours, PYTHONS)

    def test_a_sync_of_an_edited_file_loads_no_more_of_pythons_modules(self):
        flags = ("-X", "importtime", "-I", "-S", "-B")
        empty = subprocess.run([sys.executable, *flags, "-c", ""], capture_output=True, check=True)
        self.sync()
        # Of the same size, so that the old one is read and hashed.
        edited = dict(FILES)
        edited[b"a"] = b"3"
        wanted = plan(edited, FILES, inline=inline({b"a": b"3"}))
        reply, error = self.carry_out(wanted, flags=flags)
        self.assertEqual((reply["ok"], reply.get("written")), (True, 1), reply)
        loaded = imported(error) - imported(empty.stderr.decode())
        loaded = {each for each in loaded if not each.startswith("nx_ec2_runtime")}
        self.assertLessEqual(loaded, PYTHONS | {"_struct", "_thread", "struct"})

    def all_kept(self):
        return [name[:-5] for name in os.listdir(self.directory) if name.endswith(".code")]

    def assert_whole(self):
        """Each file that is there is whole, and its name is its hash."""
        read = bootstrap.functions()["read_compiled"]
        for name in self.all_kept():
            data, modules = read(self.root, NAME, name)
            self.assertTrue(modules, name)
            for place in filter(None, modules.values()):
                begin, end, digest = place
                self.assertEqual(hashlib.sha256(data[begin:end]).hexdigest(), digest)

    def test_killed_anywhere_it_leaves_no_file_that_is_not_whole(self):
        modules = Modules(main="x = 1", sync="y = 2")
        steps = 0
        while True:
            shutil.rmtree(self.directory)
            os.mkdir(self.directory)
            child = os.fork()
            if child == 0:
                left = [steps]

                def trace(_frame, _event, _argument):
                    left[0] -= 1
                    if left[0] < 0:
                        os._exit(9)
                    return trace

                sys.settrace(trace)
                name = compiled_code.keep(modules, NAME, self.root)
                sys.settrace(None)
                os._exit(0 if name else 1)
            status = os.waitpid(child, 0)[1]
            self.assert_whole()
            if os.WEXITSTATUS(status) == 0:
                break
            self.assertEqual(os.WEXITSTATUS(status), 9)
            steps += 1 if steps < 40 else 7
        self.assertGreater(steps, 40)
        self.assertEqual(len(self.all_kept()), 1)

    def test_several_writers_leave_whole_files_and_not_too_many(self):
        children = []
        for number in range(8):
            child = os.fork()
            if child == 0:
                kept = [
                    compiled_code.keep(Modules(main="x = %d" % each), NAME, self.root)
                    for each in range(number, number + 12)
                ]
                os._exit(0 if all(kept) else 1)
            children.append(child)
        self.assertEqual([os.waitpid(child, 0)[1] for child in children], [0] * 8)
        self.assert_whole()
        self.assertGreaterEqual(len(self.all_kept()), 1)
        self.assertLessEqual(len(self.all_kept()), compiled_code.NEWEST_KEPT)
        self.assertEqual(len(os.listdir(self.directory)), 1 + len(self.all_kept()))

    def test_the_newest_stay_and_what_a_kill_has_left_goes_after_an_hour(self):
        now = os.stat(self.directory).st_mtime
        names = ["%064x" % number for number in range(compiled_code.NEWEST_KEPT + 3)]
        for age, name in enumerate(random.sample(names, len(names))):
            self.write(name, b"")
            os.utime(self.path(name), (now - age, now - age))
        oldest = sorted(names, key=lambda name: os.stat(self.path(name)).st_mtime)[:3]
        for suffix, age in ((".1", 10), (".2", 4000)):
            path = self.path(names[0]) + suffix
            shutil.copy(self.path(names[0]), path)
            os.utime(path, (now - age, now - age))
        compiled_code.prune(self.directory, now)
        left = {NAME, names[0] + ".code.1"} | {name + ".code" for name in set(names) - set(oldest)}
        self.assertEqual(set(os.listdir(self.directory)), left)


def imported(text):
    lines = [line for line in text.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


if __name__ == "__main__":
    unittest.main()
