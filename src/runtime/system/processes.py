"""Processes as trees, and as what bears a run's mark: found, signaled, measured."""

from __future__ import annotations

import os
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection, Iterator


def family(top: int) -> list[int]:
    """A process and all its descendants."""
    pairs = list(proc_pairs()) if os.path.isdir("/proc/self") else list(listed_pairs())
    children: dict[int, list[int]] = {}
    for pid, parent in pairs:
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    wave = [top]
    while wave:
        wave = [child for pid in wave for child in children.get(pid, ())]
        found += wave
    return ([top] if any(pid == top for pid, _ in pairs) else []) + found


def proc_pairs(but: Collection[bytes] = (b"Z", b"X")) -> Iterator[tuple[int, int]]:
    """(pid, its parent) of all that live; zombies, which are in the state Z, only where `but` says
    so. One of which threads still run is none.
    """
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            # The 18th is the number of its threads: a process whose first one has ended is shown as
            # a zombie.
            if fields[0] not in but or int(fields[17]) > 1:
                yield int(entry), int(fields[1])


def listed_pairs() -> Iterator[tuple[int, int]]:
    """The same, where there is no /proc."""
    with subprocess.Popen(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as lister:
        assert lister.stdout
        rows = [
            line.split() for line in lister.stdout.read().decode("ascii", "replace").splitlines()
        ]
    for row in rows:
        # The lister is a child of ours too, and gone by now: its number must never be signaled.
        if len(row) == 3 and not row[2].startswith("Z") and int(row[0]) != lister.pid:
            yield int(row[0]), int(row[1])


def marked(*marks: str) -> list[int]:
    """The processes that were started with all `marks`, `NAME=value`, in their environment, but for
    our own; Linux only.
    """
    wanted = {mark.encode() for mark in marks}
    found: list[int] = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if wanted.issubset(file.read().split(b"\0")):
                    found.append(int(entry))
        except OSError:
            continue
    return found


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass
