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


PID = os.getpid()


def remove():
    # Processes that a test forked call this when they end, too.
    if os.getpid() == PID:
        shutil.rmtree(HOME)


atexit.register(remove)
