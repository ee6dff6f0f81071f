"""The processes of a training that a stop signals first: the one that the command became, behind
shells and wrappers. Linux only.
"""

from __future__ import annotations

import os
import signal

from . import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence


# Shells that wait for a foreground child neither end nor tell it when they get SIGTERM.
SHELLS = {"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "busybox"}
# Programs that start one command and wait for it. Where one handles SIGTERM it forwards it; else
# the signal is for its child.
WRAPPERS = {
    "accelerate",
    "bun",
    "catatonit",
    "conda",
    "doas",
    "dotenv",
    "dumb-init",
    "dvc",
    "flock",
    "hatch",
    "inv",
    "invoke",
    "just",
    "make",
    "mamba",
    "micromamba",
    "mise",
    "ncu",
    "npm",
    "npx",
    "nsys",
    # src/runtime/run/rank_program.py.
    "nx_ec2_rank",
    # src/runtime/run/ray_program.py.
    "nx_ec2_ray",
    "pdm",
    "pipenv",
    "pixi",
    "pnpm",
    "poetry",
    "runuser",
    "rye",
    "script",
    "setsid",
    "strace",
    "sudo",
    "task",
    "time",
    "timeout",
    "tini",
    "uv",
    "uvx",
    "xargs",
    "xvfb-run",
    "yarn",
}
# Programs that start the processes which train, forward SIGTERM to them, and exit by themselves
# whatever becomes of them.
LAUNCHERS = {"accelerate", "deepspeed", "horovodrun", "mpiexec", "mpirun", "torchrun"}
# The names of modules that are started with `python -m`.
MODULES = {
    "accelerate.commands.launch": "accelerate",
    "accelerate.commands.accelerate_cli": "accelerate",
    "deepspeed.launcher.runner": "deepspeed",
    "deepspeed.launcher.launch": "deepspeed",
    "torch.distributed.run": "torchrun",
    "torch.distributed.launch": "torchrun",
}
# Processes in each other that are looked through.
MAX_PROCESS_DEPTH = 50
# Options of Python's that take the next word.
WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")


class Leaders:
    """`pids`: what gets SIGTERM first. `handled`: each of them, and what it forwards the signal to,
    has a handler for it, or ignores it. `launcher`: a launcher is among them, or was passed
    through. Without /proc it is the command itself, of which nothing is known.
    """

    def __init__(self, top: int) -> None:
        self.children: dict[int, list[int]] = {}
        if os.path.isdir("/proc/self"):
            for pid, parent in processes.proc_pairs():
                self.children.setdefault(parent, []).append(pid)
        self.launcher = False
        # What is known of each process: found out once, since each level of nested processes would
        # ask for all below it again.
        self.found: dict[int, list[int]] = {}
        self.forwards: dict[int, bool] = {}
        self.pids = self._find(top, 0)
        self.handled = all(
            ends_by_itself(pid) and self._forwards_to_handlers(pid, 0) for pid in self.pids
        )

    def _find(self, pid: int, depth: int) -> list[int]:
        """The leaders of what a process is, or passes the signal through to."""
        if pid not in self.found:
            self.found[pid] = self._find_new(pid, depth) if depth < MAX_PROCESS_DEPTH else [pid]
        return self.found[pid]

    def _find_new(self, pid: int, depth: int) -> list[int]:
        below, name = self.children.get(pid, []), program(arguments(pid))
        self.launcher = self.launcher or name in LAUNCHERS
        if name in SHELLS:
            # A shell without job control starts a background command with SIGINT ignored.
            front = [child for child in below if not ignores(child, signal.SIGINT)]
            if handles(pid):
                # It runs its trap when its foreground child has ended; at once where it is in
                # `wait`.
                return [pid] + (self._pick(front, depth) if front else [])
            if below:
                return self._pick(front or below, depth)
        elif name in WRAPPERS and below and not handles(pid):
            return self._pick(below, depth)
        return [pid]

    def _pick(self, pids: list[int], depth: int) -> list[int]:
        """Of several, as of a pipeline, those that handle the signal; else the first."""
        found = [self._find(pid, depth + 1) for pid in sorted(pids)]
        return [pid for each in found for pid in each if handles(pid)] or found[0]

    def _forwards_to_handlers(self, pid: int, depth: int) -> bool:
        """Whether what a process with a handler starts can save as well: each worker of a launcher;
        one of the commands of a shell or wrapper.
        """
        if pid not in self.forwards:
            self.forwards[pid] = depth >= MAX_PROCESS_DEPTH or self._forwards_new(pid, depth + 1)
        return self.forwards[pid]

    def _forwards_new(self, pid: int, depth: int) -> bool:
        name, below = program(arguments(pid)), self.children.get(pid, [])
        forwards = name in LAUNCHERS or name in SHELLS or name in WRAPPERS
        started = [each for each in below if forwards or self._is_another_script(each, name)]
        found = [
            ends_by_itself(each) and self._forwards_to_handlers(each, depth)
            for child in started
            for each in self._find(child, depth)
        ]
        return all(found) if name in LAUNCHERS else any(found) or not found

    def _is_another_script(self, pid: int, name: str) -> bool:
        """Whether a Python program was started by another: workers of a trainer are forks of it,
        modules or `-c`.
        """
        words = arguments(pid)
        return python_target(words)[0] == "script" and program(words) != name


def arguments(pid: int) -> list[str]:
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read().decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return []


def program(words: Sequence[str]) -> str:
    """The name of what a process runs: of a Python program that of its script or module."""
    name = _name(words)
    kind, target = python_target(words)
    if kind == "script":
        script = os.path.basename(target)
        return script[:-3] if script.endswith(".py") else script
    return MODULES.get(target, target) if kind == "module" else name


def python_target(words: Sequence[str]) -> tuple[str | None, str]:
    """("script", its path) or ("module", its name) that Python runs; (None, "") where it runs
    neither, or is not Python.
    """
    at = 1
    while _name(words).startswith(("python", "pypy")) and at < len(words):
        if words[at] == "-m":
            return "module", words[at + 1] if at + 1 < len(words) else ""
        if not words[at].startswith("-"):
            return "script", words[at]
        if words[at] == "-c":
            break
        at += 2 if words[at] in WITH_VALUE else 1
    return None, ""


def _name(words: Sequence[str]) -> str:
    # A program that shows a title of its own, as npm does, has it as its only word.
    first = (words[0].split(" ")[0] if len(words) == 1 else words[0]) if words else ""
    return os.path.basename(first).lstrip("-")


def handles(pid: int, number: int = signal.SIGTERM) -> bool:
    return bool(_signals(pid, "SigCgt:") >> (number - 1) & 1)


def ends_by_itself(pid: int) -> bool:
    """Whether SIGTERM alone does not end it."""
    return handles(pid) or ignores(pid, signal.SIGTERM)


def ignores(pid: int, number: int) -> bool:
    return bool(_signals(pid, "SigIgn:") >> (number - 1) & 1)


def _signals(pid: int, field: str) -> int:
    try:
        with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1], 16) for line in file if line.startswith(field)), 0)
    except OSError:
        return 0
