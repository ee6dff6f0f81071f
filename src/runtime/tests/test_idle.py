"""When an instance counts as idle: by its processors, GPUs, network and shells. The samples are the
test's, the processes are real.
"""

import base64
import os
import subprocess
import sys
import time
import unittest
import uuid
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401  makes the package importable

from nx_ec2_runtime.watchdog import idle

# A worker of Session Manager's as it looks in /proc, and what it runs.
WORKER = """
import subprocess, sys
with open("/proc/self/comm", "w") as file: file.write("ssm-session-wor")
subprocess.call(sys.argv[1:])
"""


class Sampler:
    def __init__(self):
        self.host = {"cpu": 1.0, "cores": 4, "networkIn": 0, "networkOut": 0}
        self.gpus = None

    def sample(self):
        return {"host": self.host, "gpus": self.gpus}


class IdleTest(unittest.TestCase):
    def setUp(self):
        self.now, self.sampler = 0.0, Sampler()
        self.it = idle.Idle("/", 400, local=None, clock=lambda: self.now, sampler=self.sampler)

    def windows(self, count=1):
        for _ in range(count):
            self.now += 60
            since = self.poll()
        return since

    def poll(self):
        """One look, without the sessions that other tests have open on this machine at the same
        time.
        """
        with mock.patch.object(idle, "open_session", return_value=None):
            return self.it.poll()

    def test_is_quiet_from_the_beginning(self):
        self.assertEqual(self.windows(3), 0.0)

    def test_is_quiet_again_from_the_first_quiet_window_on(self):
        self.sampler.host["cpu"] = 30.0
        self.assertIsNone(self.windows(2))
        self.assertEqual(self.it.why, "processors at 30.0 %")
        self.sampler.host["cpu"] = 1.0
        self.assertEqual(self.windows(2), 120)

    def test_samples_at_most_once_per_window(self):
        self.sampler.host["cpu"] = 90.0
        self.now += 30
        self.assertEqual(self.poll(), 0.0)

    def test_load_on_one_of_many_processors_is_not_idle(self):
        self.sampler.host.update(cpu=1.1, cores=96)
        self.assertIsNone(self.windows())
        self.sampler.host.update(cpu=0.3)
        self.assertEqual(self.windows(), 60)

    def test_gpu_load_or_network_traffic_is_not_idle(self):
        self.sampler.gpus = [{"index": 0, "utilization": 0.0}, {"index": 1, "utilization": 40.0}]
        self.assertIsNone(self.windows())
        self.assertEqual(self.it.why, "GPU 1 at work")
        self.sampler.gpus = [{"index": 0, "utilization": None}]
        self.assertEqual(self.windows(), 60)
        self.sampler.host["networkIn"] = 5e6
        self.assertIsNone(self.windows())

    def test_unknown_values_count_as_idle(self):
        self.sampler.host = dict.fromkeys(self.sampler.host)
        self.assertEqual(self.windows(5), 0.0)

    def session(self, *command):
        """A session's worker, whose mark is `mark`, with a process of its own."""
        mark = "NX_EC2_TEST_MARK=%s" % uuid.uuid4()
        name, value = mark.split("=")
        child = subprocess.Popen(
            [sys.executable, "-c", WORKER] + list(command), env=dict(os.environ, **{name: value})
        )
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        deadline = time.monotonic() + 20
        while len(idle.processes.family(child.pid)) < 2:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        return mark

    def test_an_open_shell_is_not_idle(self):
        mark = self.session("sleep", "60")
        self.assertEqual(idle.open_session(mark), "a session is open")
        # A whole instance: every session counts.
        self.assertEqual(idle.open_session(None), "a session is open")
        self.now += 60
        self.assertIsNone(self.it.poll())
        self.assertEqual(self.it.why, "a session is open")
        self.assertIsNone(idle.open_session("NX_EC2_TEST_MARK=another"))

    def test_following_a_log_counts_as_idle(self):
        start = "import base64,sys;exec(base64.b64decode(sys.argv.pop(1)))"
        code = base64.b64encode(b"import time;time.sleep(60)").decode()
        self.assertIsNone(idle.open_session(self.session(sys.executable, "-c", start, code)))

    def test_counts_the_time_of_a_local_instances_processes_alone(self):
        mark = "NX_EC2_TEST_MARK=%s" % uuid.uuid4()
        name, value = mark.split("=")
        self.sampler.host.update(cpu=99.0, cores=1)
        it = idle.Idle("/", 4, local=mark, clock=time.monotonic, sampler=self.sampler)
        time.sleep(1.1)
        self.assertIsNotNone(it.poll())
        child = subprocess.Popen(
            [sys.executable, "-c", "while True: pass"], env=dict(os.environ, **{name: value})
        )
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        deadline = time.monotonic() + 120
        while it.poll() is not None:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)


if __name__ == "__main__":
    unittest.main()
