"""Every process that a training starts is ended with its run, also one that forks all the time,
leaves its session or clears its environment.
"""

import os
import signal
import subprocess
import sys
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from runs import Trainings

from nx_ec2_runtime import main
from nx_ec2_runtime.run import child_process
from nx_ec2_runtime.run import exec as executions
from nx_ec2_runtime.system import cgroup, leader, left_processes, process_group, processes

LINUX = os.path.isdir("/proc/self")
# Forks and ends by turns, in `chains` chains, for half a minute at the most; each that lives counts
# in the file. `detach` is done by each.
STORM = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
until, counter = time.monotonic() + 30, os.open(%(counter)r, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def chain():
    while time.monotonic() < until:
        %(detach)s
        os.write(counter, b".")
        if os.fork():
            os._exit(0)
for _ in range(%(chains)d):
    if not os.fork():
        chain()
        os._exit(0)
while os.fstat(counter).st_size < 100:
    time.sleep(0.01)
print("storm", flush=True)
%(then)s
"""
# A daemon: orphaned, in a session of its own, without a variable of ours, which says its number and
# does `work`.
DAEMON = """
import os, sys, time
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execve(sys.executable, [sys.executable, "-c", %r], {})
time.sleep(%s)
"""


def daemon(work="", seconds=60):
    """`seconds`: so long lives what starts it."""
    return DAEMON % (
        "import os, time\n%s\nprint(os.getpid(), flush=True)\ntime.sleep(60)" % work,
        seconds,
    )


def grouped():
    """Whether a control group can be made here."""
    home = os.path.join("/tmp", "nx-ec2-probe-%d" % os.getpid())
    os.makedirs(home)
    group = cgroup.create(home)
    if group:
        group.remove()
        os.unlink(os.path.join(home, cgroup.NOTE))
    os.rmdir(home)
    return group is not None


GROUPED = LINUX and grouped()


class Ending(Trainings):
    """With no control group, as on kernels that have none."""

    def setUp(self):
        super().setUp()
        if not self.grouped:
            patch = mock.patch.object(cgroup, "create", lambda home: None)
            patch.start()
            self.addCleanup(patch.stop)
        self.counter = os.path.join(self.root, "counter")

    grouped = False

    def storm(self, detach="pass", chains=2, then="time.sleep(60)"):
        return STORM % {"counter": self.counter, "detach": detach, "chains": chains, "then": then}

    def cancel(self, script, ready):
        run = self.start(script)
        _, log = self.until(run["id"], lambda state, log: ready(log))
        main.run({"v": 1, "op": "cancel", "run": run["id"], "gracePeriod": 0.3}, self.root)
        return self.end(run["id"])[0], log

    def assert_over(self):
        """Nothing counts any more."""
        size = os.path.getsize(self.counter)
        time.sleep(0.5)
        self.assertEqual(os.path.getsize(self.counter), size)


@unittest.skipUnless(LINUX, "needs /proc")
class DetachedTest(Ending):
    def test_a_cancel_ends_a_fork_storm_in_one_session(self):
        state, _ = self.cancel(self.storm(), lambda log: b"storm" in log)
        self.assertEqual((state["outcome"], state["warnings"]), ("cancelled", []))
        self.assert_over()

    def test_a_cancel_ends_a_fork_storm_in_new_sessions(self):
        state, _ = self.cancel(self.storm("os.setsid()"), lambda log: b"storm" in log)
        self.assertEqual((state["outcome"], state["warnings"]), ("cancelled", []))
        self.assert_over()

    def test_a_fork_storm_ends_with_the_script_that_left_it(self):
        state, _ = self.train(self.storm("os.setsid()", then=""))
        self.assertEqual(state["exitCode"], 0)
        self.assert_over()

    def test_a_cancel_ends_an_orphan_without_the_run_s_variables(self):
        state, log = self.cancel(daemon(), lambda log: log.endswith(b"\n"))
        self.assertEqual(state["outcome"], "cancelled")
        self.assertEqual(processes.family(int(log)), [])

    def test_a_cancel_ends_a_training_that_another_process_traces(self):
        run = self.start("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)")
        _, log = self.until(run["id"], lambda state, log: log.endswith(b"\n"))
        # PTRACE_SEIZE: the end of the training is told to the tracer alone, which never asks.
        trace = (
            "import ctypes, time\nprint(ctypes.CDLL(None).ptrace(0x4206, %d, 0, 0), flush=True)\ntime.sleep(60)"
            % int(log)
        )
        with subprocess.Popen([sys.executable, "-c", trace], stdout=subprocess.PIPE) as tracer:
            try:
                if tracer.stdout.readline() != b"0\n":
                    self.skipTest("processes may not be traced here")
                with mock.patch.object(child_process, "KILL_REPORT_TIMEOUT_S", 0.2):
                    main.run(
                        {"v": 1, "op": "cancel", "run": run["id"], "gracePeriod": 0.3}, self.root
                    )
                    state = self.end(run["id"])[0]
            finally:
                tracer.kill()
        self.assertEqual(
            (state["outcome"], state["failure"], state["signal"]), ("cancelled", None, "SIGKILL")
        )

    def test_the_limit_of_memory_holds_for_an_orphan(self):
        state, _ = self.train(
            daemon("held = b'x' * (300 << 20)"), limits={"memory": 150 << 20, "cores": None}
        )
        self.assertEqual((state["outcome"], state["failure"]["code"]), ("failed", "OUT_OF_MEMORY"))

    def test_ended_orphans_are_reaped_while_a_training_runs(self):
        script = "import os, time\nfor _ in range(50):\n    if not os.fork():\n        os.fork()\n        os._exit(0)\n    os.wait()\nprint('forked', flush=True)\ntime.sleep(60)"
        run = self.start(script)
        self.until(run["id"], lambda state, log: b"forked" in log)

        def zombies():
            ours = [
                pid for pid, parent in processes.proc_pairs(but=()) if parent == run["supervisor"]
            ]
            return set(ours).difference(
                pid for pid, parent in processes.proc_pairs() if parent == run["supervisor"]
            )

        deadline = time.monotonic() + 20
        while zombies() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(zombies(), set())
        main.run({"v": 1, "op": "cancel", "run": run["id"], "gracePeriod": 0.1}, self.root)
        self.end(run["id"])

    def test_remote_exec_leaves_no_orphan(self):
        self.train("")
        plan = self.exec_plan([sys.executable, "-c", daemon(seconds=1)], grace=0.3)
        reply = main.run(plan, self.root)
        self.assertTrue(reply["ok"], reply)
        state, log = self.end(plan["exec"]["id"])
        numbers = [int(line) for line in log.split() if line.isdigit()]
        self.assertEqual((state["state"], len(numbers)), ("ended", 1), log)
        self.assertEqual(processes.family(numbers[0]), [])

    def test_a_command_that_arrives_twice_at_once_runs_once(self):
        self.train("")
        count = os.path.join(self.root, "count")
        plan = self.exec_plan(["sh", "-c", "echo once >> %s" % count], grace=0.3)
        find_target = executions.find_target

        def slowly(*words):
            time.sleep(0.3)
            return find_target(*words)

        def arrive():
            child = os.fork()
            if child == 0:
                with mock.patch.object(executions, "find_target", slowly):
                    os._exit(0 if main.run(plan, self.root)["ok"] else 1)
            return child

        for child in (arrive(), arrive()):
            self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.end(plan["exec"]["id"])
        with open(count) as file:
            self.assertEqual(file.read(), "once\n")


@unittest.skipUnless(GROUPED, "needs a control group, version 2, that this user may make")
class GroupedTest(DetachedTest):
    grouped = True

    def test_every_process_of_a_killed_supervisor_is_ended(self):
        run = self.start(daemon())
        _, log = self.until(run["id"], lambda state, log: log.endswith(b"\n"))
        path = cgroup.of_run(run["directory"]).path
        self.assertIn(int(log), cgroup.Cgroup(path).pids())
        os.kill(run["supervisor"], signal.SIGKILL)
        state, _ = self.until(run["id"], lambda state, log: state["state"] == "ended")
        self.assertEqual((state["outcome"], processes.family(int(log))), ("lost", []))
        self.assertFalse(os.path.exists(path))

    def test_a_fork_storm_of_a_killed_supervisor_is_ended(self):
        run = self.start(self.storm("os.setsid(); os.environ.clear()"))
        self.until(run["id"], lambda state, log: b"storm" in log)
        os.kill(run["supervisor"], signal.SIGKILL)
        self.until(run["id"], lambda state, log: state["state"] == "ended")
        self.assert_over()

    def test_no_control_group_is_left(self):
        run = self.start("")
        self.end(run["id"])
        self.assertIsNone(cgroup.of_run(run["directory"]))


def state_of(pid):
    with open("/proc/%d/stat" % pid, "rb") as file:
        return file.read().rpartition(b")")[2].split()[0]


@unittest.skipUnless(LINUX, "needs /proc")
class ProcessesTest(unittest.TestCase):
    def test_a_process_whose_first_thread_has_ended_counts_as_alive(self):
        # The call `exit` of Linux ends one thread; 60 on x86-64, 93 on others.
        work = "import ctypes, os, threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)"
        with subprocess.Popen([sys.executable, "-c", work]) as started:
            try:
                deadline = time.monotonic() + 30
                while state_of(started.pid) != b"Z" and time.monotonic() < deadline:
                    time.sleep(0.01)
                self.assertEqual(
                    (state_of(started.pid), processes.family(started.pid)), (b"Z", [started.pid])
                )
            finally:
                started.kill()

    def test_a_process_that_can_not_be_killed_is_reported_after_a_timeout(self):
        child = subprocess.Popen(["sleep", "60"], start_new_session=True)
        try:
            it = process_group.Processes(lambda: [child.pid])
            with mock.patch.object(processes, "send", lambda pid, number: None):
                self.assertEqual(it.kill(patience=0.2), [child.pid])
        finally:
            child.kill()
            child.wait()

    def test_a_process_that_can_not_be_killed_is_named_with_advice(self):
        child = subprocess.Popen(["sleep", "60"])
        try:
            deadline = time.monotonic() + 20
            while leader.arguments(child.pid) != ["sleep", "60"] and time.monotonic() < deadline:
                time.sleep(0.01)
            found = left_processes.Left([child.pid])
            self.assertEqual(
                found.unkilled(),
                "A process could not be killed and may still use the instance (sleep 60). Restart the instance to end it.",
            )
        finally:
            child.kill()
            child.wait()

    def test_an_excluded_child_and_its_family_are_not_ended(self):
        kept = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)
        other = subprocess.Popen(["sleep", "60"], start_new_session=True)
        try:
            deadline = time.monotonic() + 20
            while len(processes.family(kept.pid)) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            family = processes.family(kept.pid)
            self.assertEqual(process_group.Descendants(kept.pid, other.pid).end(20), [])
            self.assertEqual(other.wait(), -signal.SIGTERM)
            self.assertEqual(processes.family(kept.pid), family)
        finally:
            for pid in processes.family(kept.pid):
                processes.send(pid, signal.SIGKILL)
            kept.wait()

    def test_the_exit_status_of_a_child_can_still_be_awaited(self):
        child = subprocess.Popen(
            ["sh", "-c", "trap '' TERM; echo; sleep 60 & wait; sleep 60"],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        child.stdout.readline()
        self.assertEqual(process_group.Descendants(None, child.pid).end(0.1), [])
        self.assertEqual(child.wait(), -signal.SIGKILL)
        child.stdout.close()


if __name__ == "__main__":
    unittest.main()
