"""The packages of the workspace: taken out of a shared environment, and put into each run's own.

What a build writes down for an editable package (paths, finders, metadata, console scripts) holds
for every run, once the run's own directory is in it.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import stat
from urllib.parse import quote, unquote, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Tuple, TypedDict

    # Path, mode, content in base64.
    StoredFile = Tuple[str, int, str]

    class Detached(TypedDict):
        """What `WorkspacePackages.detach` took out of an environment, as its record has it.

        `work`, `env`: the directories of the run that made it; `files`: relative to `env`;
        `generated`: files that a build wrote among the sources, relative to `work`.
        """

        work: str
        env: str
        site: str
        files: list[StoredFile]
        generated: list[StoredFile]


BINARY = (".so", ".pyd", ".dylib", ".a", ".o")
MAX_FILE_BYTES = 1024 * 1024
# What builds leave beside the sources, and what nothing is imported from.
BUILD_FILES = re.compile(r"\..*|__pycache__|build|dist|node_modules|.*\.(egg-info|dist-info|pyc)")
VERSION = re.compile(r"[^/]*version[^/]*\.py")


class NotShareable(Exception):
    """Why an environment can't serve another run."""


def site_packages(env: str) -> str:
    """The directory of installed packages."""
    lib = os.path.join(env, "lib")
    for name in sorted(os.listdir(lib)) if os.path.isdir(lib) else []:
        path = os.path.join(lib, name, "site-packages")
        is_directory = os.path.isdir(path) and not os.path.islink(os.path.join(lib, name))
        if re.fullmatch(r"python3\.\d+t?", name) and is_directory:
            return path
    raise NotShareable(
        "it does not have the usual layout: there is no lib/python3.*/site-packages in it"
    )


class InstalledPackage:
    """`metadata`: the name of its directory of metadata; `path`: where its sources are."""

    def __init__(self, metadata: str, path: str, is_editable: bool) -> None:
        self.metadata, self.path, self.is_editable = metadata, path, is_editable


class WorkspacePackages:
    """The packages of the workspace that are installed in an environment."""

    def __init__(self, env: str, work: str) -> None:
        self.env, self.work, self.site = env, os.path.realpath(work), site_packages(env)

    def installed(self) -> Iterator[InstalledPackage]:
        for name in sorted(os.listdir(self.site)):
            if not name.endswith(".dist-info"):
                continue
            try:
                with open(
                    os.path.join(self.site, name, "direct_url.json"), encoding="utf-8"
                ) as file:
                    origin: dict[str, Any] = json.load(file)
            except (OSError, ValueError):
                continue
            url: str = origin.get("url", "")
            path = os.path.realpath(unquote(urlsplit(url).path))
            if url.startswith("file:") and "dir_info" in origin and inside(path, self.work):
                yield InstalledPackage(name, path, bool(origin["dir_info"].get("editable")))

    def detach(self, since: float) -> Detached:
        """Removes them, and returns what puts them back. `since`: when the set-up began, in seconds
        since 1970.
        """
        packages = list(self.installed())
        files = [
            self._take_out(path) for each in packages for path in self._recorded(each.metadata)
        ]
        # Older tools list packages in files of many.
        for name in sorted(os.listdir(self.site)):
            path = os.path.join(self.site, name)
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
                continue
            if self.work.encode() in content(path):
                if name.endswith(".egg-link") or name == "easy-install.pth":
                    how = "%s is how a pip before 21.3 links a package of the workspace" % name
                    raise NotShareable(how)
                files.append(self._take_out(path))
        generated = [file for each in packages for file in self._generated(each.path, since)]
        return {
            "work": self.work,
            "env": self.env,
            "site": os.path.relpath(self.site, self.env),
            "files": files,
            "generated": generated,
        }

    def _recorded(self, metadata: str) -> Iterator[str]:
        """The paths of a package's installed files."""
        record = os.path.join(self.site, metadata, "RECORD")
        with open(record, newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                path = os.path.normpath(os.path.join(self.site, row[0])) if row else self.env
                is_cache = "__pycache__" in path
                if inside(path, self.env) and os.path.isfile(path) and not is_cache:
                    yield path

    def _take_out(self, path: str) -> StoredFile:
        name = os.path.relpath(path, self.env)
        if path.endswith(BINARY) or os.path.getsize(path) > MAX_FILE_BYTES:
            raise NotShareable("%s is compiled from the workspace" % name)
        stored = (name, stat.S_IMODE(os.stat(path).st_mode), in_base64(path))
        os.unlink(path)
        return stored

    def _generated(self, package: str, since: float) -> Iterator[StoredFile]:
        """Files that the build wrote among the sources. With one that is no version, the
        environment can't be shared.
        """
        for at, directories, names in os.walk(package):
            directories[:] = [name for name in directories if not BUILD_FILES.fullmatch(name)]
            for name in names:
                path = os.path.join(at, name)
                status = os.lstat(path)
                is_new = status.st_mtime >= since and stat.S_ISREG(status.st_mode)
                if BUILD_FILES.fullmatch(name) or not is_new:
                    continue
                shown = os.path.relpath(path, self.work)
                if not VERSION.fullmatch(name) or status.st_size > MAX_FILE_BYTES:
                    raise NotShareable("its set-up made %s among the sources" % shown)
                yield shown, stat.S_IMODE(status.st_mode), in_base64(path)


def restored(detached: Detached, work: str, env: str) -> Iterator[tuple[str, int, bytes]]:
    """(path in `env`, mode, content) of what was taken out, for the run whose files are in
    `work`.
    """
    pairs: list[tuple[bytes, bytes]] = []
    for old, new in ((detached["work"], work), (detached["env"], env)):
        pairs += [(old.encode(), new.encode()), (quote(old).encode(), quote(new).encode())]
    for path, mode, encoded in detached["files"]:
        data = base64.b64decode(encoded)
        for old, new in pairs:
            data = data.replace(old, new)
        yield path, mode, data


def inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + os.sep)


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def in_base64(path: str) -> str:
    return base64.b64encode(content(path)).decode()
