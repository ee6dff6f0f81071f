"""Trainings on a Ray cluster: ray_program.py starts Ray on each node, and the training on the first
one.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile

from ..report.signed_record import SigningKey
from ..system import account as accounts
from ..system import atomic_files, bounded, safe_walk
from . import (
    failure_cause,
    launcher,
    masking,
    ray_logs,
    ray_processes,
    ray_program,
    secret_forms,
)
from .node_address import free_port, node_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Mapping

    from ..system.documents import RunSpec, RunStateFailure
    from .node_variables import Nodes
    from .ray_processes import Settings

# The name by which `leader` knows the program, a directory.
PROGRAM = "nx_ec2_ray"
MODULES = (ray_program, ray_processes, ray_logs, masking, secret_forms)
MAIN = b"import sys\nfrom node.ray_program import main\nmain(*sys.argv[1:])\n"
# How long Ray of the nodes may take to find each other.
JOIN_TIMEOUT_S = 300
# The path of a socket has 107 bytes at most, of which Ray appends more than 70 to its directory.
TEMPORARY = "/tmp"
# In the project: Ray's own logs of a node whose training has failed.
LOGS = "ray-logs"
# What the variables begin with that tell Ray who may connect.
AUTH = "RAY_AUTH_"
MAX_RECORD_BYTES = 65536
MAX_FAILURE_LENGTH = 2000


class RayLaunch(launcher.Launch):
    """One attempt of a training on a Ray cluster. `temp`: the directory of Ray's sessions, while
    the attempt lasts.
    """

    temp: str | None = None

    def variables(self) -> dict[str, str]:
        """The token without which nothing connects to this cluster. Without a word about it, Ray
        2.60 asks for a token where its head finds one in the home directory, which the other nodes
        and the driver then do not send.
        """
        if any(name.startswith(AUTH) for name in (*self.spec["env"], *self.spec["secrets"])):
            return {}
        if self.nodes:
            token = SigningKey(self.spec).token(self.id)
        else:
            token = secrets.token_hex(32)
        return {AUTH + "MODE": "token", AUTH + "TOKEN": token}

    def prepare(self, run_dir: str, account: pwd.struct_passwd) -> None:
        directory = os.path.join(run_dir, "ray")
        program = os.path.join(directory, PROGRAM)
        os.makedirs(os.path.join(program, "node"), exist_ok=True)
        atomic_files.write_atomically(os.path.join(program, "__main__.py"), MAIN)
        for module in MODULES:
            name = module.__name__.rpartition(".")[2] + ".py"
            launcher.write_program(os.path.join(program, "node", name), module)
        launcher.make_records(os.path.join(directory, self.id), account)
        self.temp = tempfile.mkdtemp(prefix="nx-ec2-ray-", dir=TEMPORARY)
        accounts.own(self.temp, account)

    def line(self, command: list[str], run_dir: str) -> list[str]:
        before = launcher.entering_words(self.spec, command)
        program = os.path.join(run_dir, "ray", PROGRAM)
        settings = json.dumps(self.settings(run_dir))
        python = launcher.python_of(self.spec)
        return [*before, python, "-I", program, settings, *command[len(before) :]]

    def settings(self, run_dir: str) -> Settings:
        """What the program is told."""
        nodes = self.nodes
        addresses = nodes.addresses if nodes else [node_address()]
        host = addresses[0]
        port = nodes.rendezvous["port"] if nodes else free_port(host)
        address = "%s:%d" % ("[%s]" % host if ":" in host else host, port)
        rank = nodes.rank if nodes else 0
        return {
            "rank": rank,
            "addresses": addresses,
            "address": address,
            "options": self._start_options(rank, addresses[rank], address),
            "door": [host, nodes.rendezvous["masterPort"] if nodes else free_port(host)],
            "grace": self.spec["gracePeriod"],
            "joinTimeout": JOIN_TIMEOUT_S,
            "temp": self.temp or "",
            "record": os.path.join(run_dir, "ray", self.id),
            "logs": os.path.join(run_dir, "work", self.spec["projectRoot"], LOGS),
            "secrets": [*self.spec["secrets"], *self.spec["mask"]],
        }

    def _start_options(self, rank: int, own_address: str, address: str) -> list[str]:
        """The options of `ray start`. Two runs on one instance must not meet at a port: Ray takes
        one that is free where 0 is said.
        """
        cores = self.spec["limits"]["cores"] or len(os.sched_getaffinity(0))
        if rank:
            own = ["--address=" + address]
        else:
            own = [
                "--head",
                "--port=" + address.rpartition(":")[2],
                "--dashboard-host=127.0.0.1",
            ]
        return [
            *own,
            "--node-ip-address=" + own_address,
            "--num-cpus=%d" % cores,
            "--num-gpus=%d" % self.gpus,
            '--resources={"%s%d": 1}' % (ray_processes.NODE_RESOURCE, rank),
            *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
            "--temp-dir=%s" % self.temp,
            "--disable-usage-stats",
            "--block",
        ]

    def ended(self, run_dir: str, account: pwd.struct_passwd) -> list[launcher.Rank]:
        return []

    def failure(self, run_dir: str, account: pwd.struct_passwd) -> RunStateFailure | None:
        directory = os.path.join(run_dir, "ray", self.id)
        try:
            descriptor = safe_walk.open_file(directory, "failure.json", account)
            with open(descriptor, "rb") as file:
                found: Any = bounded.parse(file.read(MAX_RECORD_BYTES))
            message = str(found["failure"])[:MAX_FAILURE_LENGTH]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return failure_cause.failure("RAY_NOT_STARTED", message, 1)

    def clean(self) -> None:
        if self.temp:
            shutil.rmtree(self.temp, ignore_errors=True)


def of(
    spec: RunSpec, record: Mapping[str, Any], nodes: Nodes | None = None
) -> launcher.Launch | None:
    """How a training is launched; None where its command is run as it is."""
    wanted = spec.get("launcher")
    if wanted and wanted["name"] == "ray":
        return RayLaunch(spec, wanted, record, nodes=nodes)
    return launcher.of(spec, record, nodes)
