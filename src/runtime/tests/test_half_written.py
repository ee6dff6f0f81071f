"""Incomplete checkpoints that do not change for a while, and clocks that are set back."""

import ctypes
import io
import json
import mmap
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import unittest
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_checkpoints import Saving

from nx_ec2_runtime.checkpoints import file_formats, whole_units

LINUX = os.path.isdir("/proc/self")


def zipped(size):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("archive/data.pkl", b"x" * size)
    return data.getvalue()


def safetensors(size):
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + b"x" * size


def mapped(path, size):
    """A writable mapping of a file that is closed: (its address, what ends it)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    descriptor = os.open(path, os.O_RDWR)
    address = libc.mmap(
        None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, descriptor, 0
    )
    os.close(descriptor)
    return address, lambda: libc.munmap(address, size)


class HalfWrittenTest(Saving):
    def deepspeed(self, step, ranks):
        for rank in range(ranks):
            self.write(
                "global_step%d/zero_pp_rank_%d_mp_rank_00_optim_states.pt" % (step, rank),
                b"%d" % step,
            )
        self.write("latest", b"global_step%d" % step)

    @unittest.skipUnless(LINUX, "mappings are read from /proc")
    def test_a_file_that_is_mapped_for_writing_is_incomplete_though_closed(self):
        it, path = self.open(), self.write("index.bin", b"\0" * mmap.PAGESIZE)
        address, unmap = mapped(path, mmap.PAGESIZE)
        self.assertFalse(self.later(it, 5))
        # By then its times have long been what they are.
        ctypes.memset(address, ord("b"), mmap.PAGESIZE)
        self.later(it, 5)
        unmap()
        self.assertTrue(self.later(it, 5))
        self.assertEqual(self.brought_back(it.latest()), {"index.bin": b"b" * mmap.PAGESIZE})

    @unittest.skipUnless(LINUX, "mappings are read from /proc")
    def test_a_file_saved_while_it_was_mapped_is_read_again_at_the_end(self):
        it, path = self.open(), self.write("index.bin", b"a" * mmap.PAGESIZE)
        address, unmap = mapped(path, mmap.PAGESIZE)
        ctypes.memset(address, ord("a"), 1)
        it.look()
        self.assertTrue(self.later(it, whole_units.QUIET_ALTHOUGH_OPEN_S))
        before = os.stat(path).st_mtime_ns
        ctypes.memset(address, ord("b"), 1)
        unmap()
        os.utime(path, ns=(before, before))
        it.look(final=True)
        self.assertEqual(self.brought_back(it.latest())["index.bin"][:2], b"ba")
        number = it.latest()["n"]
        self.open().look(final=True)
        self.assertEqual(self.open().latest()["n"], number)

    @unittest.skipUnless(
        LINUX and os.geteuid() == 0 and shutil.which("unshare"), "namespaces are made by root"
    )
    def test_a_file_that_a_container_has_open_under_another_path_is_incomplete(self):
        mount = os.path.join(self.top, "mount")
        os.mkdir(mount)
        script = 'mount --bind "$1" "$2" && exec 3>"$2/a.pt" && printf half >&3 && echo ready && read line'
        script += ' && printf " and half" >&3'
        process = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "sh",
                "-c",
                script,
                "sh",
                self.directory,
                mount,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(process.stdout.close)
        if process.stdout.readline() != b"ready\n":
            process.communicate()
            self.skipTest("no namespaces here")
        with open("/proc/self/fdinfo/1") as file:
            if "ino:" not in file.read():
                process.communicate(b"\n")
                self.skipTest("this kernel tells no inodes")
        it = self.open()
        self.assertFalse(self.later(it, 5))
        process.communicate(b"\n")
        self.assertTrue(self.later(it, 5))
        self.assertEqual(self.brought_back(it.latest()), {"a.pt": b"half and half"})

    def test_a_file_that_is_shorter_than_its_header_says_is_incomplete(self):
        torch, tensors, numpy = zipped(5000), safetensors(5000), zipped(300_000)
        for name, data in (
            ("a.pt", torch),
            ("model.safetensors", tensors),
            ("step-2/weights.npz", numpy),
        ):
            for size in (12, len(data) // 2, len(data) - 23):
                with self.subTest(name, size=size):
                    self.fresh()
                    it = self.open()
                    self.write("z-0", b"whole")
                    self.assertTrue(self.later(it))
                    self.write(name, data[:size])
                    self.assertFalse(self.later(it, 5))
                    self.open().look(final=True, cut=True, ended=1e6)
                    self.assertEqual(self.brought_back(self.open().latest()), {"z-0": b"whole"})
                    self.write(name, data)
                    self.assertTrue(self.later(it, 5))

    def test_a_truncated_file_is_saved_when_it_does_not_change_any_more(self):
        for how in ({"seconds": whole_units.QUIET_ALTHOUGH_OPEN_S}, {"final": True}):
            with self.subTest(how):
                self.fresh()
                it = self.open()
                self.write("a.pt", zipped(5000)[:100])
                self.assertTrue(self.later(it, **how))

    def test_any_bytes_are_checked_without_error_and_complete_files_are_complete(self):
        rng = random.Random(5)
        for _ in range(300):
            data = bytearray(
                rng.choice((
                    zipped(50),
                    safetensors(50),
                    bytes(rng.randrange(256) for _ in range(40)),
                ))
            )
            for _ in range(rng.randrange(4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            self.assertIn(
                self.is_truncated("m.safetensors", bytes(data[: rng.randrange(len(data))])),
                (True, False),
            )
        for name, data in (("a.pt", zipped(100)), ("a.safetensors", safetensors(0)), ("a.pt", b"")):
            self.assertFalse(self.is_truncated(name, data))

    def is_truncated(self, name, data):
        with open(self.write("probe", data), "rb") as file:
            return file_formats.is_truncated(file.fileno(), name)

    def test_a_version_with_fewer_files_than_the_last_waits_for_the_missing_ones(self):
        it = self.open()
        self.deepspeed(10, 4)
        self.later(it)
        # Its pointer is there before its last shards.
        self.deepspeed(20, 3)
        self.assertFalse(self.later(it, 5))
        self.deepspeed(20, 4)
        self.assertTrue(self.later(it, 5))
        self.assertEqual(self.set(it.latest()["n"]), ["global_step20", "latest"])
        self.deepspeed(30, 2)
        self.later(it, 5)
        self.open().look(final=True, cut=True, ended=1e12)
        self.assertEqual(self.brought_back(self.open().latest())["latest"], b"global_step20")

    def test_a_version_with_fewer_files_is_saved_if_the_missing_ones_do_not_come(self):
        for how in ("patience", "next version", "renamed", "marked"):
            with self.subTest(how):
                self.fresh()
                it = self.open()
                self.deepspeed(10, 4)
                self.later(it)
                self.deepspeed(20, 3)
                if how == "next version":
                    self.write("global_step30/zero_pp_rank_0_mp_rank_00_optim_states.pt")
                if how == "renamed":
                    os.rename(
                        os.path.join(self.directory, "global_step20"),
                        os.path.join(self.directory, ".beside"),
                    )
                    os.rename(
                        os.path.join(self.directory, ".beside"),
                        os.path.join(self.directory, "global_step20"),
                    )
                if how == "marked":
                    self.write("global_step20/.complete")
                self.later(it, whole_units.QUIET_ALTHOUGH_OPEN_S if how == "patience" else 5)
                self.assertIn("global_step20", self.set(it.latest()["n"]))


class SameStepTest(Saving):
    """The model of one step and the optimizer of another are no checkpoint."""

    def both(self, step):
        self.write("model-step%d.pt" % step, b"m%d" % step)
        self.write("optimizer-step%d.pt" % step, b"o%d" % step)

    def steps(self, it):
        return [
            sorted(re.findall(r"[0-9]+", name)[0] for name in self.set(each["n"]))
            for each in it.kept
        ]

    def test_of_several_steps_that_are_new_at_once_each_set_has_one(self):
        for keep in (1, 2, 3, 9):
            with self.subTest(keep=keep):
                self.fresh()
                it = self.open(keep=keep)
                for step in range(1, 5):
                    self.both(step)
                self.assertTrue(self.later(it))
                self.assertEqual(self.steps(it)[-1], ["4", "4"])
                for found in self.steps(it):
                    self.assertEqual(len(set(found)), 1, self.steps(it))

    def test_a_unit_waits_for_its_companion_of_the_last_step(self):
        it = self.open()
        self.both(1)
        self.write("latest", b"model-step1.pt")
        self.later(it)
        self.write("model-step2.pt", b"m2")
        self.write("latest", b"model-step2.pt")
        self.assertFalse(self.later(it, 20))
        self.write("optimizer-step2.pt", b"o2")
        self.assertTrue(self.later(it, 20))
        self.assertEqual(
            self.set(it.latest()["n"]), ["latest", "model-step2.pt", "optimizer-step2.pt"]
        )

    def test_a_unit_without_its_companion_is_not_resumed_from_after_a_kill(self):
        it = self.open()
        self.both(1)
        self.later(it)
        self.write("model-step2.pt", b"m2")
        self.later(it, 20)
        it.look(final=True, cut=True, ended=1e12)
        self.assertEqual(
            self.brought_back(it.latest()), {"model-step1.pt": b"m1", "optimizer-step1.pt": b"o1"}
        )
        self.assertEqual(set(it.state["refused"]), {"model-step2.pt"})

    def test_a_unit_waits_for_its_companion_a_minute_once_or_until_the_next_step(self):
        for how in ("patience", "next", "end", "best"):
            with self.subTest(how):
                self.fresh()
                it = self.open()
                if how == "best":
                    for name in ("model-step1.pt", "best-step1.pt"):
                        self.write(name, name.encode())
                else:
                    self.both(1)
                self.later(it)
                self.write("model-step2.pt", b"m2")
                if how == "next":
                    self.write("model-step3.pt", b"m3")
                self.later(
                    it,
                    whole_units.QUIET_ALTHOUGH_OPEN_S if how == "patience" else 5,
                    final=how == "end",
                )
                self.assertIn(
                    "model-step2.pt", {name for each in it.kept for name in self.set(each["n"])}
                )
                if how == "patience":
                    # It has learned that the step is saved without.
                    self.write("model-step4.pt", b"m4")
                    self.assertTrue(self.later(it, 5))


class ClockTest(Saving):
    """The clock of the files can't be set here: it is shown to have been ahead."""

    def open(self, **more):
        return super().open(file_clock=lambda: self.file_now, **more)

    def setUp(self):
        super().setUp()
        self.file_now = 4e9

    def set_back(self):
        """Whatever is written from now on is older than the files so far, which are from the
        future.
        """
        self.file_now = os.stat(self.write("../probe")).st_ctime_ns / 1e9

    def ahead(self, it, hours=1):
        """The files that exist were written by a clock that was ahead."""
        find = it._find

        def found(again=False):
            there = find(again)
            for unit in there.values():
                if unit.order[0] <= self.set_at:
                    unit.order = (unit.order[0] + int(hours * 3600e9),) + unit.order[1:]
            return there

        self.set_at = os.stat(self.write("../probe")).st_ctime_ns
        it._find = found

    def test_a_unit_written_after_the_clock_was_set_back_is_saved_as_the_newest(self):
        for end in (False, True):
            with self.subTest(end=end):
                self.fresh()
                it = self.open()
                for step in (1, 2):
                    self.write("model-step%d.pt" % step)
                    self.write("optimizer-step%d.pt" % step)
                self.ahead(it)
                self.later(it)
                self.assertEqual(
                    self.set(it.latest()["n"]), ["model-step2.pt", "optimizer-step2.pt"]
                )
                self.write("model-step3.pt")
                self.write("optimizer-step3.pt")
                self.set_back()
                self.assertTrue(self.later(it, final=end))
                self.assertEqual(
                    self.set(it.latest()["n"]), ["model-step3.pt", "optimizer-step3.pt"]
                )
                # Neither when the clock has caught up, nor for another process, are the old ones
                # newer.
                self.file_now += 7200
                it.look(final=end)
                self.assertEqual(
                    self.set(it.latest()["n"]), ["model-step3.pt", "optimizer-step3.pt"]
                )

    def test_after_the_clock_was_set_back_it_is_the_newest_though_the_saved_one_is_gone(self):
        it = self.open()
        self.write("a-1.pt")
        self.ahead(it)
        self.later(it)
        os.unlink(os.path.join(self.directory, "a-1.pt"))
        self.write("a-2.pt")
        self.set_back()
        self.assertTrue(self.later(it))
        self.assertEqual(self.names(it)[-1], (2, "a-2.pt"))

    def test_a_checkpoint_that_is_being_removed_is_not_saved_again(self):
        it = self.open()
        for name in "ab":
            self.write("step-1/" + name)
        self.ahead(it)
        self.later(it)
        self.set_back()
        it.look()
        os.unlink(os.path.join(self.directory, "step-1/b"))
        self.assertFalse(self.later(it, 5))

    def test_the_interval_does_not_wait_until_a_clock_that_was_set_back_catches_up(self):
        it, hours = self.open(every=60), [0]
        it.wall = lambda: 1e9 + self.now + hours[0] * 3600
        self.write("a-1.pt")
        self.later(it)
        hours[0] = -24
        self.write("a-2.pt")
        self.later(it)
        self.assertEqual(self.names(it), [(1, "a-1.pt"), (2, "a-2.pt")])
        self.write("a-3.pt")
        self.later(it)
        self.assertEqual(len(it.kept), 2)


if __name__ == "__main__":
    unittest.main()
