"""Metrics of the machine, of its GPUs, and of what a training prints or writes."""

import json
import math
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

from nx_ec2_runtime.report import efa_watch, idle_gpus, metrics
from nx_ec2_runtime.system import gpu_count, host_stats
from nx_ec2_runtime.system.errors import Failure


class Temporary(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home)

    def write(self, name, text, mode="w"):
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, mode) as file:
            file.write(text)
        return path


class HostTest(Temporary):
    def setUp(self):
        super().setUp()
        self.now = 0.0
        before = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", before)
        self.rest = before
        os.environ["PATH"] = self.home

    def nvidia_smi(self, script):
        os.chmod(
            self.write("nvidia-smi", "#!/bin/sh\nPATH='%s'\n%s\n" % (self.rest, script)), 0o755
        )

    def proc(self, busy, idle, received, sent):
        self.write("proc/stat", "cpu  %d 0 0 %d 0 0 0 0 50 0\ncpu0 1 2 3 4\n" % (busy, idle))
        self.write(
            "proc/meminfo", "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    400 kB\n"
        )
        self.write(
            "proc/net/dev",
            "Inter-|   Receive\n face |bytes\n    lo: 9 0 0 0 0 0 0 0 9 0\n  eth0:%d 0 0 0 0 0 0 0 %d 0\ndocker0: 5 0 0 0 0 0 0 0 5 0\n"
            % (received, sent),
        )

    def sampler(self):
        it = host_stats.HostSampler(
            self.home, proc=os.path.join(self.home, "proc"), clock=lambda: self.now
        )
        self.addCleanup(it.close)
        return it

    def test_a_sample_has_the_rates_since_the_last_one(self):
        it = self.sampler()
        self.proc(100, 100, 1000, 0)
        first = it.sample()["host"]
        self.assertEqual(
            (first["cpu"], first["networkIn"], first["memoryUsed"], first["memoryTotal"]),
            (None, None, 600 * 1024, 1000 * 1024),
        )
        self.assertTrue(0 < first["diskUsed"] <= first["diskTotal"])
        self.now = 2.0
        self.proc(130, 110, 5000, 100)
        second = it.sample()["host"]
        self.assertEqual(
            (second["cpu"], second["networkIn"], second["networkOut"]), (75.0, 2000, 50)
        )

    def test_an_unknown_value_is_none(self):
        it = host_stats.HostSampler(
            os.path.join(self.home, "gone"), proc=os.path.join(self.home, "gone")
        )
        for _ in range(2):
            sample = it.sample()
            self.assertEqual(
                {name for name, value in sample["host"].items() if value is None},
                {
                    "cpu",
                    "memoryUsed",
                    "memoryTotal",
                    "diskUsed",
                    "diskTotal",
                    "networkIn",
                    "networkOut",
                },
            )
            self.assertIsNone(sample["gpus"])

    @unittest.skipUnless(os.path.exists("/proc/stat"), "only where there is /proc")
    def test_a_sample_of_this_machine_has_its_load_and_memory(self):
        it, deadline = host_stats.HostSampler("/"), time.monotonic() + 20
        sample = it.sample()["host"]
        while sample["cpu"] is None and time.monotonic() < deadline:
            sample = it.sample()["host"]
        self.assertTrue(
            0 <= sample["cpu"] <= 100 and 0 < sample["memoryUsed"] < sample["memoryTotal"]
        )

    def gpus(self, it, wanted):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = it.sample()["gpus"]
            if wanted(found):
                return found
        self.fail("the GPUs were not seen: %r" % found)

    def test_the_gpus_are_those_that_nvidia_smi_lists(self):
        self.nvidia_smi(
            'echo "$@" > "%s"; echo "0, NVIDIA A10G, 97, 1024, 23028, 61, 210.55"; echo "1, Odd, Name, [N/A], 0, 23028, 30, [Not Supported]"'
            % os.path.join(self.home, "asked")
        )
        found = self.gpus(self.sampler(), bool)
        self.assertEqual(
            found,
            [
                {
                    "index": 0,
                    "name": "NVIDIA A10G",
                    "utilization": 97.0,
                    "memoryUsed": 1 << 30,
                    "memoryTotal": 23028 << 20,
                    "temperature": 61.0,
                    "power": 210.55,
                },
                {
                    "index": 1,
                    "name": "Odd, Name",
                    "utilization": None,
                    "memoryUsed": 0,
                    "memoryTotal": 23028 << 20,
                    "temperature": 30.0,
                    "power": None,
                },
            ],
        )
        with open(os.path.join(self.home, "asked")) as file:
            self.assertEqual(
                file.read(),
                "--query-gpu=index,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw --format=csv,noheader,nounits\n",
            )
        self.assertEqual(gpu_count.count_gpus(), 0)

    def test_a_driver_that_fails_or_hangs_does_not_delay_samples(self):
        it = self.sampler()
        self.nvidia_smi('echo "0, A, 1, 1, 1, 1, 1"')
        self.gpus(it, bool)
        self.nvidia_smi("echo broken; exit 9")
        self.gpus(it, lambda found: found is None)
        self.nvidia_smi('echo "0, A, 1, 1, 1, 1, 1"')
        self.gpus(it, bool)
        self.nvidia_smi("exec sleep 600")
        began = time.monotonic()
        self.gpus(
            it,
            lambda _: (
                it.gpus.asked is not None
                and it.gpus.asked.poll() is None
                and b"sleep" in self.command(it.gpus.asked.pid)
            ),
        )
        hanging = it.gpus.asked
        self.now += 5.5
        self.assertIsNone(it.sample()["gpus"])
        self.assertNotEqual(hanging.wait(20), 0)
        self.assertLess(time.monotonic() - began, 20)
        self.nvidia_smi('echo "0, A, 1, 1, 1, 1, 1"')
        self.gpus(it, bool)

    def command(self, pid):
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read()

    def test_the_number_of_gpus_is_counted(self):
        self.assertEqual(gpu_count.count_gpus(), 0)
        self.nvidia_smi("echo 0; echo 1; echo 2")
        self.assertEqual(gpu_count.count_gpus(), 3)

    def efa_warnings(self, pieces, has_warned=False, **node):
        it = efa_watch.EfaWatch({"node": {"rank": 0, "count": 2, **node}}, has_warned)
        return [warning for warning in map(it.look, pieces) if warning]

    def test_warns_once_of_nccl_over_tcp_where_efa_was_asked_for(self):
        line = b"ip-10-0-0-1:1:1 [0] NCCL INFO NET/Socket : Using [0]ens5:10.0.0.1<0>\n"
        for cut in range(len(line)):
            pieces = [b"step 1\n" * 100, line[:cut], line[cut:], line * 3]
            self.assertEqual([efa_watch.WARNING], self.efa_warnings(pieces, network="efa"), cut)
        self.assertEqual([], self.efa_warnings([line]))
        self.assertEqual([], self.efa_warnings([line], network="efa", has_warned=True))
        self.assertEqual([], self.efa_warnings([b"step 1\n"] * 9, network="efa"))

    def test_nccl_over_efa_may_name_tcp_as_well(self):
        line = b"NCCL INFO NET/OFI Selected provider is efa, fabric is efa (found 4 nics)\n"
        pieces = [line[:20], line[20:], b"NET/Socket : Using"]
        self.assertEqual([], self.efa_warnings(pieces, network="efa"))

    def test_warns_of_idle_gpus_once_until_they_are_busy_again(self):
        it = idle_gpus.IdleWatch(600, clock=lambda: self.now)

        def look(*used):
            return it.look([
                {"index": index, "utilization": each} for index, each in enumerate(used)
            ])

        self.assertIsNone(look(0, 50))
        self.now = 599
        self.assertIsNone(look(4.9, 50))
        self.now = 720
        self.assertRegex(look(0, 0), "^GPU 0 has been idle for 12 min: ")
        self.now = 1320
        self.assertRegex(look(0, 0), "^GPU 1 has been idle for 10 min: ")
        self.assertIsNone(look(5, 0))
        self.now = 1330
        self.assertIsNone(look(0, 0))
        self.now = 1929
        self.assertIsNone(look(0, 0))
        self.assertIsNone(look(None, None))
        self.assertIsNone(it.look(None))
        self.now = 1930
        self.assertRegex(look(0, 0), "^GPU 0 has been idle for 10 min: ")
        self.now = 0.0
        both = idle_gpus.IdleWatch(30, clock=lambda: self.now)
        idle = [{"index": index, "utilization": 0} for index in (0, 1)]
        both.look(idle)
        self.now = 45.0
        self.assertRegex(both.look(idle), "^GPUs 0, 1 have been idle for 45 s: ")
        never = idle_gpus.IdleWatch(None, clock=lambda: self.now)
        self.assertIsNone(never.look(idle))
        self.now = 1e9
        self.assertIsNone(never.look(idle))


class TrainingTest(Temporary):
    def training(self, position=None):
        it = metrics.TrainingMetrics(position)
        self.addCleanup(it.close)
        return it

    def read(self, text):
        it = self.training()
        it.feed(text if isinstance(text, bytes) else text.encode(), 5)
        return it.latest

    def test_takes_the_numbers_of_json_objects_and_of_dicts_as_python_prints_them(self):
        for line, found in (
            ('{"loss": 0.5, "step": 10}', {"loss": 0.5, "step": 10}),
            (
                "{'loss': 0.5, 'epoch': 1.0, 'learning_rate': 1e-05}",
                {"loss": 0.5, "epoch": 1.0, "learning_rate": 1e-05},
            ),
            (
                "{'loss': '0.4512', 'grad_norm': '1.2e-3', 'note': 'text', 'version': '1.2.3'}",
                {"loss": 0.4512, "grad_norm": 0.0012},
            ),
            (
                "{'loss': nan, 'grad_norm': -inf, 'step': 3}",
                {"loss": None, "grad_norm": None, "step": 3},
            ),
            ("{'loss': 'nan'}", {"loss": None}),
            ('{"loss": NaN, "lr": Infinity}', {"loss": None, "lr": None}),
            ("{'loss': np.float64(0.25), 'n': np.int64(3)}", {"loss": 0.25, "n": 3}),
            ('{"a": true, "b": {"c": 1}, "d": [1], "e": "1", "f": null, "g": -2}', {"g": -2}),
            ('{"a": true}', {}),
            ('{"a": "x"}', {}),
            ("{}", {}),
            ("[1]", {}),
            ("1", {}),
            ("{1: 2}", {}),
            ("{'a'}", {}),
            ("{'a': 1 + 1j}", {"a": None}),
            ('loss {"loss": 1}', {}),
            ('{"loss": 1} trailing', {}),
            ("{'loss': __import__('os')}", {}),
            ("{'loss': f()}", {}),
            ('{"big": 1%s}' % ("0" * 30), {"big": 1e30}),
            ('{"huge": 1%s}' % ("0" * 400), {"huge": None}),
            (" 50%|###   | 1/2 [00:01<00:01]\r        \r{'loss': 1.5}", {"loss": 1.5}),
            ('{"%s": 1, "b": 2}' % ("x" * 300), {"b": 2}),
        ):
            with self.subTest(line[:80]):
                self.assertEqual(self.read(line + "\n"), found)

    def test_of_a_progress_bar_one_sample_in_5_s_is_taken_and_its_end(self):
        it = self.training()
        for second in range(13):
            it.feed(
                b"\r%3d%%|## | %d/12 [00:01<00:01, 1.0it/s, loss=%d]"
                % (100 * second // 12, second, second),
                1000 * second,
            )
        it.feed(b"\n", 12500)
        self.assertEqual([found["loss"] for _, found in it.take()], [0, 5, 10, 12])

    def test_a_line_that_could_crash_the_parser_is_no_metric(self):
        for text in (
            "-" * 16000 + "1",
            "(" * 16000,
            "[" * 8000,
            "{'a':" * 3000,
            "a" + ".a" * 8000,
            "not " * 4000 + "1",
            "lambda:" * 2000,
            "{" * 16000 + "}" * 10,
        ):
            for size in (1000, 4000, 20000):
                self.assertEqual(self.read("{'a': " + text[:size] + "}\n"), {})
                self.assertEqual(self.read(text[:size] + "}\n{'b': 1}\n"), {"b": 1})

    def test_the_metrics_do_not_depend_on_how_the_log_is_cut(self):
        rng = random.Random(3)
        lines = (
            [json.dumps({"step": step, "loss": step / 7}) for step in range(40)]
            + ["{'loss': %r}" % (step / 3) for step in range(20)]
            + ["x" * 40000, "noise", '{"step": 99}']
        )
        rng.shuffle(lines)
        log = "\n".join(lines).encode() + b"\n"
        whole = self.training()
        whole.feed(log, 1)
        want = whole.take()
        self.assertEqual(len(want), 61)
        for _ in range(30):
            it, at = self.training(), 0
            while at < len(log):
                to = at + rng.choice((1, 7, 300, 50000))
                it.feed(log[at:to], 1)
                at = to
            self.assertEqual((it.take(), it.latest), (want, whole.latest))

    def test_the_memory_for_any_output_is_limited(self):
        it = self.training()
        for step in range(3000):
            it.feed(b'{"name %d": 1, "step": %d}\n' % (step, step), step)
        taken = it.take()
        self.assertEqual(
            (len(taken), len(it.latest), it.latest["step"]),
            (metrics.MAX_SAMPLES, metrics.MAX_NAMES, 2999),
        )
        self.assertEqual((taken[-1][0], taken[-1][1]["step"]), (2999, 2999))
        it.feed(b"x" * 5000000, 1)
        self.assertEqual(len(it.log.held), 0)
        self.assertEqual(it.take(), [])

    def test_reads_a_metrics_file_that_grows_is_truncated_is_replaced_or_removed(self):
        it = self.training()

        def steps():
            return [found["s"] for _, found in it.take()]

        path = os.path.join(self.home, "m.jsonl")
        it.read_file(self.home, "m.jsonl", 1)
        self.write("m.jsonl", '{"s": 1}\n{"s"')
        it.read_file(self.home, "m.jsonl", 1)
        self.assertEqual(steps(), [1])
        self.write("m.jsonl", ": 2}\n", "a")
        it.read_file(self.home, "m.jsonl", 1)
        it.read_file(self.home, "m.jsonl", 1)
        self.assertEqual(steps(), [2])
        self.write("m.jsonl", '{"s": 3}\n')
        it.read_file(self.home, "m.jsonl", 1)
        self.assertEqual(steps(), [3])
        self.write("m.jsonl", '{"s": 4}\n', "a")
        os.rename(path, path + ".1")
        self.write("m.jsonl", '{"s": 5}\n{"s": 6}')
        it.read_file(self.home, "m.jsonl", 1)
        it.read_file(self.home, "m.jsonl", 1)
        self.assertEqual(steps(), [4, 5])
        os.unlink(path)
        it.read_file(self.home, "m.jsonl", 1)
        it.finish(1)
        self.assertEqual(steps(), [6])

    def test_a_restarted_reporter_continues_the_file_where_the_last_one_ended(self):
        self.write("m.jsonl", '{"s": 1}\n{"s": ')
        it = self.training()
        it.read_file(self.home, "m.jsonl", 1)
        position = json.loads(json.dumps(it.position()))
        self.write("m.jsonl", "2}\n", "a")
        it = self.training(position)
        self.assertEqual(it.latest, {"s": 1})
        it.read_file(self.home, "m.jsonl", 1)
        self.assertEqual(it.take(), [(1, {"s": 2})])

    def test_reads_no_link_and_no_pipe(self):
        os.symlink(self.write("real", '{"s": 1}\n'), os.path.join(self.home, "link"))
        os.mkfifo(os.path.join(self.home, "pipe"))
        it = self.training()
        for name in ("link", "pipe", "."):
            it.read_file(self.home, name, 1)
        self.assertEqual(it.latest, {})


class LogTest(Temporary):
    def test_segments_of_1024_lines_and_only_what_changed_is_written(self):
        it, bucket = metrics.MetricsLog(self.home), Bucket()
        self.assertEqual(it.segments, 0)
        it.save(bucket)
        self.assertEqual(bucket.puts, [])
        for step in range(1500):
            it.add({"t": step, "training": {"loss": None if step == 3 else 0.5}})
            if step % 500 == 0:
                it.save(bucket)
        it.save(bucket)
        it.save(bucket)
        self.assertEqual(bucket.puts, ["metrics/0"] * 4 + ["metrics/1"])
        lines = [
            json.loads(line)
            for n in range(it.segments)
            for line in bucket.objects["metrics/%d" % n].splitlines()
        ]
        self.assertEqual([line["t"] for line in lines], list(range(1500)))
        self.assertEqual(bucket.objects["metrics/0"].count(b"\n"), 1024)
        with self.assertRaises(ValueError):
            it.add({"t": 1, "training": {"loss": math.nan}})

    def test_metrics_continue_after_a_kill_in_the_middle_of_a_line(self):
        it = metrics.MetricsLog(self.home)
        for step in range(1030):
            it.add({"t": step})
        self.write("metrics/1", '{"t": 10', "a")
        it, bucket = metrics.MetricsLog(self.home), Bucket(fail=2)
        it.add({"t": 1030})
        with self.assertRaises(Failure):
            it.save(bucket)
        bucket.fail = None
        it.save(bucket)
        self.assertEqual(bucket.puts, ["metrics/0", "metrics/1", "metrics/1"])
        self.assertEqual(
            [json.loads(line)["t"] for line in bucket.objects["metrics/1"].splitlines()],
            list(range(1024, 1031)),
        )


if __name__ == "__main__":
    unittest.main()
