"""Stopping a run: SIGTERM for the training, then for the processes that it leaves, SIGKILL after
the grace period; and processes that a command leaves running.
"""

import contextlib
import json
import os
import pwd
import resource
import shutil
import sys
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from runs import Trainings

from nx_ec2_runtime import main
from nx_ec2_runtime.run import child_process, reporter_process
from nx_ec2_runtime.system import leader, left_processes, processes

LINUX = os.path.isdir("/proc/self")
# It says when it has its handler, and what it gets, and how often.
TRAINER = """
import os, signal, sys, time
got = []
def stop(number, _):
    got.append(number)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while not got:
    time.sleep(0.02)
time.sleep(%(saving)s)
print("saved after", len(got), flush=True)
sys.exit(%(code)d)
"""


def trainer(saving=0.3, code=0):
    return TRAINER % {"saving": saving, "code": code}


class Stopping(Trainings):
    def stopped(self, script, command=None, grace=20, ready=b"ready\n", **more):
        """The run's state, its log, and how long it took to stop."""
        if command is not None:
            more.update(script=None, command=command)
        run = self.start(script, **more)
        self.until(run["id"], lambda state, log: ready in log)
        asked = time.monotonic()
        reply = main.run(
            {"v": 1, "op": "cancel", "run": run["id"], "gracePeriod": grace}, self.root
        )
        self.assertTrue(reply["ok"], reply)
        state, log = self.end(run["id"])
        return state, log, time.monotonic() - asked

    def saved(self, command, script=None):
        state, log, _ = self.stopped(script or trainer(), command)
        self.assertIn(b"saved after 1\n", log)
        return state, log


class RemovedRunTest(Stopping):
    def test_a_run_whose_directory_is_removed_ends(self):
        run = self.start(trainer())
        self.until(run["id"], lambda state, log: b"ready\n" in log)
        run_dir = os.path.join(self.root, "runs", run["id"])
        with open(os.path.join(run_dir, "run.json")) as file:
            supervisor = json.load(file)["supervisor"]
        shutil.rmtree(run_dir)
        deadline = time.monotonic() + 60
        while reporter_process.is_alive(supervisor) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertFalse(reporter_process.is_alive(supervisor))


class Log:
    backlog = ()

    def write(self, data):
        pass


class ShutdownTest(unittest.TestCase):
    """When the instance shuts down, the training gets SIGTERM together with its supervisor, and can
    end first.
    """

    def ended(self, script, reason):
        def requested_stop():
            return child_process.Stop(reason, 5) if child.process.returncode is not None else None

        account, limits = pwd.getpwuid(os.geteuid()), {"memory": None, "cores": None}
        words = ["sh", "-c", script]
        child = child_process.Child(
            words,
            dict(os.environ),
            "/",
            account=account,
            log=Log(),
            mask=None,
            limits=limits,
            requested_stop=requested_stop,
            exclude_pid=None,
        )
        child.wait()
        return child.stopped and child.stopped.reason, child.cut

    def test_a_training_that_ended_at_the_shutdown_counts_as_stopped_by_it(self):
        self.assertEqual(self.ended("kill -TERM $$", "shutdown"), ("shutdown", True))
        self.assertEqual(self.ended("exit 3", "shutdown"), ("shutdown", False))

    def test_a_training_that_failed_before_its_cancel_has_failed(self):
        self.assertEqual(self.ended("exit 3", "cancelled"), (None, False))


@unittest.skipUnless(LINUX, "how a process takes a signal is read from /proc")
class LeaderTest(Stopping):
    def test_workers_get_the_signal_only_when_the_trainer_has_ended(self):
        state, log, _ = self.stopped(
            "import os, signal, sys, time\n"
            "worker = os.fork()\n"
            "if worker == 0:\n"
            "    while True: time.sleep(0.05)\n"
            "got = []\n"
            "signal.signal(15, lambda *_: got.append(1))\n"
            "print('ready', flush=True)\n"
            "while not got: time.sleep(0.02)\n"
            "time.sleep(1)\n"
            "print('worker', os.waitpid(worker, os.WNOHANG), flush=True)\n"
        )
        self.assertIn(b"worker (0, 0)\n", log)
        self.assertEqual((state["exitCode"], state["attempts"][-1]["cut"]), (0, False))

    def test_the_signal_goes_to_the_command_that_a_shell_waits_for(self):
        python = sys.executable
        for script in (
            "%s train.py; true" % python,
            "cd . && (%s train.py; true) | cat" % python,
            "sleep 60 & %s train.py; kill %%1" % python,
            "%s train.py & wait" % python,
            "trap 'echo trapped' TERM; %s train.py; true" % python,
            "%s train.py & pid=$!; trap 'kill -TERM $pid' TERM; wait $pid; wait $pid" % python,
        ):
            with self.subTest(script):
                state, log = self.saved(["bash", "-c", script])
                self.assertEqual(b"trapped" in log, "trapped" in script, log)
                self.assertFalse(state["attempts"][-1]["cut"], log)

    def test_the_signal_goes_to_the_child_of_a_wrapper_without_a_handler_but_not_of_a_launcher(
        self,
    ):
        tools = os.path.join(self.root, "tools")
        os.makedirs(tools)

        def tool(name, code):
            with open(os.path.join(tools, name), "w") as file:
                file.write("#!%s\nimport os, signal, subprocess, sys\n%s" % (sys.executable, code))
            os.chmod(os.path.join(tools, name), 0o755)
            return os.path.join(tools, name)

        # As `conda run` does: a shell of its own, no handler.
        conda = tool(
            "conda",
            "sys.exit(subprocess.call(['bash', '-c', '\"$@\"; exit $?', 'x'] + sys.argv[2:]))\n",
        )
        self.saved([conda, "run", sys.executable, "train.py"])
        # As torchrun does: it forwards the signal itself, once.
        torchrun = tool(
            "torchrun",
            (
                "child = subprocess.Popen([sys.executable] + sys.argv[1:])\n"
                "signal.signal(15, lambda *_: child.terminate())\n"
                "sys.exit(child.wait())\n"
            ),
        )
        state, _ = self.saved([torchrun, "train.py"])
        self.assertFalse(state["attempts"][-1]["cut"])
        # Its worker does not handle what it is sent.
        state, _, _ = self.stopped(
            "import time; print('ready', flush=True); time.sleep(60)", [torchrun, "train.py"]
        )
        self.assertTrue(state["attempts"][-1]["cut"])

    def test_a_process_that_gets_the_signal_forwarded_must_handle_it_too(self):
        forward = "import signal, subprocess, sys\np = subprocess.Popen([sys.executable, 'train.py'])\nsignal.signal(15, lambda *_: p.terminate())\nsys.exit(p.wait())\n"
        with open(os.path.join(self.root, "forward.py"), "w") as file:
            file.write(forward)
        python = sys.executable
        for command in (
            ["timeout", "100", python, "train.py"],
            [python, os.path.join(self.root, "forward.py")],
            [
                "bash",
                "-c",
                "%s train.py & pid=$!; trap 'kill $pid; wait $pid' TERM; wait $pid" % python,
            ],
        ):
            with self.subTest(command):
                state, _ = self.saved(command)
                self.assertFalse(state["attempts"][-1]["cut"])
                state, _, _ = self.stopped(
                    "import time; print('ready', flush=True); time.sleep(60)", command
                )
                self.assertTrue(state["attempts"][-1]["cut"])

    def test_nested_shells_with_traps_do_not_delay_a_stop(self):
        with open(os.path.join(self.root, "nested.sh"), "w") as file:
            file.write(
                "trap : TERM; if [ $1 -gt 0 ]; then bash $0 $(($1 - 1)); else echo ready; sleep 60; fi; :\n"
            )
        state, log, took = self.stopped("", ["bash", file.name, "30"], grace=1)
        # Looking at each level anew for each above it would take hours.
        self.assertEqual((state["outcome"], state["failure"]), ("cancelled", None))
        self.assertLess(took, 30)

    def test_a_very_long_chain_of_programs_does_not_delay_a_stop(self):
        # Each is another script than the one that started it.
        count = 5000
        with mock.patch.object(
            processes, "proc_pairs", lambda: [(pid, pid - 1) for pid in range(1, count)]
        ), mock.patch.object(
            leader, "arguments", lambda pid: ["python3", "n%d.py" % pid]
        ), mock.patch.object(leader, "handles", lambda pid: True):
            found = leader.Leaders(1)
        self.assertEqual((found.pids, found.handled), ([1], True))

    def test_a_trainer_that_was_suspended_saves_when_the_run_is_stopped(self):
        state, log, _ = self.stopped(
            trainer()
            .replace("while not got:", "os.kill(os.getpid(), signal.SIGSTOP)\nwhile not got:")
            .replace("import ", "import os, ", 1)
        )
        self.assertIn(b"saved after 1\n", log)
        self.assertFalse(state["attempts"][-1]["cut"])

    def test_workers_need_no_handler_if_their_trainer_has_one(self):
        wait = "while True: time.sleep(0.02)"
        for start in (
            "[sys.executable, '-c', 'import time\\n%s']" % wait,
            "[sys.executable, '-m', 'http.server', '0', '--bind', '127.0.0.1']",
            "['sleep', '60']",
        ):
            state, _ = self.saved(
                None,
                "import subprocess, sys\nsubprocess.Popen(%s, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n%s"
                % (start, trainer()),
            )
            self.assertFalse(state["attempts"][-1]["cut"], start)

    def test_workers_that_outlive_a_leader_without_a_handler_have_the_rest_of_the_grace(self):
        state, log, _ = self.stopped(
            "import subprocess, sys\nsubprocess.call([sys.executable, '-c', %r])" % trainer()
        )
        self.assertIn(b"saved after 1\n", log)
        self.assertEqual(state["signal"], "SIGTERM")

    def test_a_process_that_does_not_end_is_killed_after_the_grace_period(self):
        state, log, took = self.stopped(
            "import signal, subprocess, sys, time\nsignal.signal(15, signal.SIG_IGN)\n"
            "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
            "print(p.pid, 'ready', flush=True)\ntime.sleep(60)",
            grace=1.5,
            ready=b"ready\n",
        )
        self.assertEqual((state["signal"], state["attempts"][-1]["cut"]), ("SIGKILL", True))
        self.assertGreaterEqual(took, 1.5)
        with self.assertRaises(ProcessLookupError):
            os.kill(int(log.split()[0]), 0)

    def test_a_training_without_a_signal_handler_counts_as_cut_off(self):
        state, _, _ = self.stopped("import time; print('ready', flush=True); time.sleep(60)")
        self.assertEqual((state["signal"], state["attempts"][-1]["cut"]), ("SIGTERM", True))

    def test_a_step_that_a_script_begins_after_the_trainer_ended_is_stopped_too(self):
        state, log, took = self.stopped(
            trainer(), ["bash", "-c", "%s train.py; sleep 60; echo never" % sys.executable]
        )
        self.assertIn(b"saved after 1\n", log)
        self.assertNotIn(b"never", log)
        self.assertLess(took, 15)

    def test_the_program_of_a_process_is_that_of_its_script_or_module(self):
        for words, name in (
            (["/usr/bin/python3.11", "-u", "/env/bin/torchrun", "--nproc", "2"], "torchrun"),
            (["python", "-X", "dev", "-m", "torch.distributed.run", "x.py"], "torchrun"),
            (["python", "-m", "accelerate.commands.launch"], "accelerate"),
            (["/opt/conda/bin/python", "/opt/conda/bin/conda", "run"], "conda"),
            (["python3", "-c", "x", "torchrun"], "python3"),
            (["-bash"], "bash"),
            (["uv", "run", "x"], "uv"),
            ([], ""),
            (["python", "-m"], ""),
            (["npm run train"], "npm"),
            (["python", "train.py", "-c", "x.yaml"], "train"),
            (["python"], "python"),
            (["python", "dir/train.py", "torchrun"], "train"),
        ):
            self.assertEqual(leader.program(words), name, words)


class CutTest(Trainings):
    def test_only_a_signal_cuts_an_attempt_off(self):
        for script, command, cut in (
            ("", None, False),
            ("raise SystemExit(3)", None, False),
            ("1 / 0", None, False),
            ("import os; os.kill(os.getpid(), 9)", None, True),
            (
                "import os; os.kill(os.getpid(), 11)",
                ["sh", "-c", "%s train.py; exit $?" % sys.executable],
                True,
            ),
        ):
            more = {"script": None, "command": command} if command else {}
            state, _ = self.train(script, runKey=script, **more)
            self.assertEqual(state["attempts"][-1]["cut"], cut, (script, state))

    @unittest.skipUnless(LINUX, "command lines are read from /proc")
    def test_a_launcher_that_fails_may_have_lost_a_worker(self):
        torchrun = os.path.join(self.root, "torchrun")
        os.symlink(shutil.which("bash"), torchrun)
        # The supervisor is a fork of this process.
        every, child_process.LAUNCHER_POLL_S = child_process.LAUNCHER_POLL_S, 0
        self.addCleanup(setattr, child_process, "LAUNCHER_POLL_S", every)
        for code, cut in ((1, True), (0, False)):
            state, _ = self.train(
                "",
                runKey=str(code),
                script=None,
                command=[torchrun, "-c", "sleep 3; exit %d" % code],
            )
            self.assertEqual(state["attempts"][-1]["cut"], cut)


class LeftTest(Trainings):
    def background(self, script, then=""):
        return self.train(
            script,
            script=None,
            command=["bash", "-c", "%s train.py > work.log 2>&1 &\n%s" % (sys.executable, then)],
        )

    def test_a_command_that_leaves_its_training_in_the_background_has_failed(self):
        state, log = self.background("import time; time.sleep(60)")
        self.assertEqual(
            (state["outcome"], state["failure"]["code"], state["exitCode"]),
            ("failed", "LEFT_RUNNING", 0),
        )
        self.assertIn("train.py", state["failure"]["message"])
        self.assertIn(b"The command ended and left a process running", log)
        self.assertIn(b"with `wait`", log)

    @unittest.skipUnless(LINUX, "open files are read from /proc")
    def test_a_command_whose_background_process_still_writes_results_has_failed(self):
        for where in ("NX_EC2_OUTPUT_DIR", "NX_EC2_CHECKPOINT_DIR"):
            state, _ = self.background(
                "import os, time; f = open(os.environ['%s'] + '/model', 'w'); open('up', 'w').close(); time.sleep(60)"
                % where,
                "until [ -e up ]; do sleep 0.05; done; echo x > $NX_EC2_OUTPUT_DIR/other",
            )
            self.assertEqual(
                (state["outcome"], (state["failure"] or {}).get("code")),
                ("failed", "LEFT_RUNNING"),
                where,
            )

    def test_a_helper_process_that_is_left_in_the_background_is_a_warning(self):
        state, log = self.background(
            "import time; time.sleep(60)", "echo weights > $NX_EC2_OUTPUT_DIR/model"
        )
        self.assertEqual((state["outcome"], state["failure"]), ("succeeded", None))
        self.assertEqual(len(state["warnings"]), 1)
        self.assertIn("train.py", state["warnings"][0])
        self.assertIn(state["warnings"][0].encode(), log)
        self.assertTrue(state["attempts"][-1]["cut"])

    def test_a_process_that_ends_within_a_second_is_not_reported_as_left(self):
        state, log = self.background("import time; time.sleep(0.2)")
        self.assertEqual((state["outcome"], state["warnings"]), ("succeeded", []))
        self.assertNotIn(b"left", log)

    def test_a_secret_on_a_command_line_is_not_shown(self):
        state, log = self.train(
            "",
            script=None,
            command=["bash", "-c", "bash -c 'sleep 60; true' x $TOKEN &"],
            env={"TOKEN": "s3cret-value"},
            mask=["TOKEN"],
        )
        self.assertIn(b"***", log)
        for text in (log.decode(), state["failure"]["message"]):
            self.assertNotIn("s3cret", text)

    def test_processes_that_remote_exec_leaves_are_reported_and_stopped(self):
        self.train("")
        script = "nohup sleep 987 > /dev/null 2>&1 & echo $!; exit 3"
        plan = self.exec_plan(["sh", "-c", script], grace=1)
        self.assertTrue(main.run(plan, self.root)["ok"])
        state, log = self.end(plan["exec"]["id"])
        self.assertEqual((state["outcome"], state["exitCode"]), ("failed", 3))
        self.assertIn(
            b"The command ended and left a process running (sleep 987); it was stopped.", log
        )
        self.assertEqual(processes.family(int(log.split()[0])), [])

    def test_only_some_of_many_left_processes_are_named(self):
        many = left_processes.Left()
        many.commands = ["a", "b", "c", "d", "e"]
        self.assertEqual(many.what(), "left 5 processes running (a, b, c, …)")


class OpenFilesTest(Trainings):
    def test_a_training_may_open_as_many_files_as_the_hard_limit_says(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Lower than the hard limit, and more than other tests of this process have open.
        lower = 4096 if hard == resource.RLIM_INFINITY or hard > 4096 else hard - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
        try:
            _, log = self.train(
                "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(log.decode().strip(), str((hard, hard)))

    def test_a_training_may_lock_memory_without_a_limit_or_up_to_the_hard_one(self):
        number = resource.RLIMIT_MEMLOCK
        before, inf = resource.getrlimit(number), resource.RLIM_INFINITY
        lower = 1 << 16
        try:
            # A hard limit that only some may raise.
            resource.setrlimit(number, (lower, before[1] if before[1] != inf else 1 << 26))
            _, hard = resource.getrlimit(number)
            may_raise = self.may_raise(number, hard)
            _, log = self.train(
                "import resource; print(resource.getrlimit(resource.RLIMIT_MEMLOCK))"
            )
        finally:
            with contextlib.suppress(ValueError):
                resource.setrlimit(number, before)
        wanted = inf if may_raise else hard
        self.assertEqual(log.decode().strip(), str((wanted, wanted)))

    def may_raise(self, number, hard):
        """Whether this process may raise a hard limit."""
        limits = resource.getrlimit(number)
        try:
            resource.setrlimit(number, (limits[0], resource.RLIM_INFINITY))
        except ValueError:
            return False
        resource.setrlimit(number, (limits[0], hard))
        return True


if __name__ == "__main__":
    unittest.main()
