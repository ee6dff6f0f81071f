"""Scalars in the event files of TensorBoard, which may have any content."""

import os
import random
import shutil
import struct
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401

from nx_ec2_runtime.report import metric_files, tensorboard_events
from nx_ec2_runtime.run_dir import written_files

PART = {
    "projectRoot": "p",
    "checkpoints": {"paths": []},
    "artifacts": {"outputs": [{"pattern": "runs", "base": "runs"}], "scratch": [], "numbered": []},
}


def varint(value):
    value &= (1 << 64) - 1
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def field(number, kind, value):
    return varint(number << 3 | kind) + (varint(len(value)) + value if kind == 2 else value)


def simple(tag, value):
    return field(1, 2, field(1, 2, tag.encode()) + field(2, 5, struct.pack("<f", value)))


def tensor(tag, content):
    return field(1, 2, field(1, 2, tag.encode()) + field(9, 2, b"") + field(8, 2, content))


def event(step, *values):
    return (
        field(1, 1, struct.pack("<d", 1.5))
        + field(2, 0, varint(step))
        + field(5, 2, b"".join(values))
    )


def record(data):
    return struct.pack("<Q", len(data)) + b"head" + data + b"foot"


class EventFilesTest(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home)
        self.now = 0.0
        self.files = self.of()

    def of(self, position=None):
        return metric_files.MetricFiles(self.home, PART, position=position, clock=lambda: self.now)

    def read(self, files=None, **options):
        return [sample for _, _, sample in (files or self.files).read(**options)]

    def append(self, path, data):
        path = os.path.join(self.home, "work/p", path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "ab") as file:
            file.write(data)

    def test_reads_complete_events_as_they_are_written(self):
        self.assertEqual(self.read(), [])
        name = "runs/Nov28/events.out.tfevents.1.host.2.0"
        self.append(
            name,
            record(field(3, 2, b"brain.Event:2"))
            + record(event(1, simple("loss", 0.1)))
            + record(event(1, simple("acc", 0.5))),
        )
        # A directory is searched only so often.
        self.assertEqual(self.read(), [])
        self.now = 10.0
        self.assertEqual(self.read(), [{"step": 1, "loss": 0.1, "acc": 0.5}])
        more = record(event(2, simple("loss", float("nan"))))
        self.append(name, more[:-3])
        self.assertEqual(self.read(), [])
        self.append(name, more[-3:])
        # As another process appends to it.
        self.files = self.of(self.files.position())
        self.assertEqual(self.read(), [{"step": 2, "loss": None}])
        self.append(name, record(event(3, simple("loss", 3))))
        self.append("runs/events.out.tfevents.9", record(event(-1, simple("other", -2.5))))
        self.assertEqual(
            self.read(ended=True), [{"step": 3, "loss": 3}, {"step": -1, "other": -2.5}]
        )

    def test_reads_tensors_that_are_one_number(self):
        float32, shape = field(1, 0, varint(1)), field(2, 2, field(2, 2, field(1, 0, varint(3))))
        for content, found in (
            (float32 + field(2, 2, b"") + field(5, 2, struct.pack("<f", 0.25)), 0.25),
            (float32 + field(4, 2, struct.pack("<f", 0.25)), 0.25),
            (field(1, 0, varint(2)) + field(6, 2, struct.pack("<d", 0.1)), 0.1),
            (float32 + shape + field(5, 2, struct.pack("<f", 0.25)), None),
            (field(1, 0, varint(7)) + field(8, 2, b"text"), None),
            (float32 + field(5, 2, struct.pack("<ff", 1, 2)), None),
        ):
            with self.subTest(content):
                self.assertEqual(
                    tensorboard_events.scalars_of(event(4, tensor("t", content))),
                    (4, {} if found is None else {"t": found}),
                )

    def test_reads_only_outputs_that_were_not_synced(self):
        data = record(event(1, simple("loss", 1)))
        for path in (
            "other/events.out.tfevents.1",
            "events.out.tfevents.1",
            "runs/events.txt",
            "runs/__pycache__/events.out.tfevents.1",
        ):
            self.append(path, data)
        os.symlink("../other/events.out.tfevents.1", os.path.join(self.home, "work/p/other/link"))
        os.makedirs(os.path.join(self.home, "work/p/runs"), exist_ok=True)
        os.symlink(
            "../other/events.out.tfevents.1",
            os.path.join(self.home, "work/p/runs/events.out.tfevents.2"),
        )
        self.append("runs/sent/events.out.tfevents.1", data)
        written_files.keep_sent(
            self.home, {b"p/runs/sent/events.out.tfevents.1": ("file", False, len(data), "0" * 64)}
        )
        self.assertEqual(self.read(), [])

    def test_many_steps_are_merged_into_a_limited_number_of_samples(self):
        self.append(
            "runs/events.out.tfevents.1",
            b"".join(record(event(step, simple("loss", step))) for step in range(40_000))
            + record(event(1, simple("once", 1))),
        )
        found = self.read(ended=True)
        self.assertTrue(100 < len(found) <= metric_files.MAX_SAMPLES)
        self.assertEqual([each["loss"] for each in found], sorted(each["loss"] for each in found))
        self.assertEqual((found[-1]["loss"], found[-1]["once"]), (39_999, 1))

    def read_all(self, files):
        found = self.read(files, ended=True)
        while not files.all_read:
            found += self.read(files, ended=True)
        return found

    def test_a_look_ends_in_time_and_every_file_gets_its_turn(self):
        big = b"".join(
            record(event(step, simple("loss", step)))
            for step in range(tensorboard_events.MAX_READ_BYTES // 20)
        )
        for name in "ab":
            self.append("runs/%s/events.out.tfevents.1" % name, big)
        self.append("runs/c/events.out.tfevents.1", record(event(1, simple("honest", 1))))
        ticks = iter(range(10**6))
        # Each look at the clock takes a third of the time: two files a look.
        self.files.clock = lambda: next(ticks) * metric_files.LOOK_TIMEOUT_S / 3
        self.files._search(10**6)
        self.files.due = 10**6
        self.assertNotIn("honest", str(self.read()))
        self.assertFalse(self.files.all_read)
        self.assertIn("honest", str(self.read()))
        found = self.read_all(self.files)
        self.assertEqual(found[-1]["loss"], tensorboard_events.MAX_READ_BYTES // 20 - 1)

    def test_a_search_that_takes_too_long_is_given_up(self):
        for number in range(50):
            self.append("runs/%d/x" % number, b"")
        self.append("runs/z/events.out.tfevents.1", record(event(1, simple("loss", 1))))
        ticks = iter(range(10**6))
        self.files.clock = lambda: next(ticks) * metric_files.LOOK_TIMEOUT_S / 10
        self.assertEqual(self.read(), [])
        self.assertLess(next(ticks), 20)

    def test_thousands_of_names_take_little_time_and_memory_and_known_names_stay(self):
        many = b"".join(
            record(event(0, simple("t%d" % number, number))) for number in range(60_000)
        )
        self.append("runs/a/events.out.tfevents.1", many + record(event(1, simple("loss", 1))))
        began, found, held = time.process_time(), [], set()
        files = self.of()
        while not found or not files.all_read:
            found = self.read(files, ended=True, known={"loss": 0})
            self.assertLessEqual(
                sum(map(len, found)), 2 * metric_files.MAX_NEW_NAMES + metric_files.MAX_SAMPLES
            )
            held.update(name for sample in found for name in sample)
        self.assertIn("loss", held)
        # 60,000 names of one step compared with all before them take more than a minute.
        self.assertLess(time.process_time() - began, 30)

    def test_an_event_that_is_too_long_is_skipped(self):
        self.append(
            "runs/events.out.tfevents.1",
            record(
                event(
                    1,
                    simple("x", 1) + field(1, 2, b"y" * tensorboard_events.MAX_SCALAR_EVENT_BYTES),
                )
            )
            + record(event(2, simple("loss", 2))),
        )
        self.assertEqual(self.read(), [{"step": 2, "loss": 2}])

    def test_a_file_that_is_no_event_file_is_not_read_further(self):
        self.append("runs/events.out.tfevents.1", b"\xff" * 100)
        self.append(
            "runs/events.out.tfevents.2", record(b"\x0b" * 20) + record(event(1, simple("loss", 1)))
        )
        self.assertEqual(self.read(), [])
        self.assertEqual(
            [offset for _, _, offset in self.files.position()["files"].values()], [None, None]
        )

    def test_a_file_that_is_cut_off_while_it_is_read_ends_the_look(self):
        data = record(event(1, simple("loss", 0.5)))
        self.append("runs/events.out.tfevents.1", data)
        descriptor = os.open(
            os.path.join(self.home, "work/p/runs/events.out.tfevents.1"), os.O_RDONLY
        )
        self.addCleanup(os.close, descriptor)
        samples, offset = tensorboard_events.read_events(descriptor, 0, 100 * len(data))
        self.assertEqual((samples, offset), ([{"step": 1, "loss": 0.5}], len(data)))

    def test_any_content_of_a_file_is_read_in_a_short_time(self):
        rng, began = random.Random(3), time.process_time()
        whole = (
            record(
                event(
                    7,
                    simple("loss", 0.5),
                    tensor("t", field(1, 0, varint(1)) + field(5, 2, b"1234")),
                )
            )
            * 20
        )
        for n in range(60):
            data = bytearray(whole)
            for _ in range(rng.randrange(1, 30)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            self.append("runs/%d/events.out.tfevents.1" % (n), bytes(data))
            for sample in self.read(self.of(), ended=True):
                self.assertTrue(
                    all(
                        isinstance(name, str) and len(name) <= tensorboard_events.MAX_TAG_LENGTH
                        for name in sample
                    )
                )
        self.assertLess(time.process_time() - began, 60)


if __name__ == "__main__":
    unittest.main()
