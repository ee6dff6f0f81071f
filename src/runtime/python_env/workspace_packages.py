"""The packages of the workspace: taken out of an environment that is kept, and put into each run's own.

What a build writes down for an editable package (paths, finders, metadata, console scripts) holds for every run, once the
run's own directory is in it."""
import base64
import csv
import json
import os
import re
import stat
from urllib.parse import quote, unquote, urlsplit

BINARY = (".so", ".pyd", ".dylib", ".a", ".o")
LARGEST = 1024 * 1024
# What builds leave beside the sources, and what nothing is imported from.
LEFT = re.compile(r"\..*|__pycache__|build|dist|node_modules|.*\.(egg-info|dist-info|pyc)")
VERSION = re.compile(r"[^/]*version[^/]*\.py")


class Alone(Exception):
    """Why an environment can't serve another run."""


def site_packages(env):
    """The directory of installed packages."""
    lib = os.path.join(env, "lib")
    for name in sorted(os.listdir(lib)) if os.path.isdir(lib) else []:
        path = os.path.join(lib, name, "site-packages")
        if re.fullmatch(r"python3\.\d+t?", name) and os.path.isdir(path) and not os.path.islink(os.path.join(lib, name)):
            return path
    raise Alone("it does not have the usual layout: there is no lib/python3.*/site-packages in it")


class Members:
    def __init__(self, env, work):
        self.env, self.work, self.site = env, os.path.realpath(work), site_packages(env)

    def installed(self):
        """(directory of the metadata, path of the package, whether it is editable) for each package of the workspace."""
        for name in sorted(os.listdir(self.site)):
            if not name.endswith(".dist-info"):
                continue
            try:
                with open(os.path.join(self.site, name, "direct_url.json"), encoding="utf-8") as file:
                    said = json.load(file)
            except (OSError, ValueError):
                continue
            path = os.path.realpath(unquote(urlsplit(said.get("url", "")).path))
            if said.get("url", "").startswith("file:") and "dir_info" in said and inside(path, self.work):
                yield name, path, bool(said["dir_info"].get("editable"))

    def take_out(self, since):
        """Removes them, and returns what puts them back. `since`: when the set-up began, seconds."""
        packages = list(self.installed())
        taken = []
        for name, _, _ in packages:
            for path in self.recorded(name):
                taken.append(self.taken(path))
        # Older tools list packages in files of many.
        for name in sorted(os.listdir(self.site)):
            path = os.path.join(self.site, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST and self.work.encode() in content(path):
                if name.endswith(".egg-link") or name == "easy-install.pth":
                    raise Alone("%s is how a pip before 21.3 links a package of the workspace" % name)
                taken.append(self.taken(path))
        made = [each for _, package, _ in packages for each in self.generated(package, since)]
        return {"work": self.work, "env": self.env, "site": os.path.relpath(self.site, self.env), "files": taken, "generated": made}

    def recorded(self, name):
        with open(os.path.join(self.site, name, "RECORD"), newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                path = os.path.normpath(os.path.join(self.site, row[0])) if row else self.env
                if inside(path, self.env) and os.path.isfile(path) and "__pycache__" not in path:
                    yield path

    def taken(self, path):
        if path.endswith(BINARY) or os.path.getsize(path) > LARGEST:
            raise Alone("%s is compiled from the workspace" % os.path.relpath(path, self.env))
        data, mode = content(path), stat.S_IMODE(os.stat(path).st_mode)
        os.unlink(path)
        return [os.path.relpath(path, self.env), mode, base64.b64encode(data).decode()]

    def generated(self, package, since):
        """Files that the build wrote among the sources: a version is taken over, else the environment is of this run alone."""
        for at, directories, names in os.walk(package):
            directories[:] = [name for name in directories if not LEFT.fullmatch(name)]
            for name in names:
                path = os.path.join(at, name)
                status = os.lstat(path)
                if LEFT.fullmatch(name) or status.st_mtime < since or not stat.S_ISREG(status.st_mode):
                    continue
                if not VERSION.fullmatch(name) or status.st_size > LARGEST:
                    raise Alone("its set-up made %s among the sources" % os.path.relpath(path, self.work))
                yield [os.path.relpath(path, self.work), stat.S_IMODE(status.st_mode), base64.b64encode(content(path)).decode()]


def restored(taken, work, env):
    """(path in `env`, mode, bytes) of what was taken out, for the run whose files are in `work`."""
    pairs = []
    for old, new in ((taken["work"], work), (taken["env"], env)):
        pairs += [(old.encode(), new.encode()), (quote(old).encode(), quote(new).encode())]
    for path, mode, data in taken["files"]:
        data = base64.b64decode(data)
        for old, new in pairs:
            data = data.replace(old, new)
        yield path, mode, data


def inside(path, directory):
    return path == directory or path.startswith(directory + os.sep)


def content(path):
    with open(path, "rb") as file:
        return file.read()
