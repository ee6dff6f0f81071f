"""How each tool makes a Python environment in a directory."""

from __future__ import annotations

import glob
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Mapping

    from ..system.documents import RunSpec
    from .dependency_files import DependencyFiles
    from .uv_pip import Installer

    # Runs one command line in a directory to its end, and raises SetupFailed where it fails. A
    # variable that is None is unset.
    RunCommand = Callable[["list[str]", Mapping[str, "str | None"], str], None]

TOOLS = {
    "poetry": (
        "poetry",
        "pipx install poetry, or commit a poetry.lock: uv then runs the poetry that wrote it",
    ),
    "conda": ("conda", 'use an AMI that has it, or set "train.setup"'),
    "pip": ("python3", "install it"),
}
NO_INDEX = (
    "poetry takes its packages from where poetry.lock says, and has no setting that puts "
    '"train.packageIndex" in their place: name the index in pyproject.toml '
    '([[tool.poetry.source]], priority = "primary") and lock again'
)
UV_INSTALL = ["uv", "pip", "install"]
PIP_INSTALL = ["-I", "-m", "pip", "install", "--disable-pip-version-check"]


class SetupFailed(Exception):
    """`code`: the exit code of the command that failed, negative for a signal; None where none did.
    `full`: the disk was full.
    """

    def __init__(self, message: str, code: int | None = None, full: bool = False) -> None:
        super().__init__(message)
        self.code, self.full = code, full


class Builder:
    """`say(text)` puts a line into the log. `installer` installs in pip's place, if it is not None;
    `poetry`: the words that poetry's command line begins with. `copy`: no hard links into uv's
    cache.
    """

    def __init__(
        self,
        spec: RunSpec,
        dependency_files: DependencyFiles,
        directory: str,
        *,
        run: RunCommand,
        say: Callable[[str], object],
        installer: Installer | None = None,
        poetry: list[str],
        copy: bool = False,
    ) -> None:
        self.spec, self.dependency_files, self.directory = spec, dependency_files, directory
        self.run, self.say, self.installer = run, say, installer
        self.poetry, self.copy = poetry, copy
        self.root = dependency_files.root
        self.env = os.path.join(directory, "env")
        self.file = os.path.join(self.root, spec["environment"]["file"])

    def build(self) -> str:
        """Makes the environment in `directory`, and returns its path."""
        {
            "uv": self._with_uv,
            "poetry": self._with_poetry,
            "pip": self._with_pip,
            "conda": self._with_conda,
        }[self.dependency_files.kind]()
        return self.env

    def link(self, package: str) -> None:
        """Installs a package of the workspace so that its files stay where they are."""
        if self.dependency_files.kind == "uv":
            line = [*UV_INSTALL, "--python", self._python(), "--no-deps", "-e", package]
            self.run(line, {}, self.root)
        elif self.installer:
            options = [each for each in self.installer.arguments if each != "--require-hashes"]
            line = [*UV_INSTALL, "--python", self._python(), *options, "--no-deps", "-e", package]
            self.run(line, self.installer.variables, self.root)
        else:
            line = [self._python(), *PIP_INSTALL, "--no-deps", "-e", package]
            self.run(line, {}, self.root)

    def _with_uv(self) -> None:
        lock = self.dependency_files.lock if self.spec["environment"]["locked"] else None
        if lock is None or not self.spec.get("packageIndex"):
            variables = dict(self._link_mode(), UV_PROJECT_ENVIRONMENT=self.env)
            self.run(["uv", "sync", *(["--frozen"] if lock else [])], variables, self.root)
            return
        # uv.lock names each file by the URL it was locked from; as requirements, the same versions
        # and hashes come from any index.
        listed = os.path.join(self.directory, "requirements.txt")
        export = ["uv", "export", "--frozen", "--quiet", "--no-header", "--output-file", listed]
        self.run(["uv", "venv", self.env], {}, self.root)
        self.run(export, {}, self.root)
        install = [*UV_INSTALL, "--python", self._python(), "-r", listed]
        self.run(install, self._link_mode(), os.path.dirname(lock))

    def _link_mode(self) -> dict[str, str]:
        # A hard link into uv's cache would share its content, owner and mode with every other
        # environment.
        return {"UV_LINK_MODE": "copy"} if self.copy else {}

    def _with_poetry(self) -> None:
        if self.spec.get("packageIndex"):
            raise SetupFailed(NO_INDEX)
        # poetry chooses a Python and a name; it would use an environment that is active instead.
        variables = {
            "POETRY_VIRTUALENVS_PATH": self.directory,
            "POETRY_VIRTUALENVS_IN_PROJECT": "false",
            "POETRY_VIRTUALENVS_CREATE": "true",
            "POETRY_VIRTUALENVS_OPTIONS_NO_PIP": "false",
            "VIRTUAL_ENV": None,
        }
        self.run([*self.poetry, "install", "--no-interaction"], variables, self.root)
        made = [
            each.name
            for each in os.scandir(self.directory)
            if each.is_dir(follow_symlinks=False)
            and os.path.exists(os.path.join(each.path, "pyvenv.cfg"))
        ]
        if made:
            self.env = os.path.join(self.directory, made[0])

    def _with_pip(self) -> None:
        if self.installer:
            try:
                return self._with_uv_pip(self.installer)
            except SetupFailed as failed:
                by_uv_itself = failed.code is not None and failed.code >= 0 and not failed.full
                if self.installer.required or not by_uv_itself:
                    raise
                self.say("uv did not install the packages: trying pip")
                self.installer = None
                # By the account, whose directory it is in.
                self.run(["rm", "-rf", self.env], {}, self.root)
        self.run(["python3", "-I", "-m", "venv", self.env], {}, self.root)
        self.run([self._python(), *PIP_INSTALL, "-r", self.file], {}, self.root)

    def _with_uv_pip(self, installer: Installer) -> None:
        # `python3 -m venv` takes most of its time to install pip, which uv does in no time. Scripts
        # of the project may call it.
        self.run(["python3", "-I", "-m", "venv", "--without-pip", self.env], {}, self.root)
        install = [*UV_INSTALL, "--python", self._python()]
        wheels = bundled(self.env)
        if wheels:
            options = ["--quiet", "--no-config", "--offline", "--no-index", "--no-deps"]
            self.run([*install, *options, *wheels], self._link_mode(), self.root)
        else:
            self.say(
                "the environment has no pip: python3 has none to install "
                "(ensurepip, in Debian's package python3-venv)"
            )
        variables = dict(self._link_mode(), **installer.variables)
        self.run([*install, *installer.arguments, "-r", self.file], variables, self.root)

    def _with_conda(self) -> None:
        line = ["conda", "env", "create", "--yes", "-p", self.env, "-f", self.file]
        self.run(line, {}, self.root)

    def _python(self) -> str:
        return os.path.join(self.env, "bin", "python")


def bundled(env: str) -> list[str]:
    """The wheels that the Python of a virtual environment installs into a new one: pip, and before
    3.12 setuptools.
    """
    python = os.path.realpath(os.path.join(env, "bin", "python"))
    prefix = os.path.dirname(os.path.dirname(python))
    libraries = glob.glob(os.path.join(glob.escape(env), "lib", "python3.*"))
    versions = [os.path.basename(path) for path in libraries]
    places = [
        os.path.join(prefix, lib, version, "ensurepip", "_bundled")
        for version in versions
        for lib in ("lib", "lib64")
    ]
    places.append(os.path.join(prefix, "share", "python-wheels"))
    with_setuptools = any(re.fullmatch(r"python3\.([89]|1[01])", each) for each in versions)
    found: list[str] = []
    for name in ["pip"] + (["setuptools"] if with_setuptools else []):
        wheels = [
            path
            for place in places
            for path in sorted(glob.glob(os.path.join(glob.escape(place), name + "-*.whl")))
        ]
        found += wheels[-1:]
    return found
