"""Symbolic links among artifacts: each that leads to a file comes back as a copy of it."""

from __future__ import annotations

import errno
import os
import posixpath

from ..run_dir.written_files import Outputs
from ..system import safe_walk
from ..system.open_as import open_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Iterable, Mapping, Optional, Sequence

    from ..run_dir.written_files import Inputs, Skipped
    from ..system.documents import RunSpec

    # By the path of a link in the project, where it leads, relative to the project.
    Targets = Mapping[str, Optional[str]]


# As many links are followed from one to the next.
MAX_HOPS = 10


class Links:
    """`project`: the descriptor of the project's directory. What lies outside of the outputs is
    opened as the account, as a program of its own would.
    """

    def __init__(
        self,
        spec: RunSpec,
        project: int,
        *,
        inputs: Inputs,
        account: pwd.struct_passwd | None,
    ) -> None:
        self.root, self.project, self.account = spec["projectRoot"], project, account
        self.directory = os.readlink("/proc/self/fd/%d" % project)
        self.outputs = Outputs(spec)
        self.sent = with_directories(os.fsdecode(path) for path in inputs.entries)

    def open(self, path: str) -> int:
        """The descriptor of the file that a link leads to. OSError, as `open_as` has it."""
        return open_as(self.account, os.path.join(self.directory, path))

    def copies(
        self, found: Sequence[tuple[str, int]], skipped: Sequence[Skipped]
    ) -> tuple[dict[str, str], dict[str, int], list[Skipped]]:
        """({link: artifact}, {link to another file: its size}, what stays skipped). `found` and
        `skipped` are as `written_files.look` has them.
        """
        files = {path for path, _ in found}
        directories = with_directories(files)
        links = {
            each["path"]: self._target(each["path"])
            for each in skipped
            if each["why"] == safe_walk.LINK
        }
        led: dict[str, str] = {}
        followed: dict[str, int] = {}
        left: list[Skipped] = []
        for each in skipped:
            path = each["path"]
            end = resolved(path, links) if path in links else None
            if path not in links:
                left.append(each)
            elif end in files:
                led[path] = end
            elif end in directories:
                # As `wandb/latest-run` is.
                why = "a symbolic link to %s, whose files come back" % safe_walk.shown(end)
                left.append({**each, "why": why})
            else:
                size, entry = self._follow(each, end)
                if size is None:
                    left.append(entry)
                else:
                    followed[path] = size
        return led, followed, left

    def _follow(self, link: Skipped, end: str | None) -> tuple[int | None, Skipped]:
        """(the size of the file that a link leads to, None: it leads to no file that can be saved,
        and why).
        """
        try:
            descriptor = self.open(link["path"])
        except OSError as error:
            if error.errno in safe_walk.GONE:
                return None, link
            if error.errno == errno.EISDIR and end is not None and self._loses_nothing(end):
                return None, link
            what = "directory" if error.errno == errno.EISDIR else "file that can't be read"
            return None, {
                **link,
                "why": "a symbolic link to a %s outside the outputs" % what,
                "unsaved": "link",
            }
        try:
            return os.fstat(descriptor).st_size, link
        finally:
            os.close(descriptor)

    def _loses_nothing(self, directory: str) -> bool:
        """Whether a directory is in an output itself, was sent, or has the project in it."""
        return (
            self.outputs.match(directory)
            or posixpath.basename(directory) in (".", "..")
            or posixpath.normpath(posixpath.join(self.root, directory)) in self.sent
        )

    def _target(self, path: str) -> str | None:
        """Where a link leads, relative to the project; None where that is no UTF-8."""
        try:
            text = safe_walk.readlink(self.project, path)
            text.encode("utf-8")
        except (OSError, UnicodeEncodeError):
            return None
        if os.path.isabs(text):
            return os.path.relpath(text, self.directory)
        return posixpath.normpath(posixpath.join(posixpath.dirname(path), text))


def with_directories(paths: Iterable[str]) -> set[str]:
    """Paths, and the directories that they are in."""
    found: set[str] = set()
    for path in paths:
        while path and path not in found:
            found.add(path)
            path = posixpath.dirname(path)
    return found


def resolved(path: str, links: Targets) -> str | None:
    """What a link leads to in the end, by other links as well, also by those of directories."""
    at: str | None = path
    for _ in range(MAX_HOPS):
        names = (at or "").split("/")
        parents = ("/".join(names[: n + 1]) for n in range(len(names)))
        link = next((each for each in parents if each in links), None)
        if at is None or link is None:
            return at
        target = links[link]
        at = None if target is None else posixpath.normpath(target + at[len(link) :])
    return at
