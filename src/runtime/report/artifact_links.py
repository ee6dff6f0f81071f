"""Symbolic links among artifacts: one that leads to an artifact comes back as a copy of it."""

from __future__ import annotations

import os
import posixpath

from ..system import safe_walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection, Mapping, Sequence

    from ..run_dir.written_files import Skipped


# As many links are followed from one to the next.
MAX_HOPS = 10


def copies(
    project: int, found: Sequence[tuple[str, int]], skipped: Sequence[Skipped]
) -> tuple[dict[str, str], list[Skipped]]:
    """({link: artifact}, what stays skipped). Only the text of a link is read: what it names is one
    of the files found, or nothing.

    `found` and `skipped` are as `artifacts.look` has them.
    """
    files = {path for path, _ in found}
    links = {
        each["path"]: target(project, each["path"])
        for each in skipped
        if each["why"] == "a symbolic link"
    }
    led: dict[str, str] = {}
    for path in links:
        at: str | None = path
        for _ in range(MAX_HOPS):
            at = links.get(at)
            if at is None or at in files:
                break
        if at in files:
            led[path] = at
    return led, [
        {"path": each["path"], "why": explain(each, links, files)}
        for each in skipped
        if each["path"] not in led
    ]


def explain(each: Skipped, links: Mapping[str, str | None], files: Collection[str]) -> str:
    """Why something is skipped. A link to a directory of artifacts, as `wandb/latest-run` is, loses
    nothing.
    """
    to = links.get(each["path"])
    if to is not None and any(path.startswith(to + "/") for path in files):
        return "a symbolic link to %s, whose files come back" % safe_walk.shown(to)
    return each["why"]


def target(project: int, path: str) -> str | None:
    """Where a link leads, relative to the project; None where it leads elsewhere, or its name can't
    be kept.
    """
    parent, _, name = path.rpartition("/")
    try:
        descriptor = safe_walk.open_directory(project, parent)
        try:
            text = os.readlink(name, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        text.encode("utf-8")
    except (OSError, UnicodeEncodeError):
        return None
    if os.path.isabs(text):
        return None
    return posixpath.normpath(posixpath.join(parent, text))
