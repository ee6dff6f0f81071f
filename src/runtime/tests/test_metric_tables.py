"""Metrics in the files of Lightning, Ultralytics and Hugging Face, which may have any content."""

import json
import os
import random
import shutil
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401
from memory_bucket import Bucket

from nx_ec2_runtime.report import (
    csv_metrics,
    metric_files,
    metric_sources,
    metrics,
    run_metrics,
    trainer_state,
)
from nx_ec2_runtime.run_dir import written_files
from nx_ec2_runtime.system import atomic_files

SPEC = {
    "projectRoot": "p",
    "artifacts": {"outputs": [{"pattern": "out", "base": "out"}], "scratch": [], "numbered": []},
    "checkpoints": {"paths": [{"pattern": r"saved/checkpoint-[^/]*", "base": "saved"}]},
}


class Temporary(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home)
        self.now = 0.0
        self.files = self.of()
        self.began(1)

    def of(self, position=None):
        return metric_files.MetricFiles(self.home, SPEC, position=position, clock=lambda: self.now)

    def began(self, ms):
        atomic_files.write_json(os.path.join(self.home, "run.json"), {"since": ms})

    def path(self, name):
        path = os.path.join(self.home, "work/p", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, name, text, mode="w"):
        with open(self.path(name), mode) as file:
            file.write(text)

    def look(self):
        """What a look finds when a search is due."""
        self.now += 100
        return [sample for _, _, sample in self.files.read()]

    def restart(self):
        self.files = self.of(json.loads(json.dumps(self.files.position())))


class CsvTest(Temporary):
    NAME = "out/version_0/metrics.csv"

    def test_takes_the_cells_that_are_numbers_of_each_row_once(self):
        self.write(self.NAME, "epoch,step,train_loss,val_loss\n0,9,0.5,\n0,9,,")
        self.assertEqual(self.look(), [{"epoch": 0, "step": 9, "train_loss": 0.5}])
        self.write(self.NAME, "nan\r\n", "a")
        self.assertEqual(self.look(), [{"epoch": 0, "step": 9, "val_loss": None}])
        self.restart()
        self.assertEqual(self.look(), [])
        self.write(self.NAME, '1,19,text,"1e-3"\n1,20,,\nshort,1\n1,21,-inf,7\n', "a")
        self.assertEqual(
            self.look(),
            [
                {"epoch": 1, "step": 19, "val_loss": 0.001},
                {"epoch": 1, "step": 21, "train_loss": None, "val_loss": 7},
            ],
        )

    def test_a_file_that_is_rewritten_with_more_columns_gives_its_new_rows_alone(self):
        rows = ["0,9,0.5\n", "0,19,0.4\n"]
        self.write(self.NAME, "epoch,step,train_loss\n" + "".join(rows))
        self.assertEqual(len(self.look()), 2)
        wide = [row.replace("\n", ",\n") for row in rows]
        # Caught while it is rewritten, and once more.
        self.write(self.NAME, "epoch,step,train_loss,val_loss\n" + wide[0])
        self.assertEqual(self.look(), [])
        self.restart()
        self.write(self.NAME, "epoch,step,train_loss,val_loss,acc\n")
        self.assertEqual(self.look(), [])
        wide = [row.replace("\n", ",,\n") for row in rows]
        self.write(self.NAME, "".join([*wide, "0,19,,0.3,0.8\n"]), "a")
        self.assertEqual(self.look(), [{"epoch": 0, "step": 19, "val_loss": 0.3, "acc": 0.8}])

    def test_a_file_of_another_training_is_read_from_its_start(self):
        self.write(self.NAME, "epoch,step,loss\n0,1,0.5\n0,2,0.4\n")
        self.look()
        self.write("out/new", "epoch,step,loss\n0,1,0.75\n")
        os.rename(self.path("out/new"), self.path(self.NAME))
        self.assertEqual(self.look(), [{"epoch": 0, "step": 1, "loss": 0.75}])
        # The same head, in place, and not shorter.
        self.write(self.NAME, "epoch,step,loss\n0,1,0.125000\n0,2,0.1\n0,3,0.0625\n")
        self.assertEqual([found["loss"] for found in self.look()], [0.125, 0.1, 0.0625])

    def test_reads_the_results_of_ultralytics_with_spaces_around_the_cells(self):
        self.write(
            "out/train/results.csv",
            "                  epoch,         train/box_loss,      metrics/mAP50(B)\n"
            "                      1,                 1.1624,               0.51234\n",
        )
        self.assertEqual(
            self.look(), [{"epoch": 1, "train/box_loss": 1.1624, "metrics/mAP50(B)": 0.51234}]
        )

    def test_a_table_that_is_none_of_a_training_is_not_read(self):
        for name, text in (
            ("metrics.csv", "class,precision,recall\ncat,0.5,0.25\n"),
            ("a/metrics.csv", "1,2,3\n4,5,6\n"),
            ("b/metrics.csv", "epoch\n1\n"),
            ("c/results.csv", "name,count\nepoch,1\n"),
            ("d/metrics.csv", "\n\n1,2\n"),
            ("e/metrics.csv", "epoch,0.5\n1,2\n"),
            ("f/metrics.csv", "epoch,lo\0ss\n1,2\n"),
            ("g/metrics.csv", "x" * csv_metrics.MAX_HEAD_BYTES + ",epoch\n1,2\n"),
            ("h/data.csv", "epoch,loss\n1,2\n"),
            ("i/metrics.csv", "epoch,%s\n" % ",".join("a%d" % n for n in range(2000))),
        ):
            self.write("out/" + name, text)
        self.write("other/metrics.csv", "epoch,loss\n1,2\n")
        self.write("out/sent/metrics.csv", "epoch,loss\n1,2\n")
        written_files.keep_sent(
            self.home, {b"p/out/sent/metrics.csv": ("file", False, 15, "0" * 64)}
        )
        os.symlink("../../other/metrics.csv", self.path("out/link/metrics.csv"))
        os.symlink("../other", self.path("out/linked"))
        os.mkfifo(self.path("out/pipe/metrics.csv"))
        self.assertEqual(self.look(), [])

    def test_a_line_without_an_end_and_a_large_file_take_little_at_once(self):
        self.write(self.NAME, "epoch,loss\n1,0.5\n" + "x" * csv_metrics.MAX_READ_BYTES * 2)
        self.assertEqual(self.look(), [{"epoch": 1, "loss": 0.5}])
        self.assertEqual(self.look(), [])
        self.assertIsNone(self.files.position()["files"]["p/" + self.NAME][2])
        # 1 GB, of which the disk holds a part: one look takes a piece.
        self.write("out/b/metrics.csv", "epoch,loss\n" + "2,0.25\n" * 200_000)
        with open(self.path("out/b/metrics.csv"), "ab") as file:
            file.truncate(1 << 30)
        position = ["", 0, 0]
        descriptor = os.open(self.path("out/b/metrics.csv"), os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        rows, position = csv_metrics.read_rows(descriptor, position, os.fstat(descriptor))
        self.assertEqual(position[2], 11 + 7 * len(rows))
        self.assertLessEqual(position[2], csv_metrics.MAX_READ_BYTES + 11)

    def test_however_a_table_is_cut_and_widened_each_row_is_taken_once(self):
        rng = random.Random(11)
        for _ in range(60):
            self.files = self.of()
            names, rows, found = ["epoch", "step"], [], []
            for step in range(rng.randrange(1, 40)):
                if rng.random() < 0.2:
                    names.append("m%d" % len(names))
                rows.append({
                    "epoch": step // 5,
                    "step": step,
                    **{n: rng.randrange(100) for n in names[2:] if rng.random() < 0.7},
                })
                if rng.random() < 0.5:
                    lines = [",".join(str(row.get(n, "")) for n in names) for row in rows]
                    text = "\n".join([",".join(names), *lines]) + "\n"
                    if rng.random() < 0.3:
                        # Still being rewritten.
                        self.write(self.NAME, text[: rng.randrange(len(text))])
                        found += self.look()
                    self.write(self.NAME, text)
                    found += self.look()
                    if rng.random() < 0.3:
                        self.restart()
            lines = [",".join(str(row.get(n, "")) for n in names) for row in rows]
            self.write(self.NAME, "\n".join([",".join(names), *lines]) + "\n")
            found += self.look()
            self.assertEqual(found, [row for row in rows if len(row) > 2])
            shutil.rmtree(self.path("out"))

    def test_any_content_is_read_in_a_short_time_and_gives_numbers_alone(self):
        rng, began = random.Random(5), time.process_time()
        alphabet = list(',"\n\r\0epochstl0123456789.-+naif\u00e9\x1b')
        for _ in range(300):
            head = rng.choice(("epoch,loss\n", 'epoch,"lo""ss"\n', "step,a,b,c\n", ""))
            text = head + "".join(rng.choice(alphabet) for _ in range(rng.randrange(600)))
            self.files = self.of()
            self.write(self.NAME, text)
            for found in self.look():
                self.assertTrue(
                    all(v is None or isinstance(v, (int, float)) for v in found.values())
                )
                json.dumps(found, allow_nan=False)
        self.assertLess(time.process_time() - began, 30)


class TrainerStateTest(Temporary):
    def state(self, name, entries):
        self.write(name + "/trainer_state.json", json.dumps({"epoch": 1.0, "log_history": entries}))

    def entries(self, *steps):
        return [{"step": step, "epoch": step / 10, "loss": 1 / step} for step in steps]

    def steps(self):
        return [found["step"] for found in self.look()]

    def test_takes_each_entry_of_a_training_once_over_all_its_checkpoints(self):
        self.state("saved/checkpoint-2", self.entries(1, 2))
        self.assertEqual(self.look(), self.entries(1, 2))
        self.state("saved/checkpoint-4", self.entries(1, 2, 3, 4))
        self.assertEqual(self.steps(), [3, 4])
        shutil.rmtree(self.path("saved/checkpoint-2"))
        self.restart()
        ended = [{"step": 4, "train_loss": 0.5, "train_runtime": 3.0}]
        self.state("saved/checkpoint-10", self.entries(1, 2, 3, 4) + ended)
        self.assertEqual(self.look(), ended)
        self.state("saved/checkpoint-10", self.entries(1, 2, 3, 4) + ended + self.entries(5))
        self.assertEqual(self.steps(), [5])
        self.assertEqual(self.look(), [])
        self.state("out/other", self.entries(1))
        self.assertEqual(self.steps(), [1])

    def test_a_restored_checkpoint_tells_nothing_of_its_own_training(self):
        self.state("saved/checkpoint-2", self.entries(1, 2))
        restored = os.stat(self.path("saved/checkpoint-2/trainer_state.json")).st_ctime_ns
        self.began(restored // 1_000_000 + 1)
        self.assertEqual(self.look(), [])
        self.began(restored // 1_000_000)
        self.state("saved/checkpoint-3", self.entries(1, 2, 3))
        self.assertEqual(self.steps(), [3])

    def test_a_file_that_is_being_written_is_read_when_it_is_complete(self):
        self.write("out/trainer_state.json", '{"log_history": [{"step": 1, "loss": 0.5')
        self.assertEqual(self.look(), [])
        self.write("out/trainer_state.json", "}]}", "a")
        self.assertEqual(self.look(), [{"step": 1, "loss": 0.5}])

    def test_numbers_alone_and_no_infinite_ones_are_taken(self):
        self.write(
            "out/trainer_state.json",
            '{"log_history": [{"step": 1, "loss": NaN, "lr": 1e999, "n": {"a": 1}, "t": "x", "b": true},'
            ' {"loss": 3}, {"step": "2", "loss": 3}, {"step": NaN, "loss": 3}, 7, null,'
            ' {"step": 3, "big": 1%s}]}' % ("0" * 400),
        )
        self.assertEqual(
            self.look(), [{"step": 1, "loss": None, "lr": None}, {"step": 3, "big": None}]
        )

    def test_what_is_no_such_file_is_not_read(self):
        for n, text in enumerate((
            "[" * 200_000,
            '{"a":' * 200_000,
            "{}",
            "[]",
            "1",
            '{"log_history": {"step": 1}}',
            '{"log_history": [{"step": 1, "loss": 1}], "x": "%s"}'
            % ("y" * trainer_state.MAX_BYTES),
            '\xff{"log_history": []}',
        )):
            self.write("out/%d/trainer_state.json" % n, text)
        self.write("elsewhere/trainer_state.json", '{"log_history": [{"step": 1, "loss": 1}]}')
        os.symlink("../../elsewhere/trainer_state.json", self.path("out/l/trainer_state.json"))
        self.assertEqual(self.look(), [])

    def test_thousands_of_checkpoints_count_as_one_file_of_their_training(self):
        for step in range(1, 301):
            self.state("out/checkpoint-%d" % step, self.entries(*range(1, step + 1)))
        began = os.stat(self.path("out/checkpoint-300/trainer_state.json")).st_mtime_ns
        for step in range(1, 301):
            path = self.path("out/checkpoint-%d/trainer_state.json" % step)
            os.utime(path, ns=(0, began + step))
        found = self.look()
        self.assertEqual(found[-1]["step"], 300)
        self.assertEqual(len(self.files.position()["files"]), 1)


class RunTest(Temporary):
    def metrics(self):
        spec = dict(SPEC, metrics={"file": "m.jsonl", "idle": None}, launcher=None, node=None)
        it = run_metrics.RunMetrics(self.home, spec, self.home)
        self.addCleanup(it.host.close)
        self.addCleanup(it.training.close)
        return it

    def test_a_run_tells_its_metrics_and_where_they_are_read_from_also_after_a_restart(self):
        self.write("m.jsonl", '{"loss": 0.5, "step": 1}\n')
        self.write("out/metrics.csv", "step,loss,val_loss\n1,0.75,0.25\n")
        it = self.metrics()
        it.feed(0, b"step 1 loss: 0.6 acc: 0.125\n")
        self.assertTrue(it.read_files())
        sources = ["the file that train.metrics.file names", "the log", "out/metrics.csv"]
        self.assertEqual(it.latest()["sources"], sources)
        it.save(Bucket())
        again = self.metrics()
        again.feed(0, b"step 1 loss: 0.6 acc: 0.125\n")
        self.assertTrue(again.read_files(ended=True))
        for each in (it, again):
            self.assertEqual(
                each.latest()["training"], {"step": 1, "loss": 0.5, "acc": 0.125, "val_loss": 0.25}
            )
        self.assertEqual(again.latest()["sources"], sources)
        self.assertEqual(again.log.lines, it.log.lines)


class SourcesTest(unittest.TestCase):
    def admitted(self, sources, kind, **found):
        return sources.admit(found, kind, "text of " + kind)

    def test_of_a_metric_in_several_places_the_best_place_counts(self):
        it = metric_sources.Sources()
        self.assertEqual(self.admitted(it, "state", loss=1, step=1), {"loss": 1, "step": 1})
        self.assertEqual(self.admitted(it, "log", loss=2, epoch=1), {"loss": 2, "epoch": 1})
        it = metric_sources.Sources(json.loads(json.dumps(it.position())))
        self.assertEqual(self.admitted(it, "state", loss=1, step=1, epoch=1), {})
        self.assertEqual(self.admitted(it, "csv", loss=3, val_loss=4), {"val_loss": 4})
        self.assertEqual(self.admitted(it, "state", step=2), {"step": 2})
        self.assertEqual(self.admitted(it, "file", loss=5), {"loss": 5})
        self.assertEqual(self.admitted(it, "log", loss=6, acc=1), {"acc": 1})
        self.assertEqual(
            it.described(), ["text of file", "text of log", "text of csv", "text of state"]
        )

    def test_the_log_and_a_file_that_tell_the_same_give_each_number_once(self):
        it = metrics.TrainingMetrics()
        it.feed(b"{'loss': 0.5, 'epoch': 1.0}\n", 1)
        it.add({"loss": 0.5, "epoch": 1.0, "step": 10}, 2, kind="state", text="a.json")
        it.add({"eval_loss": 0.25, "epoch": 1.0, "step": 10}, 3, kind="state", text="a.json")
        self.assertEqual(
            it.take(), [(1, {"loss": 0.5, "epoch": 1.0}), (3, {"eval_loss": 0.25, "step": 10})]
        )
        self.assertEqual(it.sources.described(), ["the log", "a.json"])


if __name__ == "__main__":
    unittest.main()
