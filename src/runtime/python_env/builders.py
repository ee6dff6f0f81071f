"""How each tool makes a Python environment in a directory."""
import glob
import os
import re

TOOLS = {
    "poetry": ("poetry", "pipx install poetry, or commit a poetry.lock: uv then runs the poetry that wrote it"),
    "conda": ("conda", "use an AMI that has it, or set \"train.setup\""),
    "pip": ("python3", "install it"),
}
NO_INDEX = (
    "poetry takes its packages from where poetry.lock says, and has no setting that puts \"train.packageIndex\" in their place: "
    "name the index in pyproject.toml ([[tool.poetry.source]], priority = \"primary\") and lock again"
)


class SetupFailed(Exception):
    """`code`: the exit code of the command that failed, negative for a signal; None where none did. `full`: the disk was full."""

    def __init__(self, message, code=None, full=False):
        super().__init__(message)
        self.code, self.full = code, full


class Builder:
    """`run(line, variables, cwd)` runs one command line to its end and raises where it fails; `say(text)` puts a line into the log.
    `installer`: a `uv_pip.Installer` that installs in pip's place, or None; `poetry`: the words that poetry's command line begins with."""

    def __init__(self, part, manifests, directory, run, say, installer=None, poetry=("poetry",), copy=False):
        self.part, self.manifests, self.directory, self.run, self.say, self.installer = part, manifests, directory, run, say, installer
        self.poetry, self.copy = list(poetry), copy
        self.root = manifests.root
        self.env = os.path.join(directory, "env")
        self.file = os.path.join(self.root, part["environment"]["file"])

    def build(self):
        """Makes the environment in `directory`, and says where in it."""
        getattr(self, "with_" + self.manifests.kind)()
        return self.env

    def with_uv(self):
        locked = self.part["environment"]["locked"] and self.manifests.lock is not None
        if not (locked and self.part.get("packageIndex")):
            self.run(["uv", "sync"] + (["--frozen"] if locked else []), dict(self.linking(), UV_PROJECT_ENVIRONMENT=self.env), self.root)
            return
        # uv.lock names each file by the URL it was locked from; as requirements, the same versions and hashes come from any index.
        listed = os.path.join(self.directory, "requirements.txt")
        self.run(["uv", "venv", self.env], {}, self.root)
        self.run(["uv", "export", "--frozen", "--quiet", "--no-header", "--output-file", listed], {}, self.root)
        self.run(["uv", "pip", "install", "--python", self.python(), "-r", listed], self.linking(), os.path.dirname(self.manifests.lock))

    def linking(self):
        # A hard link into uv's cache would be of one content, owner and mode with what every other environment holds.
        return {"UV_LINK_MODE": "copy"} if self.copy else {}

    def with_poetry(self):
        if self.part.get("packageIndex"):
            raise SetupFailed(NO_INDEX)
        # poetry chooses a Python and a name; an environment that is entered already would be taken instead.
        self.run(self.poetry + ["install", "--no-interaction"], {
            "POETRY_VIRTUALENVS_PATH": self.directory, "POETRY_VIRTUALENVS_IN_PROJECT": "false", "POETRY_VIRTUALENVS_CREATE": "true",
            "POETRY_VIRTUALENVS_OPTIONS_NO_PIP": "false", "VIRTUAL_ENV": None,
        }, self.root)
        made = [each.name for each in os.scandir(self.directory) if each.is_dir(follow_symlinks=False) and os.path.exists(os.path.join(each.path, "pyvenv.cfg"))]
        if made:
            self.env = os.path.join(self.directory, made[0])

    def with_pip(self):
        if self.installer:
            try:
                return self.with_uv_pip()
            except SetupFailed as failed:
                if self.installer.required or failed.code is None or failed.code < 0 or failed.full:
                    raise
                self.say("uv did not install the packages: trying pip")
                self.installer = None
                self.clear()
        self.run(["python3", "-I", "-m", "venv", self.env], {}, self.root)
        self.run([self.python(), "-I", "-m", "pip", "install", "--disable-pip-version-check", "-r", self.file], {}, self.root)

    def with_uv_pip(self):
        # `python3 -m venv` takes most of its time to install pip, which uv does in no time. Scripts of the project may call it.
        self.run(["python3", "-I", "-m", "venv", "--without-pip", self.env], {}, self.root)
        wheels = bundled(self.env)
        if wheels:
            line = ["uv", "pip", "install", "--quiet", "--python", self.python(), "--no-config", "--offline", "--no-index", "--no-deps"]
            self.run(line + wheels, self.linking(), self.root)
        else:
            self.say("the environment has no pip: python3 has none to install (ensurepip, in Debian's package python3-venv)")
        line = ["uv", "pip", "install", "--python", self.python()] + self.installer.arguments
        self.run(line + ["-r", self.file], dict(self.linking(), **self.installer.variables), self.root)

    def clear(self):
        """Removes a half-made environment: by the account, whose directory it is in."""
        self.run(["rm", "-rf", self.env], {}, self.root)

    def with_conda(self):
        self.run(["conda", "env", "create", "--yes", "-p", self.env, "-f", self.file], {}, self.root)

    def python(self):
        return os.path.join(self.env, "bin", "python")

    def link(self, package):
        """Installs a package of the workspace so that its files stay where they are."""
        if self.manifests.kind == "uv":
            self.run(["uv", "pip", "install", "--python", self.python(), "--no-deps", "-e", package], {}, self.root)
        elif self.installer:
            options = [each for each in self.installer.arguments if each != "--require-hashes"]
            line = ["uv", "pip", "install", "--python", self.python()] + options + ["--no-deps", "-e", package]
            self.run(line, self.installer.variables, self.root)
        else:
            self.run([self.python(), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "-e", package], {}, self.root)


def bundled(env):
    """The wheels that the Python of a virtual environment installs into a new one: pip, and before 3.12 setuptools."""
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(os.path.join(env, "bin", "python"))))
    versions = [os.path.basename(path) for path in glob.glob(os.path.join(glob.escape(env), "lib", "python3.*"))]
    places = [os.path.join(prefix, lib, version, "ensurepip", "_bundled") for version in versions for lib in ("lib", "lib64")]
    places.append(os.path.join(prefix, "share", "python-wheels"))
    found = []
    for name in ["pip"] + (["setuptools"] if any(re.fullmatch(r"python3\.([89]|1[01])", version) for version in versions) else []):
        wheels = [path for place in places for path in sorted(glob.glob(os.path.join(glob.escape(place), name + "-*.whl")))]
        found += wheels[-1:]
    return found
