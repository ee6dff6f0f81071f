"""Trainings of several processes on one instance: how they are started, what they print, and how
their ends become the run's.
"""

import json
import os
import re
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torchrun
from runs import Trainings, part

from nx_ec2_runtime import main
from nx_ec2_runtime.report.metrics import TrainingMetrics
from nx_ec2_runtime.run import launcher
from nx_ec2_runtime.run.node_variables import Nodes

TWO = {"name": "torchrun", "processes": 2, "option": None}
SHOW = "import os, sys, time, signal\nrank = int(os.environ['RANK'])\n"
# Waits until the other rank has written a file.
WAIT = """
def when(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""


class LauncherTest(Trainings):
    def setUp(self):
        super().setUp()
        self.torch = torchrun.write(os.path.join(self.root, "torch"))

    def launch(self, script, /, **more):
        env = dict({"PYTHONPATH": self.torch}, **more.pop("env", {}))
        return self.start(script, **dict({"launcher": TWO, "env": env}, **more))

    def run_to_end(self, script, /, **more):
        run, log = self.end(self.launch(script, **more)["id"])
        return run, log.decode()

    def python_without_torch(self):
        """A PATH whose python3 has the standard library alone."""
        directory = os.path.join(self.root, "plain")
        os.makedirs(directory)
        program = os.path.join(directory, "python3")
        with open(program, "w") as file:
            file.write('#!/bin/sh\nexec %s -S "$@"\n' % sys.executable)
        os.chmod(program, 0o755)
        return directory + ":/usr/bin:/bin"

    def test_each_process_has_its_rank_and_the_run_succeeds_with_all(self):
        run, log = self.run_to_end(
            "import json, os, sys\n"
            "names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'TORCHELASTIC_RUN_ID', 'NX_EC2_NUM_NODES', 'TORCH_ELASTIC_SHUTDOWN_TIMEOUT')\n"
            "print(json.dumps([os.environ.get(name) for name in names] + sys.argv[1:]))",
            args=["--lr", "0.1"],
        )
        self.assertEqual((run["outcome"], run["exitCode"]), ("succeeded", 0), log)
        self.assertEqual({"name": "torchrun", "processes": 2}, run["launcher"])
        found = {
            tuple(json.loads(line.replace("[rank 1] ", "")))
            for line in log.splitlines()
            if "--lr" in line
        }
        rest = ("127.0.0.1", run["id"] + "-1", "1", None, "--lr", "0.1")
        self.assertEqual({("0", "2", "0", *rest), ("1", "2", "1", *rest)}, found)
        self.assertRegex(log, r"nx-ec2: torchrun starts 2 processes, with OMP_NUM_THREADS=\d+ each")

    def test_threads_are_the_cores_divided_by_the_processes_unless_configured(self):
        script = "import os; print('threads', os.environ['OMP_NUM_THREADS'])"
        four = {"memory": None, "cores": 1}
        _, log = self.run_to_end(script, limits=four, runKey="a")
        self.assertIn("threads 1", log)
        _, log = self.run_to_end(script, env={"OMP_NUM_THREADS": "7"}, runKey="b")
        self.assertIn("threads 7", log)
        self.assertNotIn("OMP_NUM_THREADS=", log)

    def test_the_end_is_that_of_the_process_that_failed_first(self):
        for end, code, signal in (
            ("print('no memory'); sys.exit(75)", 75, None),
            (
                "print('no memory', flush=True); os.kill(os.getpid(), signal.SIGSEGV)",
                None,
                "SIGSEGV",
            ),
        ):
            run, log = self.run_to_end(
                SHOW + "if rank == 1:\n    " + end + "\ntime.sleep(600)", runKey=end
            )
            self.assertEqual(
                (run["outcome"], run["exitCode"], run["signal"]), ("failed", code, signal), log
            )
            self.assertEqual(
                {"code": "RANK_FAILED", "message": "rank 1 of 2 failed first", "exitCode": code},
                run["failure"],
            )
            how = "exited with 75" if code else "was killed by SIGSEGV"
            self.assertIn("nx-ec2: rank 1 of 2 failed first: it %s. Its last lines:\n" % how, log)
            self.assertIn("nx-ec2: [rank 1] no memory\n", log)

    def test_a_process_that_another_failure_ended_is_not_the_cause(self):
        run, log = self.run_to_end(
            SHOW + WAIT + "if rank == 0:\n"
            "    def end(*_):\n        sys.exit(9)\n"
            "    signal.signal(signal.SIGTERM, end)\n"
            "    open('ready', 'w').close()\n"
            "    time.sleep(600)\n"
            "when('ready')\nsys.exit(3)"
        )
        self.assertEqual(
            (run["exitCode"], run["failure"]["message"]), (3, "rank 1 of 2 failed first"), log
        )

    def test_a_retryable_code_of_one_process_starts_the_training_again(self):
        run, log = self.run_to_end(
            SHOW + "print('attempt', sys.argv[1:])\n"
            "if rank == 1 and '--resume' not in sys.argv:\n    sys.exit(75)\n"
            "if '--resume' not in sys.argv:\n    time.sleep(600)",
            retry={"exitCodes": [75], "attempts": 2},
            resumeArgs=["--resume"],
        )
        self.assertEqual((run["outcome"], run["attempt"]), ("succeeded", 2), log)
        self.assertEqual(75, run["attempts"][0]["exitCode"])
        self.assertIn("attempt ['--resume']", log)

    def test_a_stop_reaches_each_process_once_and_they_have_the_grace_period(self):
        run = self.launch(
            SHOW + "def save(*_):\n"
            "    print('saves', flush=True)\n    time.sleep(0.3)\n"
            "    print('saved', flush=True)\n    sys.exit(0)\n"
            "signal.signal(signal.SIGTERM, save)\nprint('ready', flush=True)\ntime.sleep(600)",
            gracePeriod=20,
        )
        self.until(run["id"], lambda state, log: log.count(b"ready") == 2)
        plan = {"v": 1, "op": "cancel", "run": run["id"], "gracePeriod": 20}
        self.assertTrue(main.run(plan, self.root)["ok"])
        run, log = self.end(run["id"])
        lines = log.decode().splitlines()
        self.assertEqual((run["outcome"], run["exitCode"]), ("cancelled", 0))
        for each in ("saves", "saved"):
            self.assertEqual((1, 1), (lines.count(each), lines.count("[rank 1] " + each)), lines)
        self.assertFalse(run["attempts"][0]["cut"])

    def test_nothing_outlives_the_grace_period(self):
        run = self.launch(
            SHOW + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('pid', os.getpid(), flush=True)\ntime.sleep(600)"
        )
        _, log = self.until(run["id"], lambda state, log: log.count(b"pid ") == 2)
        plan = {"v": 1, "op": "cancel", "run": run["id"], "gracePeriod": 0.5}
        self.assertTrue(main.run(plan, self.root)["ok"])
        run, _ = self.end(run["id"])
        self.assertEqual("cancelled", run["outcome"])
        for pid in re.findall(r"pid (\d+)", log.decode()):
            self.assertFalse(os.path.exists("/proc/%s" % pid))

    def test_a_training_ends_with_the_program_that_started_it(self):
        run, log = self.run_to_end(
            SHOW + "if rank == 1:\n    os.kill(os.getppid(), signal.SIGKILL)\n"
            "print('pid', os.getpid(), flush=True)\ntime.sleep(600)"
        )
        # The killed one has recorded no end: the exit code is torchrun's.
        self.assertEqual(
            (run["outcome"], run["exitCode"], run["failure"]), ("failed", 1, None), log
        )
        for pid in re.findall(r"pid (\d+)", log):
            self.assertFalse(os.path.exists("/proc/%s" % pid))

    def test_lines_of_other_ranks_are_marked_and_never_within_a_line(self):
        _, log = self.run_to_end(
            SHOW + "for i in range(300):\n"
            "    for part in ('<%d' % rank, '.' * 50, '%d>\\n' % rank):\n"
            "        os.write(1, part.encode())\n",
            launcher=dict(TWO, processes=3),
        )
        lines = [line for line in log.splitlines() if "<" in line]
        self.assertEqual(900, len(lines))
        for line in lines:
            self.assertRegex(line, r"^(<0\.{50}0>|\[rank ([12])\] <\2\.{50}\2>)$")

    def test_a_progress_bar_of_rank_0_does_not_hold_others_back(self):
        run, log = self.run_to_end(
            SHOW + WAIT + "if rank == 0:\n"
            "    os.write(1, b'\\r 10%')\n    open('bar', 'w').close()\n"
            "    while b'[rank 1]' not in open(sys.argv[1], 'rb').read():\n        time.sleep(0.01)\n"
            "    os.write(1, b'\\r 20%\\n')\n"
            "else:\n    when('bar')\n    os.write(1, b'\\r 1%\\r 2%\\n')\n    os.write(1, b'last')\n",
            args=["{checkpointDir}/../log"],
        )
        self.assertEqual("succeeded", run["outcome"], log)
        self.assertIn("\r 10%\n[rank 1]  2%\n[rank 1] last\n", log)
        self.assertIn("\r 20%\n", log)

    def test_secrets_are_masked_in_each_rank(self):
        run, log = self.run_to_end(
            SHOW
            + "print(os.environ['TOKEN'], flush=True)\nif rank == 1:\n    sys.exit(1)\ntime.sleep(600)",
            env={"TOKEN": "first-line\nsecond-line"},
            mask=["TOKEN"],
        )
        self.assertEqual("RANK_FAILED", run["failure"]["code"])
        self.assertIn("[rank 1] ***", log)
        self.assertNotIn("-line", log)

    def test_no_part_of_a_secret_is_among_the_last_lines_or_on_the_disk(self):
        secret = "HFSECRETVALUE55"
        for number, (line, found) in enumerate((
            ("'config: ' + 'x' * 982 + secret", "config: x"),
            ("secret + 'y' * 4087", "***y"),
            ("'z' * 300000 + secret + 'end'", None),
            ("secret", "***"),
        )):
            for rank_that_fails in (0, 1):
                with self.subTest(line=line, rank=rank_that_fails):
                    run, log = self.run_to_end(
                        SHOW
                        + "secret = os.environ['TOKEN']\nif rank == %d:\n    print(%s, flush=True)\n"
                        "    sys.exit(5)\ntime.sleep(600)" % (rank_that_fails, line),
                        env={"TOKEN": secret},
                        mask=["TOKEN"],
                        runKey="%d %d" % (number, rank_that_fails),
                    )
                    last = log.partition("Its last lines:\n")[2]
                    if found:
                        self.assertIn("nx-ec2: [rank %d] %s" % (rank_that_fails, found), last)
                    for length in range(6, len(secret) + 1):
                        for at in range(len(secret) - length + 1):
                            self.assertNotIn(secret[at : at + length], log)
                    for directory, _, names in os.walk(run["directory"]):
                        for name in names:
                            path = os.path.join(directory, name)
                            with open(path, "rb") as file:
                                self.assertNotIn(secret.encode(), file.read(), path)

    def test_an_environment_without_torch_is_an_error_before_anything_starts(self):
        run, log = self.run_to_end(
            "print('started')", env={"PYTHONPATH": "", "PATH": self.python_without_torch()}
        )
        self.assertEqual(
            ("setup-failed", "TORCH_MISSING"), (run["outcome"], run["failure"]["code"])
        )
        self.assertIn("no environment was set up for p", run["failure"]["message"])
        self.assertNotIn("started", log)

    def test_two_runs_at_once_are_apart(self):
        script = (
            SHOW + WAIT + "print('port', os.environ['MASTER_PORT'], flush=True)\nwhen(sys.argv[1])"
        )
        free = os.path.join(self.root, "free")
        runs = [self.launch(script, args=[free], runKey=key) for key in "ab"]
        ports = []
        for run in runs:
            _, log = self.until(run["id"], lambda state, log: log.count(b"port") == 2)
            ports += set(re.findall(rb"port (\d+)", log))
        self.assertEqual(2, len(set(ports)))
        with open(free, "w"):
            pass
        for run in runs:
            self.assertEqual("succeeded", self.end(run["id"])[0]["outcome"])

    def test_a_command_that_is_a_launcher_gets_the_number_of_processes(self):
        option = {"position": 3, "name": "--nproc_per_node"}
        run, log = self.run_to_end(
            "import os; os.write(1, ('of %s %s\\n' % (os.environ['WORLD_SIZE'], os.environ.get('PET_NPROC_PER_NODE'))).encode())",
            script=None,
            command=["python3", "-m", "torch.distributed.run", "train.py"],
            launcher={"name": "torchrun", "processes": 2, "option": option},
        )
        self.assertEqual(("succeeded", 2), (run["outcome"], run["launcher"]["processes"]), log)
        self.assertEqual(2, log.count("of 2 None"))

    @unittest.skipUnless(os.geteuid() == 0, "only root can start a training as another user")
    def test_accelerate_gets_the_nodes_and_the_number_of_all_processes(self):
        option = {"position": 2, "name": "--num_processes"}
        record = {"attempt": 1, "resources": {"gpus": 0}, "totalGpus": 4}
        nodes = Nodes(1, ["10.0.0.9", "10.0.0.2"], {"port": 5000, "masterPort": 5001})

        def line(*words):
            spec = part("r", command=["accelerate", "launch", *words])
            spec["launcher"] = {"name": "accelerate", "processes": "gpu", "option": option}
            started = launcher.of(spec, record, nodes)
            self.assertEqual("10.0.0.9:5000", started.variables()["PET_RDZV_ENDPOINT"])
            return started.line(spec["command"], "/run")[2:]

        known = [
            "--num_processes=8",
            "--num_machines=2",
            "--machine_rank=1",
            "--main_process_ip=10.0.0.9",
            "--main_process_port=5000",
        ]
        self.assertEqual([*known, "--multi_gpu", "train.py"], line("train.py"))
        for words in (["--use_fsdp"], ["--config_file=a.yaml"], ["--config_file", "a.yaml"]):
            self.assertEqual([*known, *words, "train.py"], line(*words, "train.py"))

    def test_the_training_user_records_its_processes_and_changes_nothing_else(self):
        os.chmod(self.root, 0o755)
        script = (
            "import os, sys\n"
            "ranks = os.path.join(os.environ['NX_EC2_CHECKPOINT_DIR'], '../ranks')\n"
            "print('writable' if os.access(ranks, os.W_OK) else 'closed', os.geteuid(), flush=True)\n"
            "sys.exit(4 if os.environ['RANK'] == '1' else 0)"
        )
        plan = self.plan(script, launcher=TWO, env={"PYTHONPATH": self.torch})
        reply = main.run(dict(plan, user="nobody"), self.root)
        self.assertTrue(reply["ok"], reply)
        run, log = self.end(reply["run"]["id"])
        self.assertEqual((4, "RANK_FAILED"), (run["exitCode"], run["failure"]["code"]), log)
        self.assertIn(b"closed", log)
        self.assertNotIn(b"writable", log)

    def test_gpu_is_one_process_for_each_gpu_of_the_run(self):
        gpu = {"name": "torchrun", "processes": "gpu", "option": None}
        spec = {"id": "r", "launcher": gpu}
        for wanted, gpus, total, count in ((2, [1, 3], 8, 2), (0, [], 8, 8), (0, [], 0, 1)):
            record = {"attempt": 1, "resources": {"gpus": wanted}, "gpus": gpus, "totalGpus": total}
            self.assertEqual(count, launcher.of(spec, record).count)


class VerdictTest(unittest.TestCase):
    def test_the_records_never_make_a_success_of_a_failure(self):
        zero = [rank(0, 0), rank(1, 0)]
        self.assertEqual(1, launcher.exit_code(1, zero, stopped=False))
        self.assertEqual(1, launcher.exit_code(1, [], stopped=False))
        self.assertEqual(0, launcher.exit_code(0, [], stopped=False))
        self.assertEqual(7, launcher.exit_code(0, [rank(0, 0), rank(1, 7)], stopped=False))
        self.assertEqual(-9, launcher.exit_code(1, [rank(0, 4, end=9), rank(1, -9)], stopped=False))
        self.assertEqual(1, launcher.exit_code(1, [rank(0, -15, told=True)], stopped=False))

    def test_the_code_of_a_node_that_was_stopped_is_that_of_its_lowest_rank(self):
        own = [rank(2, 0, told=True), rank(3, 5, told=True)]
        self.assertEqual(0, launcher.exit_code(1, own, stopped=True, first=2))
        self.assertEqual(1, launcher.exit_code(1, own[1:], stopped=True, first=2))

    def test_a_record_that_is_odd_is_none(self):
        import pwd
        import tempfile

        good = {"code": 3, "signal": None, "end": 5, "told": False}
        account = pwd.getpwuid(os.geteuid())
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "0.json")

            def read(text):
                with open(path, "w") as file:
                    file.write(text)
                return launcher.read_rank(directory, 0, account)

            found = read(json.dumps(good))
            self.assertEqual((3, 5), (found.code, found.end))
            for change in (
                {"code": 256},
                {"code": -1},
                {"code": True},
                {"code": "3"},
                {"code": None},
                {"signal": 9},
                {"code": None, "signal": 0},
                {"code": None, "signal": 65},
                {"end": None},
                {"end": 1 << 60},
                {"end": 1.5},
            ):
                self.assertIsNone(read(json.dumps({**good, **change})), change)
            for text in ("", "[]", "null", "[" * 50000, json.dumps({**good, "x": "x" * 70000})):
                self.assertIsNone(read(text))
            os.unlink(path)
            self.assertIsNone(launcher.read_rank(directory, 0, account))
            for make in (
                lambda: os.symlink("/etc/passwd", path),
                lambda: os.mkdir(path),
                lambda: os.mkfifo(path),
            ):
                make()
                self.assertIsNone(launcher.read_rank(directory, 0, account))
                os.rmdir(path) if os.path.isdir(path) else os.unlink(path)


class MetricsTest(unittest.TestCase):
    def test_lines_of_rank_0_alone_are_metrics(self):
        log = b"step 1 loss: 0.5\n[rank 1] step 1 loss: 0.7\n[rank 1] {'acc': 2}\n"
        for is_launched, expected in ((True, {"step": 1, "loss": 0.5}), (False, {"loss": 0.7})):
            metrics = TrainingMetrics(is_launched=is_launched)
            metrics.feed(log, int(time.time() * 1000))
            if is_launched:
                self.assertEqual(expected, metrics.latest)
            else:
                self.assertEqual(0.7, metrics.latest["loss"])

    def test_on_another_node_those_of_its_lowest_rank_are(self):
        metrics = TrainingMetrics(is_launched=True, has_rank_0=False)
        metrics.feed(b"loss: 9\n[rank 9] step 1 loss: 0.7\n[rank 8] step 1 loss: 0.5\n", 1000)
        metrics.feed(b"[rank 9] step 2 loss: 0.8\n[rank 10] loss: 1\n", 2000)
        self.assertEqual({"step": 1, "loss": 0.5}, metrics.latest)


def rank(number, code, *, end=5, told=False):
    return launcher.Rank(number, code, end=end, told=told)


if __name__ == "__main__":
    unittest.main()
