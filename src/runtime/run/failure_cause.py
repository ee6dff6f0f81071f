"""Why a training ended, where its exit code alone does not tell."""

from __future__ import annotations

import os
import re

from ..disk import full_disk
from ..run_dir import written_files
from .signal_name import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Iterator

    from ..run_dir.log_writer import LogFile
    from ..system.documents import Outcome, RunSpec, RunStateFailure
    from ..system.left_processes import Left
    from .child_process import Child

# How the last lines of a training name a module that its Python lacks.
NO_MODULE = re.compile(
    rb"^(?:nx-ec2: )?(?:\[node \d+\] )?(?:\[rank \d+\] )?(?:\[rank\d+\]: )?"
    rb"ModuleNotFoundError: No module named '([A-Za-z0-9_.]{1,200})'",
    re.MULTILINE,
)
# The outcome of a run by the reason of its stop: a user's request, its own limit, or what ends its
# instance, or the run on it.
STOPPED: dict[str, Outcome] = {
    "cancelled": "cancelled",
    "timeout": "timed-out",
    "shutdown": "interrupted",
    "lifetime": "interrupted",
    "cost": "interrupted",
    "deadline": "interrupted",
    "hung": "interrupted",
    # The spot notice; and another instance that has resumed the run.
    "interruption": "interrupted",
    # The next attempt has more nodes.
    "growth": "interrupted",
    "superseded": "interrupted",
}


def oom_kills() -> int | None:
    """How many processes the kernel has killed for lack of memory, of ours as far as it tells; None
    where it does not.
    """
    total = None
    for path in ["/proc/vmstat", *memory_events()]:
        try:
            with open(path) as file:
                for line in file:
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        total = (total or 0) + int(value)
        except (OSError, ValueError):
            continue
    return total


def memory_events() -> Iterator[str]:
    """Where the cgroups that we are in count such kills (version 2: memory.events, version 1:
    memory.oom_control).
    """
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            yield "/sys/fs/cgroup%s/memory.events" % path.rstrip("/")
        elif "memory" in controllers.split(","):
            yield "/sys/fs/cgroup/memory%s/memory.oom_control" % path.rstrip("/")


def failure_of(
    child: Child, code: int, *, kills: int | None, log: LogFile, run_dir: str
) -> RunStateFailure | None:
    """The failure of a training that did not end well by itself, or None where its exit code says
    all. `kills`: the kernel's kills before it started.
    """
    exit_code = code if code >= 0 else None
    limit = child.limits["memory"]
    if child.is_over_memory and limit:
        how = 'it used more memory than its limit of %s ("train.memory")' % size(limit)
        return failure("OUT_OF_MEMORY", how, exit_code)
    if code in (-9, 137) and was_out_of_memory(kills):
        how = "the kernel killed it: the machine was out of memory"
        return failure("OUT_OF_MEMORY", how, exit_code)
    if log.full or (code != 0 and full_disk.is_full(run_dir)):
        lost = ", and %d bytes of its log are lost" % log.lost if log.lost else ""
        return failure("NO_SPACE", "the disk was full" + lost, exit_code)
    return None


def missing_module(log: str, start: int, spec: RunSpec) -> str | None:
    """Which module a training lacked, by the end of its log, and how to get it into its
    environment; None where it lacked none. `start`: where in the log the training's output begins.
    """
    found = NO_MODULE.findall(full_disk.tail(log, start))
    if not found:
        return None
    name: str = found[-1].decode()
    return "the module %s is missing; %s" % (name, where_to_add(spec))


def where_to_add(spec: RunSpec) -> str:
    """Which environment a training had, and how a package gets into it."""
    environment = spec["environment"]
    if spec["setup"] is not None:
        return 'the environment was set up by "train.setup", which has to install the package'
    if environment["manager"] == "none":
        return (
            "no environment was set up for %s, so the training used the Python of the instance. "
            "A pyproject.toml with uv.lock, a requirements.txt or an environment.yml in its "
            "directory or one above creates one" % spec["projectRoot"]
        )
    file = os.path.join(environment["root"], environment["file"])
    where = "the environment of %s was used: add the package to it" % file
    return where + (" and update the lock file" if environment["locked"] else "")


def was_out_of_memory(kills: int | None) -> bool:
    """Whether the kernel has killed a process for lack of memory since `kills` were counted."""
    return kills is not None and (oom_kills() or 0) > kills


def unfinished(
    left: Left,
    code: int,
    *,
    run_dir: str,
    spec: RunSpec,
    since_ns: int,
    account: pwd.struct_passwd | None = None,
) -> RunStateFailure | None:
    """The failure of a command that exited with 0 and left its training in the background; None
    where what it left in the background only served the training.

    A training has written something since that moment (as `st_ctime_ns`) which no process that was
    left has open, and no process that was left still writes to an output or to a checkpoint.
    """
    if code != 0:
        return None
    work = os.path.join(run_dir, "work")
    results = [
        path
        for path, status in files_written(run_dir, spec, account)
        if status.st_ctime_ns > since_ns and os.path.join(work, path) not in left.open
    ]
    if not results:
        how = "the command ended and %s, with no result written" % left.what()
        return failure("LEFT_RUNNING", how, code)
    project = os.path.normpath(os.path.join(work, spec["projectRoot"])) + "/"
    rules = [written_files.Outputs(spec), written_files.Outputs(spec, "checkpoints")]
    opened = [path[len(project) :] for path in left.open if path.startswith(project)]
    is_writing = left.writes_below(os.path.join(run_dir, "checkpoints")) or any(
        rule.match(path) for path in opened for rule in rules
    )
    if is_writing:
        how = "the command ended and %s, which was still writing its results" % left.what()
        return failure("LEFT_RUNNING", how, code)
    return None


def files_written(
    run_dir: str, spec: RunSpec, account: pwd.struct_passwd | None
) -> list[tuple[str, os.stat_result]]:
    """The files that a run has written, as paths in its directory with their stat results."""
    prefix = "" if spec["projectRoot"] == "." else spec["projectRoot"] + "/"
    inputs = written_files.Inputs(run_dir)
    work = os.path.join(run_dir, "work")
    found = written_files.look(work, spec, inputs=inputs, account=account)
    return [(prefix + path, status) for path, status in found.outputs] + found.extra


def failure(code: str, message: str, exit_code: int | None) -> RunStateFailure:
    return {"code": code, "message": message, "exitCode": exit_code}


def exit_of(code: int) -> dict[str, int | str | None]:
    """How a command ended, as in a record."""
    return {
        "exitCode": code if code >= 0 else None,
        "signal": None if code >= 0 else signal_name(-code),
    }


def size(count: float) -> str:
    """A number of bytes for people, in binary units."""
    if count < 1024:
        return "%d B" % count
    for name in ("KB", "MB"):
        count /= 1024.0
        if count < 1024:
            return "%.1f %s" % (count, name)
    return "%.1f GB" % (count / 1024.0)
