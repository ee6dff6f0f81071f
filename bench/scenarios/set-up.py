"""How long the set-up of a requirements file takes on a new instance, and with one package more: python3 bench/scenarios/set-up.py pip|uv PACKAGE … +PACKAGE"""
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time

top = tempfile.mkdtemp(prefix="nx-ec2-set-up-")
shutil.copytree(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "runtime"), os.path.join(top, "nx_ec2_runtime"))
sys.path.insert(0, top)
from nx_ec2_runtime.python_env import environment  # noqa: E402

installer, packages = sys.argv[1], [each for each in sys.argv[2:] if not each.startswith("+")]
later = [each[1:] for each in sys.argv[2:] if each.startswith("+")]
root = os.path.join(top, "root")


def process(line, variables, cwd, look):
    child = subprocess.Popen(line, executable=shutil.which(line[0], path=variables["PATH"]), env=variables, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while child.poll() is None:
        look()
        time.sleep(0.1)
    return child.returncode


def set_up(name, packages):
    home = os.path.join(root, "runs", name)
    work = os.path.join(home, "work")
    os.makedirs(work)
    with open(os.path.join(work, "requirements.txt"), "w") as file:
        file.write("\n".join(packages) + "\n")
    part = {
        "environment": {"manager": "pip", "root": "", "file": "requirements.txt", "locked": False}, "projectRoot": "", "packageIndex": None, "installer": installer,
        "setup": None, "script": "x.py", "command": None, "args": [], "env": {}, "caller": "bench",
    }
    # Caches of this machine's user are none of a new instance's.
    variables = dict(os.environ, HOME=top, PIP_CACHE_DIR=os.path.join(top, "pip"))
    began = time.monotonic()
    environment.Setup(root, home, part, project=work, work=work, account=pwd.getpwuid(os.geteuid()), variables=variables).run(process, lambda text: print("  " + text), time.sleep)
    print("%s, %s: %.1f s" % (installer, name, time.monotonic() - began), flush=True)


try:
    os.makedirs(root)
    set_up("first", packages)
    set_up("again", packages + later)
finally:
    shutil.rmtree(top)
