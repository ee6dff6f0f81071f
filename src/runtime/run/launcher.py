"""Trainings of several processes: torchrun starts them, each through rank_program.py, and what they
record tells how the training ended.
"""

from __future__ import annotations

import os
import re
import shutil

from ..disk.full_disk import tail
from ..system import account as accounts
from ..system import atomic_files, bounded, safe_walk
from . import rank_program
from .signal_name import signal_name
from .training_variables import gpu_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from types import ModuleType
    from typing import Any, Mapping

    from ..system.documents import RunSpec, RunSpecLauncher, RunStateFailure
    from .node_variables import Nodes

# The name by which `leader` knows the program.
PROGRAM = "nx_ec2_rank.py"
TORCHRUN = "torch.distributed.run"
# A record of a rank is smaller; its lines are shown up to these limits.
MAX_RECORD_BYTES = 65536
# A process's last lines are looked for in so much of the end of the log.
LINES_WITHIN_BYTES = 256 * 1024
MAX_LINES, MAX_LINE_LENGTH = 12, 1000
MAX_SIGNAL = 64
# How long torchrun waits for its workers after SIGTERM, at least. The run's own grace period is
# shorter: it ends them all.
SHUTDOWN_TIMEOUT_S = 3600


class Rank:
    """How one process of a training ended. `code`: its exit code, negative for a signal. `told`:
    it was told to end before it did. `lines`: its last ones in the log, of one that failed.
    """

    def __init__(self, number: int, code: int, *, end: int, told: bool) -> None:
        self.number, self.code, self.end, self.told = number, code, end, told
        self.lines: list[str] = []

    def how(self) -> str:
        if self.code < 0:
            return "it was killed by %s" % signal_name(-self.code)
        return "it exited with %d" % self.code


class Launch:
    """One attempt of a training with a launcher. `count`: how many processes it starts on this
    node, of which `first` has the lowest rank, and `total` on all; `nodes`: None for a run on one.
    """

    def __init__(
        self,
        spec: RunSpec,
        launcher: RunSpecLauncher,
        record: Mapping[str, Any],
        *,
        nodes: Nodes | None = None,
    ) -> None:
        self.spec, self.name, self.option = spec, launcher["name"], launcher["option"]
        self.gpus = gpu_count(record)
        wanted = launcher["processes"]
        self.count = max(1, self.gpus) if wanted == "gpu" else int(wanted)
        self.nodes = nodes
        self.total = self.count * (nodes.count if nodes else 1)
        self.first = self.count * nodes.rank if nodes else 0
        self.id = id_of(spec, record)

    def variables(self) -> dict[str, str]:
        """Variables that the configuration overrides."""
        found: dict[str, str] = {}
        if self.count > 1:
            found["OMP_NUM_THREADS"] = str(self.threads())
        if self.option and self.nodes:
            found.update(self.nodes.torchrun_variables(self.id))
        if not self.option:
            found["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(
                max(SHUTDOWN_TIMEOUT_S, int(self.spec["gracePeriod"]))
            )
        return found

    def threads(self) -> int:
        """How many threads each process has for its computations."""
        cores = int(self.spec["limits"]["cores"] or len(os.sched_getaffinity(0)))
        return max(1, cores // self.count)

    def description(self) -> dict[str, str | int]:
        """As in the run's record."""
        return {"name": self.name, "processes": self.count}

    def line(self, command: list[str], run_dir: str) -> list[str]:
        """The command line that starts the processes, by the training's."""
        if self.option:
            at = len(command) - len(program_words(self.spec)) + self.option["position"]
            return [*command[:at], *self._options(command), *command[at:]]
        before = entering_words(self.spec, command)
        program = command[len(before) :]
        python = python_of(self.spec)
        ranks = os.path.join(run_dir, "ranks")
        return [
            *before,
            *(python, "-m", TORCHRUN),
            *("--nproc_per_node=%d" % self.count, "--max_restarts=0"),
            *("--%s=%s" % each for each in self._rendezvous().items()),
            "--no_python",
            *(python, "-I", os.path.join(ranks, PROGRAM), os.path.join(ranks, self.id)),
            *program,
        ]

    def _rendezvous(self) -> dict[str, str]:
        """How the processes of torchrun find each other."""
        if self.nodes:
            return self.nodes.torchrun(self.id)
        return {
            "nnodes": "1",
            "rdzv_backend": "c10d",
            # Port 0: each run gets one that is free. An instance may not resolve its own name.
            "rdzv_endpoint": "localhost:0",
            "local_addr": "127.0.0.1",
            "rdzv_id": self.id,
        }

    def _options(self, command: list[str]) -> list[str]:
        """The options for the launcher in the training's own command line."""
        assert self.option
        # `accelerate launch` wants the number of all processes.
        is_accelerate = self.name == "accelerate"
        count = self.total if is_accelerate else self.count
        more = self.nodes.accelerate(command) if self.nodes and is_accelerate else []
        return ["%s=%d" % (self.option["name"], count), *more]

    def prepare(self, run_dir: str, account: pwd.struct_passwd) -> None:
        """Writes the program that each process is started by, and makes the directory of its
        records.
        """
        if self.option:
            return
        ranks = os.path.join(run_dir, "ranks")
        os.makedirs(ranks, exist_ok=True)
        write_program(os.path.join(ranks, PROGRAM), rank_program)
        make_records(os.path.join(ranks, self.id), account)

    def ended(self, run_dir: str, account: pwd.struct_passwd) -> list[Rank]:
        """The processes that have ended, as far as they have recorded it."""
        if self.option:
            return []
        records = os.path.join(run_dir, "ranks", self.id)
        found = (read_rank(records, number, account) for number in range(self.total))
        return [each for each in found if each]

    def failure(self, run_dir: str, account: pwd.struct_passwd) -> RunStateFailure | None:
        """Why the launcher has not started the training."""
        return None

    def clean(self) -> None:
        """Deletes what the launcher has left outside the run's directory."""


def of(spec: RunSpec, record: Mapping[str, Any], nodes: Nodes | None = None) -> Launch | None:
    launcher = spec.get("launcher")
    return Launch(spec, launcher, record, nodes=nodes) if launcher else None


def write_program(path: str, module: ModuleType) -> None:
    """Writes the source of a module of the runtime."""
    loader: Any = module.__loader__
    source: str = loader.get_source(module.__name__)
    atomic_files.write_atomically(path, source.encode())


def make_records(path: str, account: pwd.struct_passwd) -> None:
    """Makes the directory in which the processes of an attempt record their ends."""
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o700)
    accounts.own(path, account)


def id_of(spec: RunSpec, record: Mapping[str, Any]) -> str:
    """What tells an attempt of a training from all others."""
    return "%s-%d" % (spec["id"], record["attempt"])


def python_of(spec: RunSpec) -> str:
    """The Python of the run's environment, by the name that its PATH has it under."""
    return "python3" if spec["environment"]["manager"] == "none" else "python"


def program_words(spec: RunSpec) -> list[str]:
    """What is configured of a training's command line."""
    program = spec["command"] or [python_of(spec), spec["script"] or ""]
    return program + spec["args"]


def entering_words(spec: RunSpec, command: list[str]) -> list[str]:
    """The words at the start of a training's command line that only enter its environment."""
    program = spec["command"]
    if program and os.path.basename(program[0]) == spec["environment"]["manager"]:
        return []
    return command[: len(command) - len(program_words(spec))]


def package_check(spec: RunSpec, command: list[str], package: str) -> list[str]:
    """A command line that fails if the training's environment lacks a package. It does not load
    it. A directory of that name in the project is none.
    """
    program = (
        "import importlib.util, sys; sys.path = [each for each in sys.path if each]; "
        "found = importlib.util.find_spec(%r); sys.exit(not (found and found.origin))" % package
    )
    return [*entering_words(spec, command), python_of(spec), "-c", program]


def cause(ranks: list[Rank]) -> Rank | None:
    """The first process that failed without being told to end; None where there is none."""
    failed = [each for each in ranks if each.code and not each.told]
    return min(failed, key=lambda each: (each.end, each.number), default=None)


def exit_code(code: int, ranks: list[Rank], stopped: bool, *, first: int = 0) -> int:
    """The exit code of the training, negative for a signal, by that of torchrun, which ends with 1
    whatever its processes end with. The training's user writes the records: they never make a
    success of torchrun's failure, unless the run was stopped anyway. `first`: the lowest rank of
    this node.
    """
    if stopped:
        return next((each.code for each in ranks if each.number == first), code)
    failed = cause(ranks)
    if failed:
        return failed.code
    return code or next((each.code for each in ranks if each.code), 0)


def read_rank(directory: str, number: int, account: pwd.struct_passwd) -> Rank | None:
    """What a process has recorded of its end; None where it has not, or where that is no such
    record.
    """
    try:
        descriptor = safe_walk.open_file(directory, "%d.json" % number, account)
        with open(descriptor, "rb") as file:
            data = file.read(MAX_RECORD_BYTES + 1)
        found: dict[str, Any] | list[Any] | None = (
            bounded.parse(data) if len(data) <= MAX_RECORD_BYTES else None
        )
    except (OSError, ValueError):
        return None
    return rank_of(number, found) if isinstance(found, dict) else None


def rank_of(number: int, found: Mapping[str, Any]) -> Rank | None:
    """The same by what the record holds."""
    code, killed = found.get("code"), found.get("signal")
    end = found.get("end")
    if is_count(code, 255) and killed is None:
        ended_with: Any = code
    elif code is None and is_count(killed, MAX_SIGNAL) and killed:
        ended_with = -killed
    else:
        return None
    if end is None or not is_count(end, 1 << 53):
        return None
    return Rank(number, ended_with, end=end, told=found.get("told") is True)


def last_lines(log: str, start: int, number: int) -> list[str]:
    """The last lines that a process has printed, as the log has them, where secrets are masked.
    Only lines of other processes than rank 0 bear a mark.
    """
    data = tail(log, start, LINES_WITHIN_BYTES)
    # What begins amid a line may begin amid its mark.
    whole = data if len(data) < LINES_WITHIN_BYTES else data.partition(b"\n")[2]
    own = "[rank %d] " % number
    found: list[str] = []
    for line in re.split("[\r\n]+", whole.decode("utf-8", "replace")):
        is_marked = line.startswith("[rank ")
        if number and line.startswith(own):
            found.append(line[len(own) :])
        elif not number and not is_marked and not line.startswith("nx-ec2: "):
            found.append(line)
    return [line[:MAX_LINE_LENGTH] for line in found if line.strip()][-MAX_LINES:]


def is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
