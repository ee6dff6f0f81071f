"""A stand-in for torch that has nothing but torchrun: the same command line, the same variables for
its processes, the same signals, and 1 as its exit code whatever a process of it ends with.
"""

import os

SOURCE = r"""
import argparse, os, signal, socket, subprocess, sys, time

parser = argparse.ArgumentParser(prog="torchrun", allow_abbrev=False)
for name, default in (
    ("nnodes", "1"), ("nproc_per_node", "1"), ("max_restarts", "0"), ("rdzv_backend", "static"),
    ("rdzv_endpoint", ""), ("rdzv_id", "none"), ("local_addr", None), ("node_rank", "0"),
):
    names = ["--" + name, "--" + name.replace("_", "-")]
    parser.add_argument(*names, default=os.environ.get("PET_" + name.upper(), default))
parser.add_argument("--no_python", "--no-python", action="store_true")
parser.add_argument("program")
parser.add_argument("arguments", nargs=argparse.REMAINDER)
given = parser.parse_args()
count = int(given.nproc_per_node)
nodes, node = int(given.nnodes), int(given.node_rank)
if nodes > 1 and given.rdzv_backend != "static":
    sys.exit("ranks of nodes are those of their addresses")
if "OMP_NUM_THREADS" not in os.environ and count > 1:
    os.environ["OMP_NUM_THREADS"] = "1"
address = given.local_addr or socket.getfqdn()
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
if nodes > 1:
    address, _, port = given.rdzv_endpoint.rpartition(":")
words = ([] if given.no_python else [sys.executable, "-u"]) + [given.program] + given.arguments
timeout = float(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "30"))


class Told(Exception):
    pass


def told(number, _):
    raise Told(number)


def close(workers, number, timeout):
    for each in workers:
        if each.poll() is None:
            os.killpg(each.pid, number)
    deadline = time.monotonic() + timeout
    while any(each.poll() is None for each in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    for each in workers:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
            each.wait()


for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, told)
workers = []
try:
    for rank in range(count):
        own = dict(
            os.environ,
            RANK=str(node * count + rank), LOCAL_RANK=str(rank), GROUP_RANK=str(node),
            WORLD_SIZE=str(count * nodes), LOCAL_WORLD_SIZE=str(count),
            MASTER_ADDR=address, MASTER_PORT=str(port),
            TORCHELASTIC_RUN_ID=given.rdzv_id, TORCHELASTIC_RESTART_COUNT="0",
        )
        workers.append(subprocess.Popen(words, env=own, start_new_session=True))
    while True:
        codes = [each.poll() for each in workers]
        if any(codes):
            close(workers, signal.SIGTERM, 30)
            print("torchrun: FAILED", codes, file=sys.stderr)
            sys.exit(1)
        if None not in codes:
            sys.exit(0)
        time.sleep(0.02)
except Told as stop:
    close(workers, stop.args[0], timeout)
    print("torchrun: got signal", stop.args[0], file=sys.stderr)
    sys.exit(1)
"""


def write(directory):
    """Writes the package into a directory, which belongs on PYTHONPATH."""
    package = os.path.join(directory, "torch", "distributed")
    os.makedirs(package, exist_ok=True)
    for path in ("torch/__init__.py", "torch/distributed/__init__.py"):
        with open(os.path.join(directory, path), "w"):
            pass
    with open(os.path.join(package, "run.py"), "w") as file:
        file.write(SOURCE)
    return directory
