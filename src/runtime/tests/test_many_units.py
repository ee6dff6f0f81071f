"""Searching thousands of units takes work in proportion to their number."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from steps import steps
from test_checkpoints import Saving

from nx_ec2_runtime.checkpoints import awaited_units, whole_units

FEW, MANY = 30, 240


class ManyUnitsTest(Saving):
    """Eight times as many units may take sixteen times as much work: a search of all units for each
    takes 64 times.
    """

    def make(self, names, data=b"x"):
        for name in names:
            with open(os.path.join(self.directory, name), "wb") as file:
                file.write(data)

    def link(self, name, to):
        os.symlink(to, os.path.join(self.directory, name))

    def cost(self, prepare, count, **how):
        """Of a look, with what `prepare` makes of so many units, after one two seconds before."""
        self.fresh()
        it = self.open()
        prepare(it, count)
        it.look()
        self.now += 2
        work = steps(lambda: it.look(**how))
        return work, it

    def check(self, prepare, **how):
        """The looks at FEW and MANY units; the last `Checkpoints`."""
        few, _ = self.cost(prepare, FEW, **how)
        many, it = self.cost(prepare, MANY, **how)
        self.assertLess(many, few * (MANY / FEW) * 2)
        return it

    def unfinished(self, name="model-00001-of-00002.safetensors"):
        self.make([name])

    def test_many_links_to_a_unit_that_is_not_finished(self):
        def prepare(_it, count):
            self.unfinished()
            for n in range(count):
                self.link("best-%d" % n, "model-00001-of-00002.safetensors")

        it = self.check(prepare)
        self.assertEqual(it.kept, [])
        # They wait for it.
        self.assertIsNotNone(it.waiting)
        self.make(["model-00002-of-00002.safetensors"])
        self.assertTrue(self.later(it))
        self.assertEqual(len(self.set(1)), MANY + 2)

    def test_links_that_lead_from_one_to_the_next(self):
        def prepare(_it, count):
            self.unfinished()
            self.link("l0", "model-00001-of-00002.safetensors")
            for n in range(1, count):
                self.link("l%d" % n, "l%d" % (n - 1))

        self.assertEqual(self.check(prepare).kept, [])

    def test_files_beside_one_that_is_not_finished(self):
        def prepare(_it, count):
            self.unfinished()
            self.make("file%s.pt" % ("x" * n) for n in range(count))

        self.assertEqual(self.check(prepare).kept, [])

    def test_pointers_that_name_each_other_and_older_ones(self):
        def prepare(_it, count):
            self.make(["model-step%d.pt" % n for n in range(count)])
            self.make(["latest-%s.txt" % ("x" * n) for n in range(count)], b"model-step0.pt")

        self.check(prepare)

    def test_units_of_one_step(self):
        def prepare(it, count):
            self.make("x%s-step1.pt" % ("y" * n) for n in range(count))
            self.later(it)
            self.assertEqual(len(self.set(1)), count)
            # The first lacks: all others wait for it.
            self.make("x%s-step2.pt" % ("y" * n) for n in range(1, count))

        self.assertEqual(len(self.check(prepare).kept), 1)
        self.assertEqual(len(self.check(prepare, final=True).kept), 2)
        self.assertEqual(len(self.check(prepare, final=True, cut=True).kept), 1)

    def test_units_that_lack_files(self):
        def prepare(it, count):
            names = ["d%s" % ("y" * n) for n in range(count)]
            for name in names:
                os.mkdir(os.path.join(self.directory, name))
                self.make([name + "/a", name + "/b"])
            self.later(it)
            for name in names:
                os.unlink(os.path.join(self.directory, name, "b"))
                self.make([name + "/a"], b"other")

        self.assertEqual(len(self.check(prepare).kept), 1)

    def test_what_is_known_of_companions_grows_with_the_units(self):
        class Unit:
            def __init__(self, n):
                self.family, self.version, self.label = "a%d-step/" % n, (1.0,), "a%d-step1" % n

        def size(count):
            return len(repr(awaited_units.steps([Unit(n) for n in range(100, 100 + count)], 1)))

        self.assertLess(size(MANY), size(FEW) * (MANY / FEW) * 1.1)

    @unittest.skipUnless(os.path.isdir("/proc/self"), "what is open is read from /proc")
    def test_files_that_are_open(self):
        def prepare(_it, count):
            for n in range(count):
                file = open(os.path.join(self.directory, "file%s.pt" % ("x" * n)), "wb")
                self.addCleanup(file.close)

        it = self.check(prepare)
        self.assertEqual(len(it.state["open"]), MANY)


class UnfitTest(Saving):
    def test_a_chain_of_links_to_an_unfit_unit_does_not_delay_others(self):
        os.mkfifo(os.path.join(self.directory, "pipe"))
        os.symlink("pipe", os.path.join(self.directory, "l1"))
        os.symlink("l1", os.path.join(self.directory, "l2"))
        self.write("a.pt")
        it = self.open()
        self.assertTrue(self.later(it))
        self.assertEqual((self.set(1), list(it.unfit)), (["a.pt"], ["pipe"]))

    def test_a_file_that_grows_after_the_end_is_reported_and_the_others_are_saved(self):
        it = self.open()
        for name in ("a.pt", "b.pt", "grows.pt"):
            self.write(name)
        self.bucket.before_put = lambda _name: self.append("grows.pt")
        self.assertTrue(it.look(final=True))
        self.assertEqual(self.set(1), ["a.pt", "b.pt"])
        self.assertEqual(
            it.unfit,
            {"grows.pt": "grows.pt changed while it was read, after the training had ended"},
        )

    def test_a_sparse_file_is_reported_and_saved_when_it_is_filled_in(self):
        for final in (False, True):
            with self.subTest(final=final):
                self.fresh()
                it = self.open()
                self.write("a.pt")
                os.truncate(self.write("hole.bin"), 40 << 30)
                if not final:
                    # It may be about to be filled in.
                    self.assertFalse(self.later(it))
                    self.assertEqual(it.unfit, {})
                self.assertTrue(self.later(it, whole_units.QUIET_ALTHOUGH_OPEN_S, final=final))
                self.assertEqual(self.set(it.latest()["n"]), ["a.pt"])
                told = r"^hole\.bin: it is sparse: of its 42949672960 bytes, \d+ are written"
                self.assertRegex(it.unfit["hole.bin"], told)
                if not final:
                    os.truncate(self.write("hole.bin", b"filled"), 6)
                    self.assertTrue(self.later(it))
                    self.assertEqual(
                        (self.set(it.latest()["n"]), it.unfit), (["a.pt", "hole.bin"], {})
                    )

    def append(self, name):
        with open(os.path.join(self.directory, name), "ab") as file:
            file.write(b"more")


if __name__ == "__main__":
    unittest.main()
