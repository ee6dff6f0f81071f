"""Makes the runtime importable as the package that it is on an instance; for all tests of a
process, as long as that lives.
"""

import atexit
import os
import shutil
import sys
import tempfile

HOME = tempfile.mkdtemp()
os.symlink(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    os.path.join(HOME, "nx_ec2_runtime"),
)
sys.path.insert(0, HOME)
# The machine's own directory is not the tests' to write to.
os.environ["NX_EC2_RUN_DIRECTORY"] = os.path.join(HOME, "run")


PID = os.getpid()


def remove():
    # Processes that a test forked call this when they end, too.
    if os.getpid() == PID:
        shutil.rmtree(HOME)


atexit.register(remove)
