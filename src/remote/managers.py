"""How each tool makes a Python environment in a directory."""
import os

TOOLS = {
    "uv": ("uv", "it is one file: https://docs.astral.sh/uv/"),
    "poetry": ("poetry", "pipx install poetry"),
    "conda": ("conda", "use an AMI that has it, or set \"train.setup\""),
    "pip": ("python3", "install it"),
}
NO_INDEX = (
    "poetry takes its packages from where poetry.lock says, and has no setting that puts \"train.index\" in their place: "
    "name the index in pyproject.toml ([[tool.poetry.source]], priority = \"primary\") and lock again"
)


class SetupFailed(Exception):
    """`code`: the exit code of the command that failed, negative for a signal; None where none did."""

    def __init__(self, message, code=None):
        super().__init__(message)
        self.code = code


class Builder:
    """`run(line, variables, cwd)` runs one command line to its end and raises where it fails."""

    def __init__(self, part, manifests, directory, run, compile=False, copy=False):
        self.part, self.manifests, self.directory, self.run = part, manifests, directory, run
        self.compile, self.copy = compile, copy
        self.root = manifests.root
        self.env = os.path.join(directory, "env")
        self.file = os.path.join(self.root, part["environment"]["file"])

    def build(self):
        """Makes the environment in `directory`, and says where in it."""
        getattr(self, "with_" + self.manifests.kind)()
        return self.env

    def with_uv(self):
        locked = self.part["environment"]["locked"] and self.manifests.lock is not None
        # A hard link into uv's cache would be of one content, owner and mode with what every other environment holds.
        more = {"UV_LINK_MODE": "copy"} if self.copy else {}
        compiled = ["--compile-bytecode"] if self.compile else []
        if not (locked and self.part.get("index")):
            line = ["uv", "sync"] + (["--frozen"] if locked else []) + compiled
            self.run(line, dict(more, UV_PROJECT_ENVIRONMENT=self.env), self.root)
            return
        # uv.lock names each file by the URL it was locked from; as requirements, the same versions and hashes come from any index.
        listed = os.path.join(self.directory, "requirements.txt")
        self.run(["uv", "venv", self.env], {}, self.root)
        self.run(["uv", "export", "--frozen", "--quiet", "--no-header", "--output-file", listed], {}, self.root)
        self.run(["uv", "pip", "install", "--python", self.python()] + compiled + ["-r", listed], more, os.path.dirname(self.manifests.lock))

    def with_poetry(self):
        if self.part.get("index"):
            raise SetupFailed(NO_INDEX)
        # poetry chooses a Python and a name; an environment that is entered already would be taken instead.
        self.run(["poetry", "install", "--no-interaction"], {
            "POETRY_VIRTUALENVS_PATH": self.directory, "POETRY_VIRTUALENVS_IN_PROJECT": "false", "POETRY_VIRTUALENVS_CREATE": "true",
            "POETRY_VIRTUALENVS_OPTIONS_NO_PIP": "false", "VIRTUAL_ENV": None,
        }, self.root)
        made = [each.name for each in os.scandir(self.directory) if each.is_dir(follow_symlinks=False) and os.path.exists(os.path.join(each.path, "pyvenv.cfg"))]
        if made:
            self.env = os.path.join(self.directory, made[0])
        if self.compile:
            try:
                self.run([self.python(), "-I", "-m", "compileall", "-q", os.path.join(self.env, "lib")], {"VIRTUAL_ENV": None}, self.root)
            except SetupFailed:
                # Of a file that is for another Python: the others are compiled.
                pass

    def with_pip(self):
        self.run(["python3", "-I", "-m", "venv", self.env], {}, self.root)
        self.run([self.python(), "-I", "-m", "pip", "install", "--disable-pip-version-check", "-r", self.file], {}, self.root)

    def with_conda(self):
        self.run(["conda", "env", "create", "--yes", "-p", self.env, "-f", self.file], {}, self.root)

    def python(self):
        return os.path.join(self.env, "bin", "python")

    def link(self, package):
        """Installs a package of the workspace so that its files stay where they are."""
        if self.manifests.kind == "uv":
            self.run(["uv", "pip", "install", "--python", self.python(), "--no-deps", "-e", package], {}, self.root)
        else:
            self.run([self.python(), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "-e", package], {}, self.root)
