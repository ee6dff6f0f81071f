"""Processes that a command left running when it ended: named, and whether the training is among
them.
"""

from __future__ import annotations

import os

from .leader import arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Iterator, Protocol

    class Mask(Protocol):
        """What covers secret values in a text."""

        def cover(self, text: str) -> str: ...


# How much of a command line is shown, and how many command lines.
SHOWN_CHARACTERS, SHOWN_COMMANDS = 100, 3


class Left:
    """What was left, looked at before it is ended. `commands`: the command lines; `open`: paths of
    files that are open for writing.
    """

    def __init__(self, pids: Iterable[int] = (), mask: Mask | None = None) -> None:
        self.commands: list[str] = []
        self.open: set[str] = set()
        for pid in pids:
            text = " ".join(arguments(pid)) or "pid %d" % pid
            text = mask.cover(text) if mask else text
            self.commands.append(
                text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
            )
            self.open.update(open_for_writing(pid))

    def __bool__(self) -> bool:
        return bool(self.commands)

    def what(self) -> str:
        count = len(self.commands)
        named = ", ".join(self.commands[:SHOWN_COMMANDS]) + (
            ", …" if count > SHOWN_COMMANDS else ""
        )
        return "left %s running (%s)" % (
            "a process" if count == 1 else "%d processes" % count,
            named,
        )

    def warning(
        self, advice: str = "Run the training in the foreground, or end the script with `wait`."
    ) -> str:
        return "The command ended and %s; %s stopped. %s" % (
            self.what(),
            "it was" if len(self.commands) == 1 else "they were",
            advice,
        )

    def unkilled(self) -> str:
        count = len(self.commands)
        named = ", ".join(self.commands[:SHOWN_COMMANDS]) + (
            ", …" if count > SHOWN_COMMANDS else ""
        )
        what, them = ("A process", "it") if count == 1 else ("%d processes" % count, "them")
        return (
            "%s could not be killed and may still use the instance (%s). "
            "Restart the instance to end %s." % (what, named, them)
        )

    def writes_below(self, directory: str) -> bool:
        return any(path.startswith(directory + "/") for path in self.open)


class Opened:
    """Files that are open for writing. `paths`: relative to the directory. `elsewhere`: (inode,
    name) of those of processes that see the file system in another way, as in a container: there
    the path of a file is another.
    """

    paths: set[str]
    elsewhere: set[tuple[int, str]]

    def __init__(self) -> None:
        self.paths, self.elsewhere = set(), set()

    def holds(self, paths: Iterable[str], inodes: Iterable[tuple[int, str]]) -> bool:
        return not self.paths.isdisjoint(paths) or not self.elsewhere.isdisjoint(inodes)


def open_below(directory: str) -> Opened:
    """The files below a directory that some process has open, or mapped into its memory, for
    writing; Linux only.
    """
    start, opened = os.path.realpath(directory) + "/", Opened()
    ours = mount_namespace("self")
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if not entry.isdigit():
            continue
        if mount_namespace(entry) in (ours, None):
            found = open_for_writing(int(entry), start) | mapped_for_writing(int(entry), start)
            opened.paths.update(path[len(start) :] for path in found)
        else:
            opened.elsewhere.update(written_elsewhere(int(entry)))
    return opened


def mount_namespace(pid: str) -> str | None:
    """Which one a process has; None where that can't be told."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return None


def open_for_writing(pid: int, start: str = "/") -> set[str]:
    """Paths of the regular files that a process has open for writing, if they begin so.

    Linux only.
    """
    return {path for path, _ in descriptors_for_writing(pid, start)}


def descriptors_for_writing(pid: int, start: str) -> Iterator[tuple[str, int | None]]:
    """(path, inode) of each file that a process has open for writing, if its path begins so. Before
    Linux 5.14 the inode is None.
    """
    try:
        names = os.listdir("/proc/%d/fd" % pid)
    except OSError:
        return
    for name in names:
        try:
            path = os.readlink("/proc/%d/fd/%s" % (pid, name))
            if not path.startswith(start):
                continue
            with open("/proc/%d/fdinfo/%s" % (pid, name), encoding="ascii") as file:
                told = dict(
                    line.split(":", 1) for line in file if line.startswith(("flags:", "ino:"))
                )
        except (OSError, ValueError):
            continue
        if int(told.get("flags", "0"), 8) & os.O_ACCMODE != os.O_RDONLY:
            yield path, int(told["ino"]) if "ino" in told else None


def mapped_for_writing(pid: int, start: str) -> set[str]:
    """Paths of the files that a process has mapped for writing, which it may have closed since;
    Linux only.
    """
    return {path for path, _ in mappings_for_writing(pid, start)}


def mappings_for_writing(pid: int, start: str) -> Iterator[tuple[str, int]]:
    """(path, inode) of each file that a process has mapped for writing, so that it changes, if its
    path begins so.
    """
    try:
        with open("/proc/%d/maps" % pid, "rb") as file:
            for line in file:
                # Address, permissions, offset, device, inode, path.
                words = line.split(None, 5)
                if words[1] == b"rw-s" and len(words) == 6:
                    path = os.fsdecode(words[5].rstrip(b"\n").replace(b"\\012", b"\n"))
                    if path.startswith(start):
                        yield path, int(words[4])
    except OSError:
        return


def written_elsewhere(pid: int) -> Iterator[tuple[int, str]]:
    """(inode, name) of each file that a process has open or mapped for writing."""
    for found in (descriptors_for_writing(pid, "/"), mappings_for_writing(pid, "/")):
        yield from ((inode, os.path.basename(path)) for path, inode in found if inode is not None)
