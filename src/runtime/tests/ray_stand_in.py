"""A stand-in for Ray: `ray start` with its contract (the head listens, others join it, all block and
have processes of their own), and a driver that can ask for the nodes.
"""

import os

START = r"""
import argparse, json, os, signal, socket, subprocess, sys, threading, time

parser = argparse.ArgumentParser(prog="ray start", allow_abbrev=False)
parser.add_argument("command", choices=["start"])
parser.add_argument("--head", action="store_true")
for name in ("address", "port", "dashboard-host", "ray-client-server-port"):
    parser.add_argument("--" + name)
for name in (
    "node-ip-address", "num-cpus", "num-gpus", "resources", "temp-dir", "min-worker-port",
    "max-worker-port", "dashboard-agent-listen-port",
):
    parser.add_argument("--" + name, required=True)
for name in ("disable-usage-stats", "block"):
    parser.add_argument("--" + name, action="store_true", required=True)


def serve(server, members):
    while True:
        connection, _ = server.accept()
        threading.Thread(target=answer, args=(connection, members), daemon=True).start()


def answer(connection, members):
    # A connection that only looks whether somebody listens says nothing.
    with connection, connection.makefile("rw") as stream:
        line = stream.readline()
        if not line:
            return
        token, member = json.loads(line)
        if token != os.environ["RAY_AUTH_TOKEN"]:
            stream.write("another token\n")
        elif member is None:
            stream.write(json.dumps([{"Alive": True, "Resources": each} for each in members]) + "\n")
        else:
            members.append(member)
            stream.write("joined\n")
            stream.flush()
            try:
                stream.readline()
            except OSError:
                pass
            members.remove(member)


def main():
    given = parser.parse_args()
    assert "RAY_ADDRESS" not in os.environ, "ray start has an address of a cluster"
    assert os.environ["RAY_AUTH_MODE"] == "token", "a file of the home directory decides"
    resources = dict(json.loads(given.resources), CPU=float(given.num_cpus))
    session = os.path.join(given.temp_dir, "session_2026")
    os.makedirs(os.path.join(session, "logs"), exist_ok=True)
    rank = os.environ["NX_EC2_NODE_RANK"]
    with open(os.path.join(session, "logs", "raylet.out"), "w") as log:
        log.write("the raylet of node %s\n" % rank)
        log.write("a worker printed %s\n" % os.environ.get("TOKEN"))
    if os.environ.get("RAY_FAILS") == rank:
        sys.exit("no space in /dev/shm")
    slow = os.path.join(given.temp_dir, "slow")
    if os.environ.get("RAY_IS_SLOW") == rank and not os.path.exists(slow):
        open(slow, "w").close()
        sys.exit("Exception: The current node timed out during startup.")
    if os.environ.get("RAY_STAYS_AWAY") == rank:
        print("Ray runtime started.", flush=True)
        time.sleep(600)
    # What ignores SIGTERM, in a session of its own: as a worker of Ray may.
    stubborn = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(600)"
    subprocess.Popen([sys.executable, "-c", stubborn, "raylet"], start_new_session=True)
    if given.head:
        server = socket.socket()
        server.bind((given.node_ip_address, int(given.port)))
        server.listen()
        threading.Thread(target=serve, args=(server, [resources]), daemon=True).start()
    else:
        host, _, port = given.address.rpartition(":")
        stream = socket.create_connection((host, int(port))).makefile("rw")
        stream.write(json.dumps([os.environ["RAY_AUTH_TOKEN"], resources]) + "\n")
        stream.flush()
        assert stream.readline() == "joined\n"
    print("Ray runtime started.", flush=True)
    while True:
        time.sleep(600)
"""

DRIVER = r"""
import json, os, socket


def init(address=None, **_):
    global cluster
    cluster = address or os.environ["RAY_ADDRESS"]


def nodes():
    host, _, port = cluster.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        with connection.makefile("rw") as stream:
            stream.write(json.dumps([os.environ["RAY_AUTH_TOKEN"], None]) + "\n")
            stream.flush()
            return json.loads(stream.readline())
"""


def write(directory):
    """Writes the package into a directory, which belongs on PYTHONPATH."""
    package = os.path.join(directory, "ray", "scripts")
    os.makedirs(package, exist_ok=True)
    for path, text in (
        ("__init__.py", DRIVER),
        ("scripts/__init__.py", ""),
        ("scripts/scripts.py", START),
    ):
        with open(os.path.join(directory, "ray", path), "w") as file:
            file.write(text)
    return directory
