"""A control group (version 2) of a run's own: what a training starts stays in it, however it
detaches, and is killed as one.
"""

from __future__ import annotations

import os

from . import atomic_files

# In the run's directory: the group's path, for who ends the run where its supervisor is gone.
NOTE = "cgroup"


class Cgroup:
    def __init__(self, path: str) -> None:
        self.path = path

    def enter(self) -> None:
        """For a child of ours, after the fork. Where it is refused, the child is found as a
        descendant all the same.
        """
        try:
            with open(os.path.join(self.path, "cgroup.procs"), "w") as file:
                file.write("0")
        except OSError:
            pass

    def pids(self) -> list[int]:
        """The processes in it and in the groups below it, without those that have ended."""
        found: list[int] = []
        for at, _, names in os.walk(self.path):
            if "cgroup.procs" in names:
                found += _numbers(os.path.join(at, "cgroup.procs"))
        return found

    def kill(self) -> None:
        """SIGKILL for all of it in one step, so that nothing is forked meanwhile."""
        try:
            with open(os.path.join(self.path, "cgroup.kill"), "w") as file:
                file.write("1")
        except OSError:
            pass

    def remove(self) -> None:
        for at, _, _ in os.walk(self.path, topdown=False):
            try:
                os.rmdir(at)
            except OSError:
                # Something in it can't be killed.
                continue


def create(home: str) -> Cgroup | None:
    """The group of a run; None where there is no version 2, none may be made, or the kernel (before
    5.14) can't kill one.
    """
    parent = _current()
    if parent is None:
        return None
    # Instances of local AWS are in one group, and an attempt of the same run can be on each.
    local = os.environ.get("NX_EC2_LOCAL_INSTANCE")
    name = ("%s-%s" % (local, os.path.basename(home))) if local else os.path.basename(home)
    path = os.path.join(parent, "nx-ec2-" + name)
    try:
        os.makedirs(path, exist_ok=True)
        if not os.path.exists(os.path.join(path, "cgroup.kill")):
            os.rmdir(path)
            return None
        atomic_files.write_atomically(os.path.join(home, NOTE), os.fsencode(path), durable=False)
    except OSError:
        return None
    return Cgroup(path)


def of_run(home: str) -> Cgroup | None:
    """The group that a run's supervisor made; None where it made none."""
    try:
        with open(os.path.join(home, NOTE), "rb") as file:
            path = os.fsdecode(file.read())
    except OSError:
        return None
    return Cgroup(path) if os.path.exists(os.path.join(path, "cgroup.kill")) else None


def _current() -> str | None:
    """The directory of the group that this process is in."""
    try:
        with open("/proc/self/mounts") as file:
            mounts = [
                fields[1]
                for fields in map(str.split, file)
                if len(fields) > 2 and fields[2] == "cgroup2"
            ]
        with open("/proc/self/cgroup") as file:
            own = [line.rstrip("\n")[3:] for line in file if line.startswith("0::")]
    except OSError:
        return None
    return mounts[0] + own[0].rstrip("/") if mounts and own else None


def _numbers(path: str) -> list[int]:
    try:
        with open(path) as file:
            # 0 is a process that has no number here.
            return [int(each) for each in file.read().split() if each != "0"]
    except (OSError, ValueError):
        return []
