"""Runs: one start for one training, the recorded end, every byte of the log."""
import base64
import os
import shutil
import sys
import tempfile
import time
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: E402
from nx_ec2_remote import held, main, supervisor  # noqa: E402

NONE = {"manager": "none", "root": "p", "file": "", "locked": False}


class RunTest(unittest.TestCase):
    def setUp(self):
        self.served = test_sync.SyncTest("run")
        self.served.setUp()
        self.root = self.served.root
        self.count = 0

    def tearDown(self):
        self.served.tearDown()

    def plan(self, script, **part):
        self.count += 1
        plan = self.served.plan({b"p/train.py": script.encode()})
        run = {
            "id": "20260101-000000-p-aaaaa%s" % "abcdefghij"[self.count], "key": "k", "project": "p", "projectRoot": "p", "script": "train.py", "command": None, "args": [],
            "environment": NONE, "setup": None, "env": {}, "outputDir": "artifacts", "timeout": None, "grace": 1, "rerun": False,
        }
        run.update(part)
        return dict(plan, op="train", run=run)

    def poll(self, run_id, cursor):
        return main.run({"v": 1, "op": "poll", "run": run_id, "project": "p", "tree": "t", "cursor": cursor, "overflow": None}, self.root)

    def end(self, run_id):
        """The run's state when it has ended, and its training's log."""
        cursor, log, deadline = {"log": "setup", "offset": 0}, b"", time.monotonic() + 30
        while time.monotonic() < deadline:
            reply = self.poll(run_id, cursor)
            for segment in reply["segments"]:
                if segment["log"] == "training":
                    self.assertEqual(segment["offset"], len(log))
                    log += zlib.decompress(base64.b64decode(segment["data"]))
            cursor = reply["cursor"]
            if reply["run"]["outcome"] and not reply["more"]:
                return reply["run"], log
            time.sleep(0 if reply["more"] else 0.05)
        self.fail("the run did not end")

    def train(self, script, **part):
        reply = main.run(self.plan(script, **part), self.root)
        self.assertTrue(reply["ok"], reply)
        return self.end(reply["run"]["id"])

    def test_a_tool_is_looked_for_on_the_path_that_the_configuration_names(self):
        tools = os.path.join(self.root, "tools")
        os.makedirs(tools)
        with open(os.path.join(tools, "uv"), "w") as file:
            file.write("#!/bin/sh\nmkdir -p $UV_PROJECT_ENVIRONMENT/bin\nln -s %s $UV_PROJECT_ENVIRONMENT/bin/python\n" % sys.executable)
        os.chmod(os.path.join(tools, "uv"), 0o755)
        uv = {"manager": "uv", "root": "p", "file": "pyproject.toml", "locked": True}
        run, _ = self.train("", environment=uv, env={"PATH": "/usr/bin:/bin"})
        self.assertEqual((run["outcome"], run["failure"]["code"]), ("setup-failed", "TOOL_MISSING"))
        run, log = self.train("import sys; print(sys.executable)", environment=uv, env={"PATH": tools + ":/usr/bin:/bin"})
        self.assertEqual(run["outcome"], "succeeded")
        self.assertEqual(log.decode(), run["directory"] + "/env/env/bin/python\n")

    def test_the_end_is_the_exit_code(self):
        for script, outcome, code, signal in (
            ("", "succeeded", 0, None),
            ("import sys; sys.exit(3)", "failed", 3, None),
            ("import os; os.kill(os.getpid(), 9)", "failed", None, "SIGKILL"),
        ):
            state, _ = self.train(script, key=script)
            self.assertEqual((state["outcome"], state["exitCode"], state["signal"]), (outcome, code, signal))

    def test_every_byte_of_the_log_arrives_in_order(self):
        state, log = self.train("import os, sys\nsys.stdout.buffer.write(os.urandom(200000))")
        self.assertEqual(state["outcome"], "succeeded")
        with open(os.path.join(state["directory"], "training.log"), "rb") as file:
            self.assertEqual(log, file.read())
        self.assertEqual(len(log), 200000)

    def test_output_is_unbuffered_unless_the_user_says_otherwise(self):
        code = "import os; print(os.environ.get('PYTHONUNBUFFERED'))"
        before = os.environ.pop("PYTHONUNBUFFERED", None)
        try:
            self.assertEqual(self.train(code, key="a")[1], b"1\n")
            self.assertEqual(self.train(code, key="b", env={"PYTHONUNBUFFERED": ""})[1], b"\n")
        finally:
            if before is not None:
                os.environ["PYTHONUNBUFFERED"] = before

    def test_what_was_stopped_is_no_success_whatever_it_exits_with(self):
        state, _ = self.train("import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\ntime.sleep(60)", timeout=1)
        self.assertEqual((state["outcome"], state["exitCode"]), ("timed-out", 0))

    def test_a_cancelled_run_is_killed_with_all_its_processes(self):
        reply = main.run(self.plan(
            "import os, signal, subprocess, sys, time\nsignal.signal(15, signal.SIG_IGN)\n"
            "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\nprint(p.pid, flush=True)\ntime.sleep(60)"
        ), self.root)
        run_id = reply["run"]["id"]
        cursor = {"log": "training", "offset": 0}
        log = b""
        while not log:
            time.sleep(0.05)
            log = b"".join(zlib.decompress(base64.b64decode(each["data"])) for each in self.poll(run_id, cursor)["segments"])
        main.run({"v": 1, "op": "cancel", "run": None, "project": "p", "tree": "t", "grace": 0.5}, self.root)
        state, _ = self.end(run_id)
        self.assertEqual((state["outcome"], state["signal"]), ("cancelled", "SIGKILL"))
        with self.assertRaises(ProcessLookupError):
            os.kill(int(log), 0)

    def test_one_training_asked_for_by_two_at_once_is_started_once(self):
        plans = [self.plan("import time; time.sleep(1)"), self.plan("import time; time.sleep(1)")]
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

    def test_an_ended_run_is_found_until_it_is_collected(self):
        state, _ = self.train("")
        again = main.run(self.plan(""), self.root)
        self.assertEqual((again["attached"], again["run"]["id"]), ("ended", state["id"]))
        main.run({"v": 1, "op": "collected", "run": state["id"]}, self.root)
        anew = main.run(self.plan(""), self.root)
        self.assertEqual(anew["attached"], False)
        self.end(anew["run"]["id"])

    def test_a_run_whose_supervisor_was_killed_is_lost(self):
        reply = main.run(self.plan("import time; time.sleep(3)"), self.root)
        os.kill(reply["run"]["supervisor"], 9)
        lock = os.path.join(reply["run"]["directory"], "lock")
        deadline = time.monotonic() + 5
        while held.held(lock) and time.monotonic() < deadline:
            time.sleep(0.02)
        state, _ = self.end(reply["run"]["id"])
        self.assertEqual(state["outcome"], "lost")
        os.kill(reply["run"]["pid"], 9)

    def test_a_run_keeps_its_files_whatever_is_synced_meanwhile(self):
        reply = main.run(self.plan("import time; time.sleep(1); print(open('train.py').read()[:6])"), self.root)
        self.assertTrue(self.served.sync({b"p/train.py": b"other"})["ok"])
        self.assertEqual(self.end(reply["run"]["id"])[1], b"import\n")

    def test_a_process_without_children_has_no_family_but_itself(self):
        self.assertEqual(supervisor.family(os.getpid()), [os.getpid()])

    def test_a_failing_set_up_stops_the_run(self):
        state, log = self.train("print('never')", setup=[["sh", "-c", "echo no; exit 4"]])
        self.assertEqual((state["outcome"], state["failure"]["exitCode"], log), ("setup-failed", 4, b""))
        with open(os.path.join(state["directory"], "setup.log")) as file:
            self.assertIn("no\n", file.read())

    def test_a_missing_tool_is_named(self):
        state, _ = self.train("", environment=dict(NONE, manager="poetry")) if shutil.which("poetry") is None else (None, None)
        if state is None:
            self.skipTest("poetry is installed")
        self.assertEqual(state["failure"]["code"], "TOOL_MISSING")


if __name__ == "__main__":
    unittest.main()
