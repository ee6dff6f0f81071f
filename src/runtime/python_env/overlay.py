"""A run's own environment on top of a kept one: the kept packages, those of the run's workspace, and room for more."""
import base64
import os
import re
import stat

from . import workspace_packages

SCRIPT = 64 * 1024


class Overlay:
    """`taken`: what `Members.take_out` gave. `make` is for the training user's own process: all of it is his."""

    def __init__(self, kept, taken, directory, work):
        self.kept, self.taken, self.directory, self.work = kept, taken, directory, work

    def make(self):
        os.makedirs(os.path.join(self.directory, self.taken["site"]))
        os.makedirs(os.path.join(self.directory, "bin"), exist_ok=True)
        self.configure()
        self.pythons()
        self.scripts()
        # A path file runs those of the kept packages too, which a path alone would not. What is installed goes before the workspace.
        kept = os.path.join(self.kept, self.taken["site"])
        self.write(os.path.join(self.taken["site"], "_kept.pth"), 0o644, ("import site; site.addsitedir(%r)\n" % kept).encode())
        for path, mode, data in workspace_packages.restored(self.taken, os.path.realpath(self.work), self.directory):
            self.write(path, mode, data)
        self.rest()
        self.versions()

    def configure(self):
        path = os.path.join(self.kept, "pyvenv.cfg")
        if os.path.exists(path):
            data = workspace_packages.content(path)
        else:
            # conda's is no virtual environment itself.
            data = ("home = %s\ninclude-system-site-packages = false\n" % os.path.join(self.kept, "bin")).encode()
        self.write("pyvenv.cfg", 0o644, data)

    def pythons(self):
        for name in os.listdir(os.path.join(self.kept, "bin")):
            if re.fullmatch(r"python(3(\.\d+t?)?)?", name):
                self.link(os.path.realpath(os.path.join(self.kept, "bin", name)), os.path.join("bin", name))

    def scripts(self):
        """Scripts start the run's Python, whose processes know the workspace's packages; programs are what they are."""
        old, new = os.path.join(self.kept, "bin", "").encode(), os.path.join(self.directory, "bin", "").encode()
        for name in os.listdir(os.path.join(self.kept, "bin")):
            path, target = os.path.join(self.kept, "bin", name), os.path.join("bin", name)
            if os.path.lexists(os.path.join(self.directory, target)) or not os.path.isfile(path):
                continue
            data = workspace_packages.content(path) if os.path.getsize(path) <= SCRIPT else b""
            start, rest = data[:512], data[512:]
            if start.startswith(b"#!") and old + b"python" in start:
                self.write(target, stat.S_IMODE(os.stat(path).st_mode), start.replace(old + b"python", new + b"python") + rest)
            elif not name.lower().startswith("activate"):
                self.link(path, target)

    def rest(self):
        """Data that packages bring beside their modules: share, etc, include, libraries."""
        for below in ("", "lib", os.path.dirname(self.taken["site"])):
            for name in os.listdir(os.path.join(self.kept, below)):
                target = os.path.join(below, name)
                origin = os.path.join(self.kept, target)
                if not os.path.lexists(os.path.join(self.directory, target)):
                    # lib64, where it is lib by another name, is the run's own lib.
                    self.link("lib" if os.path.realpath(origin) == os.path.realpath(os.path.join(self.kept, "lib")) else origin, target)

    def versions(self):
        """A version that a build writes among the sources, where a run's sources lack it."""
        for path, mode, data in self.taken["generated"]:
            path = os.path.join(self.work, path)
            if os.path.isdir(os.path.dirname(path)) and not os.path.lexists(path):
                self.write(path, mode, base64.b64decode(data))

    def write(self, path, mode, data):
        path = os.path.join(self.directory, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)

    def link(self, target, path):
        os.symlink(target, os.path.join(self.directory, path))
