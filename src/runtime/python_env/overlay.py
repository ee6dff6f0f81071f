"""A run's own environment on top of a shared one: the shared packages, and those of its workspace.

What the run installs goes into its own, too.
"""

from __future__ import annotations

import base64
import os
import re
import stat

from . import workspace_packages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .workspace_packages import Detached

# No larger file is a script.
MAX_SCRIPT_BYTES = 64 * 1024


class Overlay:
    """`shared`: the path of the environment below; `detached`: what was taken out of it. `make` is
    called in a process of the training user's: all that it makes is the user's.
    """

    def __init__(self, shared: str, detached: Detached, *, directory: str, work: str) -> None:
        self.shared, self.detached, self.directory, self.work = shared, detached, directory, work
        self.site: str = detached["site"]

    def make(self) -> None:
        os.makedirs(os.path.join(self.directory, self.site))
        os.makedirs(os.path.join(self.directory, "bin"), exist_ok=True)
        self._write_configuration()
        self._link_pythons()
        self._make_scripts()
        # A path file runs those of the shared packages too, which a path alone would not. What is
        # installed goes before the workspace.
        text = "import site; site.addsitedir(%r)\n" % os.path.join(self.shared, self.site)
        self._write(os.path.join(self.site, "_kept.pth"), 0o644, text.encode())
        restored = workspace_packages.restored(
            self.detached, os.path.realpath(self.work), self.directory
        )
        for path, mode, data in restored:
            self._write(path, mode, data)
        self._link_data()
        self._write_versions()

    def _write_configuration(self) -> None:
        path = os.path.join(self.shared, "pyvenv.cfg")
        if os.path.exists(path):
            data = workspace_packages.content(path)
        else:
            # conda's is no virtual environment itself.
            home = os.path.join(self.shared, "bin")
            data = ("home = %s\ninclude-system-site-packages = false\n" % home).encode()
        self._write("pyvenv.cfg", 0o644, data)

    def _link_pythons(self) -> None:
        for name in os.listdir(os.path.join(self.shared, "bin")):
            if re.fullmatch(r"python(3(\.\d+t?)?)?", name):
                python = os.path.realpath(os.path.join(self.shared, "bin", name))
                self._link(python, os.path.join("bin", name))

    def _make_scripts(self) -> None:
        """Scripts start the run's Python, which finds the workspace's packages; other programs are
        linked.
        """
        old = os.path.join(self.shared, "bin", "").encode() + b"python"
        new = os.path.join(self.directory, "bin", "").encode() + b"python"
        for name in os.listdir(os.path.join(self.shared, "bin")):
            path, target = os.path.join(self.shared, "bin", name), os.path.join("bin", name)
            exists = os.path.lexists(os.path.join(self.directory, target))
            if exists or not os.path.isfile(path):
                continue
            is_small = os.path.getsize(path) <= MAX_SCRIPT_BYTES
            data = workspace_packages.content(path) if is_small else b""
            start, rest = data[:512], data[512:]
            if start.startswith(b"#!") and old in start:
                mode = stat.S_IMODE(os.stat(path).st_mode)
                self._write(target, mode, start.replace(old, new) + rest)
            elif not name.lower().startswith("activate"):
                self._link(path, target)

    def _link_data(self) -> None:
        """Data that packages bring beside their modules: share, etc, include, libraries."""
        lib = os.path.realpath(os.path.join(self.shared, "lib"))
        for below in ("", "lib", os.path.dirname(self.site)):
            for name in os.listdir(os.path.join(self.shared, below)):
                target = os.path.join(below, name)
                origin = os.path.join(self.shared, target)
                if not os.path.lexists(os.path.join(self.directory, target)):
                    # lib64, where it is lib by another name, is the run's own lib.
                    self._link("lib" if os.path.realpath(origin) == lib else origin, target)

    def _write_versions(self) -> None:
        """A version that a build writes among the sources, where a run's sources lack it."""
        for name, mode, data in self.detached["generated"]:
            path = os.path.join(self.work, name)
            if os.path.isdir(os.path.dirname(path)) and not os.path.lexists(path):
                self._write(path, mode, base64.b64decode(data))

    def _write(self, path: str, mode: int, data: bytes) -> None:
        path = os.path.join(self.directory, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)

    def _link(self, target: str, path: str) -> None:
        os.symlink(target, os.path.join(self.directory, path))
