"""A run's copy of the tree: hard links where files can't be changed, verified copies elsewhere."""

import os
import pwd
import shutil
import stat
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from store import DIRECTORY, Executable, Link, inline, plan
from test_plan import PlanTest, noise

from nx_ec2_runtime import main
from nx_ec2_runtime.sync import synchronizer, tree_lock, workdir_copy
from nx_ec2_runtime.sync import tree as trees

try:
    NOBODY = pwd.getpwnam("nobody")
except KeyError:
    NOBODY = None


class FreezeTest(PlanTest):
    files = {
        b"a": b"1",
        b"d/b": Executable(b"2"),
        b"d/e": DIRECTORY,
        b"l": Link(b"d/b"),
        b"big": noise(1, 1200000),
        b"same": noise(1, 1200000),
    }

    def setUp(self):
        super().setUp()
        os.chmod(self.root, 0o755)
        self.work = os.path.join(self.root, "work")

    def plan(self, **part):
        packs, recipes = self.store.put_packs(self.files)
        return dict(plan(self.files, packs=packs, recipes=recipes, **part), user=self.user())

    def user(self):
        return None

    def frozen(self, spoil=lambda: None):
        with tree_lock.TreeLock(self.root, "t"):
            _, tree = synchronizer.apply(self.plan(), self.root)
        self.addCleanup(tree.close)
        spoil()
        workdir_copy.freeze(tree, self.work, lambda: None)
        return tree

    def spoil(self, name, data=b"mine"):
        with open(self.file(name), "r+b") as file:
            file.write(data)

    def test_the_copy_equals_the_snapshot(self):
        self.frozen()
        self.assertEqual(read(self.work), self.files)
        self.assertEqual(
            stat.S_IMODE(os.stat(os.path.join(self.work, "d/b")).st_mode) & 0o111, 0o111
        )

    def test_later_syncs_do_not_change_the_copy(self):
        self.frozen()
        reply = main.run(
            dict(plan({b"a": b"2"}, self.files, inline=inline({b"a": b"2"})), user=self.user()),
            self.root,
        )
        self.assertTrue(reply["ok"], reply)
        self.assertEqual(read(self.work), self.files)

    def test_a_file_that_changes_during_the_copy_is_restored_from_its_twin(self):
        self.frozen(lambda: self.spoil("big"))
        self.assertEqual(read(self.work), self.files)

    def test_a_file_that_changes_during_the_copy_and_can_not_be_restored_is_reported(self):
        with self.assertRaisesRegex(workdir_copy.FreezeFailed, "^a was changed .* start it again"):
            self.frozen(lambda: self.spoil("a"))
        shutil.rmtree(self.work)
        with self.assertRaisesRegex(workdir_copy.FreezeFailed, "^d/b was changed"):
            self.frozen(lambda: os.unlink(self.file("d/b")))


@unittest.skipUnless(NOBODY and os.geteuid() == 0, "only root gives files to others")
class SharedTest(FreezeTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(setattr, trees, "MANY_ENTRIES", trees.MANY_ENTRIES)

    def user(self):
        return "nobody"

    def status(self, *parts):
        return os.lstat(os.path.join(*parts))

    def owner(self, *parts):
        status = self.status(*parts)
        return status.st_uid, stat.S_IMODE(status.st_mode)

    def reflinks(self):
        return os.stat(os.path.join(self.work, "big")).st_uid != 0

    def test_large_files_are_root_s_hard_links_and_small_ones_copies_of_the_user(self):
        self.frozen()
        if self.reflinks():
            self.skipTest("the file system clones")
        self.assertEqual(self.status(self.work, "big").st_ino, self.status(self.file("big")).st_ino)
        self.assertEqual(self.owner(self.work, "big"), (0, 0o444))
        for place in (self.work, self.path("files")):
            self.assertEqual(self.owner(place, "a"), (NOBODY.pw_uid, 0o644))
            self.assertEqual(self.owner(place, "d/b"), (NOBODY.pw_uid, 0o755))
            for name in ("", "d", "d/e", "l"):
                self.assertEqual(self.status(place, name).st_uid, NOBODY.pw_uid)
        self.assertNotEqual(self.status(self.work, "a").st_ino, self.status(self.file("a")).st_ino)

    def test_of_a_large_snapshot_all_files_are_shared(self):
        trees.MANY_ENTRIES = 3
        self.frozen()
        for name, mode in (("a", 0o444), ("d/b", 0o555)):
            self.assertEqual(self.owner(self.work, name), (0, mode))
            self.assertEqual(
                self.status(self.work, name).st_ino, self.status(self.file(name)).st_ino
            )
        self.assertEqual(self.status(self.work, "d").st_uid, NOBODY.pw_uid)

    def test_hard_links_to_shared_files_keep_their_cached_hashes(self):
        trees.MANY_ENTRIES = 3
        self.frozen()
        index = os.stat(self.path("stat-keys")).st_mtime_ns
        reply = main.run(dict(plan(self.files, self.files), user="nobody"), self.root)
        self.assertEqual((reply["written"], reply["reverted"]), (0, []))
        self.assertEqual(os.stat(self.path("stat-keys")).st_mtime_ns, index)

    def test_a_shared_file_that_was_replaced_is_never_linked(self):
        trees.MANY_ENTRIES = 3

        def swap():
            os.unlink(self.file("big"))
            with open(self.file("big"), "w") as file:
                file.write("mine")
            os.chown(self.file("big"), NOBODY.pw_uid, NOBODY.pw_gid)

        self.frozen(swap)
        self.assertEqual(read(self.work), self.files)

    def test_files_that_were_moved_aside_belong_to_the_user(self):
        self.frozen()
        self.spoil("a")
        reply = main.run(
            dict(plan(self.files, self.files, inline=inline({b"a": b"1"})), user="nobody"),
            self.root,
        )
        self.assertEqual(self.status(reply["kept"], "a").st_uid, NOBODY.pw_uid)
        self.assertEqual(self.status(reply["kept"]).st_uid, NOBODY.pw_uid)


def read(directory):
    """What lies in a directory, as `store` writes files down."""
    found = {}
    for at, directories, names in os.walk(os.fsencode(directory)):
        for name in names:
            full = os.path.join(at, name)
            path = os.path.relpath(full, os.fsencode(directory))
            if os.path.islink(full):
                found[path] = Link(os.readlink(full))
            else:
                with open(full, "rb") as file:
                    found[path] = file.read()
        if not names and not directories:
            found[os.path.relpath(at, os.fsencode(directory))] = DIRECTORY
    return found


del PlanTest

if __name__ == "__main__":
    unittest.main()
