"""The program of a rank: what happens to signals that come while it starts the training."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401 (puts the runtime on the path)

from nx_ec2_runtime.run import rank_program

# Signals itself when the training's process is made, and so while signals are blocked.
PROGRAM = """
import os, signal, subprocess, sys
sys.argv[:] = sys.argv[1:]
start = subprocess.Popen
def popen(*args, **options):
    process = start(*args, **options)
    os.kill(os.getpid(), signal.SIGTERM)
    return process
subprocess.Popen = popen
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))
"""


class RankProgramTest(unittest.TestCase):
    def test_a_signal_that_comes_while_the_training_is_started_is_passed_on(self):
        with tempfile.TemporaryDirectory() as directory:
            program = [sys.executable, "-c", PROGRAM, rank_program.__file__, directory]
            ended = subprocess.run(
                [*program, "sleep", "600"],
                env=dict(os.environ, RANK="0", LOCAL_RANK="0"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=300,
                check=False,
            )
            self.assertEqual((ended.stdout, ended.returncode), (b"", 128 + signal.SIGTERM))
            with open(os.path.join(directory, "0.json")) as file:
                record = json.load(file)
            self.assertEqual((record["signal"], record["told"]), (signal.SIGTERM, True))


if __name__ == "__main__":
    unittest.main()
