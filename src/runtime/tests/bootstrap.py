"""The bootstrap, as a command of the client has it: on the standard input of `python3 -c`."""

import base64
import json
import os
import resource
import subprocess
import sys
import zlib

RUNTIME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def source():
    with open(os.path.join(RUNTIME, "bootstrap.py"), encoding="utf-8") as file:
        return file.read()


def functions():
    """What the bootstrap defines before it reads its request."""
    text, names = source(), {}
    exec(text[: text.index("os.umask")], names)
    return names


def packed():
    """The runtime as it is stored, from the sources."""
    modules = {}
    for at, directories, names in os.walk(RUNTIME):
        directories[:] = [name for name in directories if name not in ("tests", "__pycache__")]
        for name in names:
            path = os.path.relpath(os.path.join(at, name), RUNTIME)
            if name.endswith(".py") and path != "bootstrap.py":
                with open(os.path.join(at, name), encoding="utf-8") as file:
                    modules[path] = file.read()
    return zlib.compress(json.dumps({"format": 1, "modules": modules}).encode())


def packed_plan(plan):
    return base64.b64encode(zlib.compress(json.dumps(plan).encode())).decode()


def run(request, flags=("-I", "-S", "-B"), limit=None):
    """(reply, standard error) of one command. `limit`: bytes that a file that it writes may have,
    as on a full disk.
    """
    done = subprocess.run(
        [sys.executable, *flags, "-c", source()],
        input=base64.b64encode(json.dumps(request).encode()) + b"\n",
        capture_output=True,
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
        timeout=120,
    )
    marked = [each for each in done.stdout.decode().splitlines() if each.startswith("NX-EC2 ")]
    if not marked:
        raise AssertionError(done.stderr.decode())
    return json.loads(marked[-1][7:]), done.stderr.decode()
