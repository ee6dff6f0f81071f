"""Why a training ended, where its exit code alone does not tell."""
import os
import re

from ..disk import full_disk
from ..run_dir import written_files

# How the last lines of a training name a module that its Python lacks.
NO_MODULE = re.compile(rb"^(?:\[rank\d+\]: )?ModuleNotFoundError: No module named '([A-Za-z0-9_.]{1,200})'", re.MULTILINE)
# The outcome of a run by the reason of its stop: a user's request, its own limit, or what ends its instance or it there.
STOPPED = {
    "cancelled": "cancelled", "timeout": "timed-out", "shutdown": "interrupted",
    "lifetime": "interrupted", "cost": "interrupted", "deadline": "interrupted", "hung": "interrupted",
    # The spot notice; and another instance that has resumed the run.
    "interruption": "interrupted", "superseded": "interrupted",
}


def oom_kills():
    """How many processes the kernel has killed for lack of memory, of ours as far as it tells; None where it does not."""
    total = None
    for path, field in [("/proc/vmstat", "oom_kill")] + [(each, "oom_kill") for each in memory_events()]:
        try:
            with open(path) as file:
                for line in file:
                    name, _, value = line.partition(" ")
                    if name == field:
                        total = (total or 0) + int(value)
        except (OSError, ValueError):
            continue
    return total


def memory_events():
    """Where the cgroups that we are in count such kills (version 2: memory.events, version 1: memory.oom_control)."""
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers == "":
            yield "/sys/fs/cgroup%s/memory.events" % path.rstrip("/")
        elif "memory" in controllers.split(","):
            yield "/sys/fs/cgroup/memory%s/memory.oom_control" % path.rstrip("/")


def failure_of(child, code, kills, log, home):
    """{code, message, exitCode} of a training that did not end well by itself, or None where its exit code says all."""
    exit_code = code if code >= 0 else None
    if child.over:
        return told("OUT_OF_MEMORY", "it used more memory than its limit of %s (\"train.memory\")" % size(child.limits["memory"]), exit_code)
    if code in (-9, 137) and was_out_of_memory(kills):
        return told("OUT_OF_MEMORY", "the kernel killed it: the machine was out of memory", exit_code)
    if log.full or (code != 0 and full_disk.is_full(home)):
        return told("NO_SPACE", "the disk was full" + (", and %d bytes of its log are lost" % log.lost if log.lost else ""), exit_code)
    return None


def missing_module(log, start, part):
    """Which environment a training had whose Python lacked a module, by the end of its log; None where it lacked none.

    `start`: where in the log the output of the training begins."""
    found = NO_MODULE.findall(full_disk.tail(log, start))
    if not found:
        return None
    name, environment = found[-1].decode(), part["environment"]
    if part["setup"] is not None:
        where = "the environment was set up by \"train.setup\", which has to install the package"
    elif environment["manager"] == "none":
        where = (
            "no environment was set up for %s, so the training used the Python of the instance. A pyproject.toml with uv.lock, a requirements.txt "
            "or an environment.yml in its directory or one above creates one" % part["projectRoot"]
        )
    else:
        where = "the environment of %s was used: add the package to it" % os.path.join(environment["root"], environment["file"])
        where += " and update the lock file" if environment["locked"] else ""
    return "the module %s is missing; %s" % (name, where)


def was_out_of_memory(kills):
    """Whether the kernel has killed a process for lack of memory since `kills` were counted."""
    return kills is not None and (oom_kills() or 0) > kills


def unfinished(left, code, home, part, since, account=None):
    """The failure of a command that exited with 0 and left its training in the background; None where that only left helpers.

    A training has written something since the moment `since` (ns, as `st_ctime_ns`) that nothing that was left has open, and nothing
    that was left still writes to an output or to a checkpoint. `part` is the run's part of the plan."""
    if code != 0:
        return None
    work = os.path.join(home, "work")
    if not any(what.st_ctime_ns > since for path, what in files_written(home, part, account) if os.path.join(work, path) not in left.open):
        return told("LEFT_RUNNING", "the command ended and %s, with no result written" % left.what(), code)
    project, results = os.path.normpath(os.path.join(work, part["projectRoot"])), [written_files.Outputs(part), written_files.Outputs(part, "checkpoints")]
    if left.writes_below(os.path.join(home, "checkpoints")) or any(
            path.startswith(project + "/") and any(each.match(path[len(project) + 1:]) for each in results) for path in left.open):
        return told("LEFT_RUNNING", "the command ended and %s, which was still writing its results" % left.what(), code)
    return None


def files_written(home, part, account):
    """The files that a run has written, as paths in its directory with their stat results."""
    prefix = "" if part["projectRoot"] == "." else part["projectRoot"] + "/"
    found = written_files.look(os.path.join(home, "work"), part, inputs=written_files.Inputs(home), account=account)
    return [(prefix + path, what) for path, what in found.outputs] + found.extra


def told(code, message, exit_code):
    return {"code": code, "message": message, "exitCode": exit_code}


def size(count):
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return "%d %s" % (count, unit) if unit == "B" else "%.1f %s" % (count, unit)
        count /= 1024.0
