"""The processes of a training that a stop signals first: the one that the command became, behind shells and wrappers. Linux only."""
import os
import signal

from . import processes

# Shells that wait for a foreground child neither end nor tell it when they get SIGTERM.
SHELLS = {"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "busybox"}
# Programs that start one command and wait for it. Where one handles SIGTERM it forwards it; else the signal is for its child.
WRAPPERS = {
    "accelerate", "conda", "hatch", "mamba", "micromamba", "npm", "npx", "pdm", "pipenv", "pixi", "poetry", "rye", "time", "uv", "uvx", "xvfb-run",
}
# Programs that start the processes which train, forward SIGTERM to them, and exit by themselves whatever becomes of them.
LAUNCHERS = {"accelerate", "deepspeed", "horovodrun", "mpiexec", "mpirun", "torchrun"}
# The names of modules that are started with `python -m`.
MODULES = {
    "accelerate.commands.launch": "accelerate", "accelerate.commands.accelerate_cli": "accelerate", "deepspeed.launcher.runner": "deepspeed",
    "deepspeed.launcher.launch": "deepspeed", "torch.distributed.run": "torchrun", "torch.distributed.launch": "torchrun",
}
# Options of Python's that take the next word.
WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")


class Leaders:
    """`pids`: what gets SIGTERM first. `handled`: each of them, and each worker of a launcher, has a handler for it.
    `launcher`: a launcher is among them, or was passed through. Without /proc it is the command itself, of which nothing is known."""

    def __init__(self, top):
        self.children = {}
        if os.path.isdir("/proc/self"):
            for pid, parent in processes.proc_pairs():
                self.children.setdefault(parent, []).append(pid)
        self.launcher = False
        self.pids = self._find(top, 0)
        self.handled = all(handles(pid) and self._workers_handle(pid) for pid in self.pids)

    def _find(self, pid, depth):
        below, name = self.children.get(pid, []), program(arguments(pid))
        self.launcher = self.launcher or name in LAUNCHERS
        if name in SHELLS and depth < 50:
            # A shell without job control starts a background command with SIGINT ignored.
            front = [child for child in below if not ignores(child, signal.SIGINT)]
            if handles(pid):
                # It runs its trap when its foreground child has ended; at once where it is in `wait`.
                return [pid] + (self._pick(front, depth) if front else [])
            if below:
                return self._pick(front or below, depth)
        elif name in WRAPPERS and below and not handles(pid) and depth < 50:
            return self._pick(below, depth)
        return [pid]

    def _pick(self, pids, depth):
        """Of several, as of a pipeline, those that handle the signal; else the first."""
        found = [self._find(pid, depth + 1) for pid in sorted(pids)]
        return [pid for each in found for pid in each if handles(pid)] or found[0]

    def _workers_handle(self, pid):
        if program(arguments(pid)) not in LAUNCHERS:
            return True
        workers = self.children.get(pid, [])
        return all(handles(worker) and self._workers_handle(worker) for child in workers for worker in self._find(child, 1))


def arguments(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read().decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return []


def program(words):
    """The name of what a process runs: of a Python program that of its script or module."""
    name = os.path.basename(words[0]).lstrip("-") if words else ""
    if not name.startswith(("python", "pypy")):
        return name
    at = 1
    while at < len(words) and words[at].startswith("-"):
        if words[at] == "-m":
            module = words[at + 1] if at + 1 < len(words) else ""
            return MODULES.get(module, module)
        if words[at] == "-c":
            return name
        at += 2 if words[at] in WITH_VALUE else 1
    script = os.path.basename(words[at]) if at < len(words) else name
    return script[:-3] if script.endswith(".py") else script


def handles(pid, number=signal.SIGTERM):
    return bool(_signals(pid, "SigCgt:") >> (number - 1) & 1)


def ignores(pid, number):
    return bool(_signals(pid, "SigIgn:") >> (number - 1) & 1)


def _signals(pid, field):
    try:
        with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1], 16) for line in file if line.startswith(field)), 0)
    except OSError:
        return 0
