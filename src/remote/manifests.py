"""The files of a workspace that decide what its Python environment holds."""
import os
import re
import types

from . import account as accounts, files, requirements, uv_pip

# What a package's metadata and dependencies may be written in.
OF_PACKAGE = re.compile(r"pyproject\.toml|setup\.(py|cfg)|requirements[^/]*\.txt|MANIFEST\.in")
# How uv.lock and poetry.lock, which are written by their tools, name a package of the workspace.
UV_SOURCE = re.compile(r'^source = \{ (editable|virtual|directory|path) = "((?:[^"\\]|\\.)*)" \}', re.MULTILINE)
# A directory of archives in place of an index: uv names the archives in it by their names alone.
UV_REGISTRY = re.compile(r'^source = \{ registry = "((?:[^"\\]|\\.)*)" \}', re.MULTILINE)
POETRY_SOURCE = re.compile(r'^\[package\.source\]\ntype = "(directory|file)"\nurl = "((?:[^"\\]|\\.)*)"', re.MULTILINE)
NAME = re.compile(r"^\[(?:project|tool\.poetry)\]\s*$(?:\n(?!\[).*)*?\nname\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']", re.MULTILINE)
# The module that builds a package, where its files are the package's own.
BACKEND = re.compile(r"^build-backend\s*=\s*[\"']([A-Za-z0-9_]+)", re.MULTILINE)
BACKEND_PATH = re.compile(r"^backend-path\s*=\s*\[([^\]]*)\]", re.MULTILINE)
SKIPPED = {"node_modules", "__pycache__", "build", "dist"}
# How deep a new directory of Python files changes what a build finds: namespaces lie that deep, and hardly deeper.
DEPTH = 3


def gather(work, part, commit, account):
    """What `Manifests` tells, as attributes, read by a process of the account's: the files lie where it can exchange them."""
    return types.SimpleNamespace(**accounts.act(account, lambda: Manifests(work, part).told(commit)))


class Manifests:
    """`files`: those that decide by their contents; `packages`: directories that hold packages of the workspace;
    `virtual`: directories that only name dependencies. All are paths."""

    def __init__(self, work, part):
        environment = part["environment"]
        self.work, self.kind = work, environment["manager"]
        self.root = os.path.join(work, environment["root"])
        self.lock, self.files, self.packages, self.options = None, [], [], None
        if self.kind in ("uv", "poetry"):
            self.of_lock()
        else:
            self.files, named = requirements.local(os.path.join(self.root, environment["file"]), self.root)
            if self.kind == "pip":
                self.options = uv_pip.options_of(self.files, work)
            self.packages = [path for path in named if os.path.isdir(path) and (path + os.sep).startswith(work + os.sep)]
            self.files += [path for path in named if os.path.isfile(path)]
        for package in self.packages:
            self.files += self.of_package(package) + self.backend_of(package)
        self.files += self.above(".python-version")
        self.files = sorted(set(self.files))

    def told(self, commit):
        return {
            "work": self.work, "kind": self.kind, "root": self.root, "lock": self.lock, "layout": self.layout(), "options": self.options,
            "hashes": {os.path.relpath(path, self.work): files.hash_file(path) for path in self.files},
            "versions": self.versions(commit) if commit else {},
        }

    def backend_of(self, package):
        """The files of the module that builds a package, where the package brings it: it decides what is installed."""
        path = os.path.join(package, "pyproject.toml")
        text = requirements.read(path) if os.path.isfile(path) else ""
        module, at = BACKEND.search(text), BACKEND_PATH.search(text)
        found = []
        for directory in re.findall(r"[\"']([^\"']*)[\"']", at.group(1)) if module and at else []:
            base = os.path.normpath(os.path.join(package, directory, module.group(1)))
            found += [base + ".py"] if os.path.isfile(base + ".py") else []
            found += [os.path.join(below, name) for below, _, names in os.walk(base) for name in names if name.endswith(".py")]
        return found

    def above(self, name):
        """The files of a name from the environment's root up to the workspace's."""
        at, found = os.path.normpath(self.root), []
        while True:
            if os.path.isfile(os.path.join(at, name)):
                found.append(os.path.join(at, name))
            if at == self.work or not at.startswith(self.work + os.sep):
                return found
            at = os.path.dirname(at)

    def of_lock(self):
        locks = self.above(self.kind + ".lock")
        self.files = self.above("pyproject.toml") + self.above("uv.toml" if self.kind == "uv" else "poetry.toml")
        self.files += self.of_package(self.root)
        if not locks:
            return
        self.lock = locks[0]
        self.files.append(self.lock)
        base = os.path.dirname(self.lock)
        text = requirements.read(self.lock)
        for how, path in (UV_SOURCE if self.kind == "uv" else POETRY_SOURCE).findall(text):
            path = os.path.normpath(os.path.join(base, path))
            if os.path.isfile(path):
                self.files.append(path)
            elif os.path.isdir(path):
                # One lock file serves the whole workspace; what is not here is not of this project.
                self.files += self.of_package(path)
                if how != "virtual":
                    self.packages.append(path)
        if self.kind == "uv":
            for place in sorted(set(UV_REGISTRY.findall(text))):
                self.files += requirements.archives(place, base)
        if self.kind == "poetry":
            self.packages.append(os.path.normpath(self.root))

    def of_package(self, directory):
        return [os.path.join(directory, name) for name in os.listdir(directory) if OF_PACKAGE.fullmatch(name)]

    def layout(self):
        """The directories of Python files in the packages: a build may write down which there are."""
        found = []
        for package in self.packages:
            start = package.count(os.sep)
            for at, directories, names in os.walk(package):
                directories[:] = [] if at.count(os.sep) - start >= DEPTH else sorted(
                    name for name in directories if name not in SKIPPED and not name.startswith(".") and not name.endswith(".egg-info")
                )
                if any(name.endswith(".py") for name in names):
                    found.append(os.path.relpath(at, self.work))
        return sorted(set(found))

    def versions(self, commit):
        """Variables that say a version where a package takes it from git, which is not sent."""
        version, said = "0.0.0+%s" % commit[:7], {}
        for package in self.packages:
            text = "".join(requirements.read(path) for path in self.of_package(package) if path.endswith((".toml", ".py", ".cfg")))
            if re.search(r"setuptools[-_]scm", text):
                name = NAME.search(text) or re.search(r"^\s*name\s*=\s*[\"']?([A-Za-z0-9._-]+)", text, re.MULTILINE)
                if name:
                    said["SETUPTOOLS_SCM_PRETEND_VERSION_FOR_" + re.sub(r"[-_.]+", "_", name.group(1)).upper()] = version
            if "hatch-vcs" in text:
                said["SETUPTOOLS_SCM_PRETEND_VERSION"] = version
        return said
