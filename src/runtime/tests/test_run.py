"""Runs: a training is started once, its end is recorded, and every byte of its log is kept."""

import json
import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from runs import NONE, Trainings

from nx_ec2_runtime import main
from nx_ec2_runtime.run import failure_cause
from nx_ec2_runtime.system import processes


def memory_group():
    """A control group of at most 60 MB, new; None where this user, or this system, makes none."""
    for base, limit in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        group = os.path.join(base, "nx-ec2-test-%d" % os.getpid())
        try:
            os.makedirs(group, exist_ok=True)
            with open(os.path.join(group, limit), "w") as file:
                file.write("60000000")
            return group
        except OSError:
            if os.path.isdir(group):
                os.rmdir(group)
    return None


class RunTest(Trainings):
    def test_a_tool_is_looked_for_on_the_path_that_the_configuration_names(self):
        tools = os.path.join(self.root, "tools")
        os.makedirs(tools)
        with open(os.path.join(tools, "uv"), "w") as file:
            file.write(
                "#!/bin/sh\nmkdir -p $UV_PROJECT_ENVIRONMENT/bin\nln -s %s $UV_PROJECT_ENVIRONMENT/bin/python\n"
                % sys.executable
            )
        os.chmod(os.path.join(tools, "uv"), 0o755)
        uv = {"manager": "uv", "root": "p", "file": "pyproject.toml", "locked": True}
        run, _ = self.train(
            "", environment=uv, env={"PATH": "/usr/bin:/bin", "PIP_INDEX_URL": "file:///absent"}
        )
        self.assertEqual((run["outcome"], run["failure"]["code"]), ("setup-failed", "TOOL_MISSING"))
        run, log = self.train(
            "import sys; print(sys.executable)",
            environment=uv,
            env={"PATH": tools + ":/usr/bin:/bin"},
        )
        self.assertEqual(run["outcome"], "succeeded", run)
        self.assertEqual(log.decode().splitlines()[-1], run["directory"] + "/env/env/bin/python")

    def test_the_end_is_the_exit_code(self):
        for script, outcome, code, signal in (
            ("", "succeeded", 0, None),
            ("import sys; sys.exit(3)", "failed", 3, None),
            ("import os; os.kill(os.getpid(), 9)", "failed", None, "SIGKILL"),
        ):
            state, _ = self.train(script, runKey=script)
            self.assertEqual(
                (state["outcome"], state["exitCode"], state["signal"]), (outcome, code, signal)
            )

    def test_a_missing_module_is_reported_with_the_environment_that_was_used(self):
        run, log = self.train("try:\n    import none_a\nexcept ImportError:\n    import none.b")
        self.assertEqual((run["outcome"], run["exitCode"]), ("failed", 1))
        self.assertRegex(
            log.decode().splitlines()[-1],
            r"^nx-ec2: the module none is missing; no environment was set up for p, so .* requirements.txt",
        )
        _, log = self.train(
            "raise SystemExit(\"ModuleNotFoundError: No module named 'x'\")",
            runKey="setup",
            setup=[["true"]],
        )
        self.assertIn('set up by "train.setup"', log.decode().splitlines()[-1])
        _, log = self.train(
            "print(\"ModuleNotFoundError: No module named 'x'\")", runKey="succeeded"
        )
        self.assertNotIn("is missing", log.decode())

    def test_the_environment_of_a_missing_module_is_named_by_its_file(self):
        log = os.path.join(self.root, "log")
        with open(log, "w") as file:
            file.write(
                "ModuleNotFoundError: No module named 'old'\nModuleNotFoundError: No module named 'torch.cuda'\n"
            )
        part = {
            "setup": None,
            "projectRoot": "p",
            "environment": {
                "manager": "uv",
                "root": "py",
                "file": "pyproject.toml",
                "locked": True,
            },
        }
        expected = "the module torch.cuda is missing; the environment of py/pyproject.toml was used: add the package to it and update the lock file"
        self.assertEqual(failure_cause.missing_module(log, 0, part), expected)
        self.assertIsNone(failure_cause.missing_module(log, os.path.getsize(log), part))
        self.assertIsNone(failure_cause.missing_module(log + ".none", 0, part))

    def test_every_byte_of_the_log_arrives_in_order(self):
        state, log = self.train("import os, sys\nsys.stdout.buffer.write(os.urandom(200000))")
        self.assertEqual(state["outcome"], "succeeded")
        with open(os.path.join(state["directory"], "log"), "rb") as file:
            self.assertEqual(log, file.read())
        self.assertEqual(len(log), 200000)

    def test_output_is_unbuffered_unless_the_user_says_otherwise(self):
        code = "import os; print(os.environ.get('PYTHONUNBUFFERED'))"
        before = os.environ.pop("PYTHONUNBUFFERED", None)
        try:
            self.assertEqual(self.train(code, runKey="a")[1], b"1\n")
            self.assertEqual(self.train(code, runKey="b", env={"PYTHONUNBUFFERED": ""})[1], b"\n")
        finally:
            if before is not None:
                os.environ["PYTHONUNBUFFERED"] = before

    def test_a_stopped_run_is_no_success_whatever_its_exit_code_is(self):
        state, _ = self.train(
            "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\ntime.sleep(60)",
            timeout=1,
        )
        self.assertEqual((state["outcome"], state["exitCode"]), ("timed-out", 0))

    def test_a_cancelled_run_is_killed_with_all_its_processes(self):
        reply = main.run(
            self.plan(
                "import os, signal, subprocess, sys, time\nsignal.signal(15, signal.SIG_IGN)\n"
                "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\nprint(p.pid, flush=True)\ntime.sleep(60)"
            ),
            self.root,
        )
        run_id = reply["run"]["id"]
        _, log = self.until(run_id, lambda state, log: log.endswith(b"\n"))
        main.run({"v": 1, "op": "cancel", "run": run_id, "gracePeriod": 0.5}, self.root)
        state, _ = self.end(run_id)
        self.assertEqual((state["outcome"], state["signal"]), ("cancelled", "SIGKILL"))
        with self.assertRaises(ProcessLookupError):
            os.kill(int(log), 0)

    def test_a_training_that_two_commands_request_at_once_is_started_once(self):
        plans = [
            self.plan("import time; time.sleep(1)", runKey="k"),
            self.plan("import time; time.sleep(1)", runKey="k"),
        ]
        children = []
        for plan in plans:
            child = os.fork()
            if child == 0:
                main.run(plan, self.root)
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        runs = os.listdir(os.path.join(self.root, "runs"))
        self.assertEqual(len(runs), 1)
        self.assertEqual(self.end(runs[0])[0]["outcome"], "succeeded")

    def test_an_ended_run_is_found_unless_the_client_excludes_it(self):
        state, _ = self.train("", runKey="k")
        again = main.run(self.plan("", runKey="k"), self.root)
        self.assertEqual((again["attached"], again["run"]["id"]), ("ended", state["id"]))
        anew = main.run(self.plan("", runKey="k", knownFailed=state["id"]), self.root)
        self.assertEqual(anew["attached"], False)
        self.end(anew["run"]["id"])

    def test_a_run_whose_supervisor_was_killed_is_lost_and_its_processes_are_killed(self):
        run = self.start(
            "import subprocess, time\np = subprocess.Popen(['sleep', '60'], start_new_session=True)\nprint(p.pid, flush=True)\ntime.sleep(60)"
        )
        _, log = self.until(run["id"], lambda state, log: log.endswith(b"\n"))
        os.kill(run["supervisor"], 9)
        state, _ = self.until(run["id"], lambda state, log: state["state"] == "ended")
        self.assertEqual((state["outcome"], state["failure"]["code"]), ("lost", "SUPERVISOR_LOST"))
        for pid in (int(log), state["pid"]):
            self.assertEqual(processes.family(pid), [])

    def test_a_run_keeps_its_files_whatever_is_synced_meanwhile(self):
        reply = main.run(
            self.plan("import time; time.sleep(1); print(open('train.py').read()[:6])"), self.root
        )
        self.assertTrue(self.served.sync({b"p/train.py": b"other"})["ok"])
        self.assertEqual(self.end(reply["run"]["id"])[1], b"import\n")

    def test_the_family_of_a_process_without_children_is_itself(self):
        self.assertEqual(processes.family(os.getpid()), [os.getpid()])

    def test_a_failing_set_up_stops_the_run(self):
        state, log = self.train("print('never')", setup=[["sh", "-c", "echo no; exit 4"]])
        self.assertEqual((state["outcome"], state["failure"]["exitCode"]), ("setup-failed", 4))
        self.assertIn(b"no\n", log)
        self.assertNotIn(b"never", log)

    def test_a_retryable_exit_code_starts_another_attempt(self):
        state, log = self.train(
            "import os, sys\nprint(os.environ['NX_EC2_ATTEMPT'], sys.argv[1:])\nsys.exit(0 if os.environ['NX_EC2_ATTEMPT'] == '3' else 75)",
            retry={"exitCodes": [75], "attempts": 3},
            args=["a"],
            resumeArgs=["--resume"],
        )
        self.assertEqual(
            (state["outcome"], state["attempt"], [each["exitCode"] for each in state["attempts"]]),
            ("succeeded", 3, [75, 75, 0]),
        )
        self.assertEqual(
            [line for line in log.splitlines() if b"nx-ec2" not in line],
            [b"1 ['a']", b"2 ['a', '--resume']", b"3 ['a', '--resume']"],
        )

    def test_the_number_of_attempts_is_limited(self):
        state, _ = self.train("raise SystemExit(75)", retry={"exitCodes": [75], "attempts": 2})
        self.assertEqual(
            (state["outcome"], state["exitCode"], len(state["attempts"])), ("failed", 75, 2)
        )

    def test_a_training_over_its_memory_limit_is_reported(self):
        state, _ = self.train(
            "x = b'x' * (300 << 20)\nimport time; time.sleep(60)",
            limits={"memory": 100 << 20, "cores": None},
        )
        self.assertEqual(
            (state["outcome"], state["signal"], state["failure"]["code"]),
            ("failed", "SIGKILL", "OUT_OF_MEMORY"),
        )

    @unittest.skipUnless(
        memory_group(), "no group of processes with a memory limit can be made here"
    )
    def test_a_training_that_the_kernel_kills_for_lack_of_memory_is_reported(self):
        group = memory_group()
        try:
            state, _ = self.train(
                "import os\nopen(%r, 'w').write(str(os.getpid()))\nx = b'x' * (300 << 20)"
                % os.path.join(group, "cgroup.procs"),
            )
        finally:
            os.rmdir(group)
        self.assertEqual(
            (state["outcome"], state["signal"], state["failure"]["code"]),
            ("failed", "SIGKILL", "OUT_OF_MEMORY"),
        )
        self.assertIn("kernel", state["failure"]["message"])

    @unittest.skipUnless(
        hasattr(os, "sched_setaffinity") and os.cpu_count() > 1,
        "there is one processor, or no way to choose",
    )
    def test_a_training_gets_no_more_processors_than_it_may_use(self):
        _, log = self.train(
            "import os; print(len(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])",
            limits={"memory": None, "cores": 1},
        )
        self.assertEqual(log, b"1 1\n")

    def test_the_variables_that_a_training_gets(self):
        state, log = self.train(
            "import json, os; print(json.dumps(dict(os.environ)))",
            args=["--epochs", "3", "--lr=0.1", "--fast"],
            metadata={
                "git": {"commit": "c" * 40, "remote": "https://host/x"},
                "command": "",
                "configuration": {},
                "host": "",
            },
            env={"WANDB_RESUME": "must", "NX_EC2_RUN_ID": "mine"},
        )
        found = json.loads(log)
        work = os.path.join(state["directory"], "work", "p")
        for name, value in {
            "NX_EC2_RUN_ID": state["id"],
            "NX_EC2_ATTEMPT": "1",
            "NX_EC2_PROJECT": "p",
            "NX_EC2_OUTPUT_DIR": work + "/artifacts",
            "NX_EC2_CHECKPOINT_DIR": state["directory"] + "/checkpoints",
            "SM_MODEL_DIR": work + "/artifacts",
            "WANDB_RUN_ID": state["id"],
            "WANDB_RESUME": "must",
            "WANDB_GIT_COMMIT": "c" * 40,
            "WANDB_GIT_REMOTE_URL": "https://host/x",
        }.items():
            self.assertEqual(found[name], value)
        self.assertEqual(json.loads(found["SM_HPS"]), {"epochs": 3, "lr": 0.1, "fast": True})

    def test_a_missing_tool_is_reported(self):
        state, _ = (
            self.train("", environment=dict(NONE, manager="poetry"))
            if shutil.which("poetry") is None
            else (None, None)
        )
        if state is None:
            self.skipTest("poetry is installed")
        self.assertEqual(state["failure"]["code"], "TOOL_MISSING")


if __name__ == "__main__":
    unittest.main()
