"""Ray's processes on a node, and the one that asks Ray for its nodes: a part of the program of
ray_program.py.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class Settings(TypedDict):
        """What the program is told. `grace` and `joinTimeout` are seconds; `temp` is the directory
        of Ray's sessions, `door` the host and port of the first node's door, `record` the directory
        of the program's own record, and `logs` the one for Ray's logs of a failed training. The
        values of the variables that `secrets` names are masked there.
        """

        rank: int
        addresses: list[str]
        address: str
        options: list[str]
        door: list[Any]
        grace: float
        joinTimeout: float
        temp: str
        record: str
        logs: str
        secrets: list[str]


# Signals that end it, or that it leaves to the training.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# PR_SET_CHILD_SUBREAPER of Linux.
SET_CHILD_SUBREAPER = 36
POLL_S = 0.2
# How long the first node gets to answer.
ANSWER_TIMEOUT_S = 2.0
# What `ray start` prints when it has started.
STARTED = b"Ray runtime started"
# What it prints when its processes took longer than the 30 s that it gives them, as they may where
# the disk of an instance is read for the first time; no option makes it wait. Then it is started
# again, so often.
TIMED_OUT = b"timed out during startup"
MAX_STARTS = 4
# The resource of each node that tells which one it is.
NODE_RESOURCE = "nx_ec2_node_"
# So much of the end of what Ray has printed is shown.
MAX_LINES, MAX_LINE_LENGTH, LINES_WITHIN_BYTES = 12, 1000, 65536
# How long a process that was killed has to be gone.
KILL_TIMEOUT_S = 5.0
# Draining is for services: when Ray is ended, the training has ended.
WITHOUT_DRAINING = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
# Python puts the current directory first, where a file may be named as a module that Ray imports.
WITHOUT_CURRENT_DIRECTORY = "import sys\nsys.path = [each for each in sys.path if each]\n"
# Ray starts a server for clients outside the cluster where it can: at a port that is the same for
# all runs, and the end of this server would be that of Ray. No option prevents that.
START = (
    WITHOUT_CURRENT_DIRECTORY
    + """
from ray.scripts import scripts
scripts.get_ray_client_dependency_error = lambda: "not wanted"
scripts.main()
"""
)
# Prints the resources of the nodes that are alive, until it is ended.
PROBE = """
import json, time
import ray
ray.init(address=sys.argv[1], namespace="nx-ec2", log_to_driver=False, logging_level="ERROR")
while True:
    alive = [name for node in ray.nodes() if node["Alive"] for name in node["Resources"]]
    print(json.dumps(alive), flush=True)
    time.sleep(0.5)
"""


class Failed(Exception):
    """Ray can't be had: the training is not started."""


class Ray:
    """`ray start` and what it starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = os.path.join(settings["temp"], "start-%d.log" % settings["rank"])
        # Of the `ray start` that runs.
        self.pid: int | None = None
        self.begin = self.starts = 0

    def start(self) -> None:
        self.starts += 1
        variables = dict(os.environ, **WITHOUT_DRAINING)
        # The address of the cluster is for the training.
        variables.pop("RAY_ADDRESS", None)
        with open(self.log, "ab") as log:
            self.begin = log.tell()
            # Its end is noticed by `reap`.
            self.pid = subprocess.Popen(
                [sys.executable, "-c", START, "start", *self.settings["options"]],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=default_signals,
            ).pid

    def has_started(self) -> bool:
        return STARTED in self._printed()

    def starts_again(self) -> bool:
        """Starts it once more where it was only too slow to start."""
        if TIMED_OUT not in self._printed() or self.starts >= MAX_STARTS:
            return False
        show("Ray was not ready within its time on this node, and is started again", self)
        self.start()
        return True

    def last_lines(self) -> list[str]:
        text = self._printed()[-LINES_WITHIN_BYTES:].decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        return [line[:MAX_LINE_LENGTH] for line in lines[-MAX_LINES:]]

    def _printed(self) -> bytes:
        with open(self.log, "rb") as log:
            log.seek(self.begin)
            return log.read()

    def reap(self) -> None:
        """Takes leave of the processes that have ended, also of those whose parents have."""
        try:
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self.pid:
                    self.pid = None
        except ChildProcessError:
            self.pid = None

    def end(self) -> None:
        """SIGTERM, the grace period, and SIGKILL for all that is left."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.settings["grace"]
        while self.pid and time.monotonic() < deadline:
            time.sleep(POLL_S / 4)
            self.reap()
        self.kill()

    def kill(self) -> None:
        """Kills all below this process: what loses its parent becomes our child."""
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while time.monotonic() < deadline:
            self.reap()
            left = children()
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(POLL_S / 10)


class RayParent:
    """The process above Ray on the first node. It ends Ray when this one has ended or says so."""

    def __init__(self, ray: Ray) -> None:
        self.ray = ray
        hold, self.hold = os.pipe()
        self.news, tell = os.pipe()
        self.said = b""
        child = os.fork()
        if not child:
            try:
                os.close(self.hold)
                os.close(self.news)
                os.setsid()
                if not os.fork():
                    self._run(hold, tell)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(hold)
        os.close(tell)

    def _run(self, hold: int, tell: int) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        adopt_orphans()
        self.ray.start()
        is_known = False
        while not select.select([hold], [], [], POLL_S)[0]:
            self.ray.reap()
            if not self.ray.pid:
                self.ray.kill()
                if is_known or not self.ray.starts_again():
                    return
            if not is_known and self.ray.has_started():
                os.write(tell, b"started\n")
                is_known = True
        self.ray.end()

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        while select.select([self.news], [], [], timeout_s)[0]:
            data = os.read(self.news, 100)
            if not data:
                return True
            self.said += data
        return False

    def end(self) -> None:
        os.close(self.hold)
        self.has_ended(self.ray.settings["grace"] + KILL_TIMEOUT_S)


class Door:
    """A port of the first node that is open from when Ray has started there until the training has
    ended.
    """

    def __init__(self, settings: Settings) -> None:
        host, port = settings["door"]
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setblocking(False)
        self.socket.bind((host, port))
        self.socket.listen(1024)

    def greet(self) -> None:
        """To be called often: takes leave of those that have looked whether it is open."""
        try:
            while True:
                self.socket.accept()[0].close()
        except OSError:
            pass

    def close(self) -> None:
        self.socket.close()


def is_open(settings: Settings) -> bool | None:
    """Whether the door of the first node is; None where nothing tells."""
    host, port = settings["door"]
    try:
        socket.create_connection((host, port), ANSWER_TIMEOUT_S).close()
        return True
    except ConnectionRefusedError:
        return False
    except OSError:
        return None


class Probe:
    """Asks Ray for its nodes."""

    def __init__(self, settings: Settings) -> None:
        # A file: what Ray prints must not fill a pipe.
        self.errors = os.path.join(settings["temp"], "probe.log")
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WITHOUT_CURRENT_DIRECTORY + PROBE, settings["address"]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                preexec_fn=default_signals,
            )
        assert self.process.stdout
        self.output = self.process.stdout.fileno()
        self.held = b""
        self.names: list[str] = []

    def look(self) -> list[str]:
        """The resources of all nodes that are alive, as far as they are known after a while."""
        if not select.select([self.output], [], [], POLL_S)[0]:
            return self.names
        data = os.read(self.output, 65536)
        if not data:
            with open(self.errors, encoding="utf-8", errors="replace") as errors:
                lines = [line for line in errors.read().splitlines() if line.strip()]
            raise Failed("Ray can't be asked for its nodes: %s" % " | ".join(lines[-MAX_LINES:]))
        *lines, self.held = (self.held + data).split(b"\n")
        for line in lines:
            if line.startswith(b"["):
                self.names = json.loads(line)
        return self.names

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def children() -> list[int]:
    """Our children; on Linux."""
    found: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):
            with open("/proc/self/task/%s/children" % task) as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def adopt_orphans() -> None:
    try:
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        pass


def default_signals() -> None:
    for each in ENDING:
        signal.signal(each, signal.SIG_DFL)


def say(text: str) -> None:
    print("nx-ec2: " + text, flush=True)


def show(text: str, ray: Ray) -> None:
    say(text + ". Its last lines:")
    for line in ray.last_lines():
        say("[ray] " + line)
