"""The Python environment of a run: kept where it can be, the workspace's packages always the run's own."""
import contextlib
import os
import shutil
import tempfile
import time

from ..disk import full_disk, shared_cache
from ..disk.trash import remove_tree
from ..system import account as accounts
from . import bytecode, cache_key, lockfiles, package_index, pip_settings, setup_progress, tools, uv_pip, uv_tool
from .builders import TOOLS, Builder, SetupFailed
from .overlay import Overlay
from .uv_cache import Cache
from .workspace_packages import Alone, Members, site_packages

# Options of `uv run` that choose what is installed: with one of them it installs, else the environment is as it should be.
CHOOSING = {"--extra", "--all-extras", "--group", "--all-groups", "--only-group", "--no-group", "--only-dev", "--no-dev", "--package", "--all-packages"}



class ToolMissing(Exception):
    pass


class Setup:
    """One run's set-up. `lock`, when it is no longer None, keeps the environment from being removed: it stays open as long
    as the run lives."""

    def __init__(self, root, home, part, project, work, account, variables):
        self.root, self.home, self.part, self.project, self.work = root, home, part, project, os.path.realpath(work)
        self.account, self.variables = account, dict(variables)
        self.kind = part["environment"]["manager"]
        self.env = os.path.join(home, "env")
        self.lock = None
        self.manifests = None
        # What installs in pip's place.
        self.installer = None
        # The words that poetry's command line begins with.
        self.poetry = ["poetry"]
        # Where the environment is made.
        self.made = None

    def has_steps(self):
        return bool(self.part["setup"]) or (self.part["setup"] is None and self.kind != "none")

    def run(self, process, say, pause):
        """(the training's command line, its variables).

        process(line, variables, cwd, look) runs one command line to its end, as the training user and with its output in the log,
        and returns its exit code (negative: a signal); it calls look() several times a second meanwhile. say(text) puts a line into the log; pause(seconds) waits. `process`
        and `pause` raise where the run is to stop."""
        self.process, self.say, self.pause = process, say, pause
        self.told = dict(self.variables, **package_index.variables(self.part.get("packageIndex")))
        self.offer_uv()
        if self.part["setup"] is not None:
            for line in self.part["setup"]:
                self.step(line, {}, self.project)
            return self.by_tool()
        if self.kind == "none":
            return self.command([], {})
        commit = ((self.part.get("metadata") or {}).get("git") or {}).get("commit")
        self.manifests = lockfiles.gather(self.work, self.part, commit, self.account)
        self.need()
        self.told = dict(self.manifests.versions, **self.told)
        if self.kind == "pip":
            self.installer = self.choose_installer()
        if self.kind in ("uv", "poetry") and not (self.part["environment"]["locked"] and self.manifests.lock):
            self.say("no %s.lock was synced, so the environment is not shared between runs" % self.kind)
            return self.alone()
        try:
            return self.together()
        except Alone as why:
            self.say("the environment is not shared between runs: %s" % why)
            return self.alone()

    def together(self):
        """In an environment that runs share, under one of the run's own that has the workspace's packages."""
        name = cache_key.key(self.part, self.manifests, self.told, self.account, self.tools())
        directory = os.path.join(self.root, "envs", name)
        started = time.monotonic()
        try:
            record, self.lock = shared_cache.use(directory, "run " + os.path.basename(self.home), make=lambda: self.keep(directory), say=self.say, pause=self.pause, whole=whole)
        except shared_cache.Broken:
            raise Alone("the shared one has lost its Python, and another run is using it")
        if "alone" in record:
            os.close(self.lock)
            self.lock = None
            raise Alone(record["alone"])
        self.own()
        overlay = Overlay(record["env"], record["members"], self.env, self.work)
        accounts.act(self.account, overlay.make)
        self.say("environment %s, ready after %.1f s" % (name, time.monotonic() - started))
        return self.entered(self.env, record["env"])

    def tools(self):
        """What makes the environment."""
        if self.kind == "pip":
            return ["uv", "python3"] if self.installer else ["python3"]
        return [self.poetry[-2], "uv", "python3"] if self.kind == "poetry" and len(self.poetry) > 1 else [self.kind, "python3"]

    def keep(self, directory):
        """Makes the environment that is kept in a directory, and returns its record. What fails leaves nothing."""
        os.chmod(os.path.dirname(directory), 0o755)
        os.chmod(directory, 0o755)
        # What was killed may still write: never where we do.
        for each in os.listdir(directory):
            if each.startswith("made-"):
                remove_tree(os.path.join(directory, each))
        made = tempfile.mkdtemp(prefix="made-", dir=directory)
        os.chmod(made, 0o755)
        accounts.own(made, self.account)
        try:
            since = time.time()
            with self.cached() as cache:
                # Hard links only into a cache that becomes root's with the environment: the account may not make any to files that are.
                builder = self.builder(made, copy=self.is_guarded() and not (cache and cache.is_new))
                env = builder.build()
                taken = self.linked(builder, env) or accounts.act(self.account, lambda: self.taken(env, since))
                if "alone" not in taken:
                    self.compile(env, cache)
            if self.is_guarded() and "alone" not in taken:
                accounts.guard(made, self.account)
        except BaseException:
            remove_tree(made)
            raise
        self.say("the environment has %s" % setup_progress.describe(env, self.account))
        if "alone" in taken:
            remove_tree(made)
            return taken
        return {"env": env, "members": taken, "manager": self.kind, "madeAt": int(time.time() * 1000)}

    def linked(self, builder, env):
        """Every package of the workspace is made editable: where one can't be, what is then kept of all this."""
        for package in accounts.act(self.account, lambda: self.copied(env)):
            try:
                builder.link(package)
            except SetupFailed as failed:
                return {"alone": "%s can't be installed as editable: %s" % (os.path.relpath(package, self.work), failed)}
        return None

    def copied(self, env):
        """Packages of the workspace whose files were copied into the environment: the code of one run."""
        try:
            return [path for _, path, is_editable in Members(env, self.work).installed() if not is_editable]
        except Alone:
            return []

    def taken(self, env, since):
        try:
            return Members(env, self.work).take_out(since)
        except Alone as why:
            return {"alone": str(why)}

    def compile(self, env, cache):
        """Compiles the modules ahead: the environment becomes read-only, so each run would compile what it imports."""
        line = bytecode.command(os.path.join(env, "bin", "python"), site_packages(env), cache and cache.bytecode)
        try:
            self.step(line, {"VIRTUAL_ENV": None}, self.manifests.root, "compile the modules")
        except SetupFailed:
            self.say("some modules are not compiled: each run compiles those that it imports")

    def is_guarded(self):
        """Whether the environment is root's once it is made, so that no run changes what others use."""
        return os.geteuid() == 0 and self.account.pw_uid != 0

    def alone(self):
        self.own()
        with self.cached() as cache:
            # Files that become root's must not be those of an environment of the account's.
            env = self.builder(self.env, copy=self.is_guarded() and bool(cache)).build()
        self.say("the environment has %s" % setup_progress.describe(env, self.account))
        return self.entered(env, env)

    def builder(self, directory, **options):
        self.made = directory
        return Builder(self.part, self.manifests, directory, self.step, self.say, self.installer, self.poetry, **options)

    @contextlib.contextmanager
    def cached(self):
        """Gives the steps meanwhile the cache that uv keeps; None where uv has another one, or installs nothing."""
        if not (self.kind == "uv" or self.installer or len(self.poetry) > 1) or any(self.told.get(name) for name in ("UV_CACHE_DIR", "UV_NO_CACHE")):
            yield None
            return
        with Cache(self.root, self.home, self.part.get("caller"), self.account, self.is_guarded(), self.pause) as cache:
            self.told["UV_CACHE_DIR"] = cache.path
            try:
                yield cache
            finally:
                del self.told["UV_CACHE_DIR"]

    def own(self):
        """The directory of the run's own environment, anew for each attempt."""
        remove_tree(self.env)
        os.mkdir(self.env)
        accounts.own(self.env, self.account)

    def entered(self, env, below):
        """The command in a run's environment; `below` is the one that has the tool's own files."""
        path = os.path.join(env, "bin")
        if self.kind == "conda":
            # conda puts its own directories first on the PATH; the run's Python comes before them.
            prefix = ["conda", "run", "--no-capture-output", "-p", below, "sh", "-c", 'PATH="$0:$PATH"; export PATH; exec "$@"', path]
            return self.command(prefix, {})
        more = {"VIRTUAL_ENV": env, "PATH": path + os.pathsep + self.variables.get("PATH", "")}
        if self.kind == "uv":
            # `uv run` in the training's own command enters it too.
            more["UV_PROJECT_ENVIRONMENT"] = env
            if not any(word.split("=")[0] in CHOOSING for word in self.part["command"] or []):
                more["UV_NO_SYNC"] = "1"
        return self.command([], more)

    def by_tool(self):
        """The command after a set-up of the user's own, which the tool itself finds."""
        if self.kind == "none":
            return self.command([], {})
        self.need()
        if self.kind == "pip":
            return self.command([], {"VIRTUAL_ENV": self.env, "PATH": os.path.join(self.env, "bin") + os.pathsep + self.variables.get("PATH", "")})
        prefix = {
            "uv": ["uv", "run", "--no-sync"], "poetry": ["poetry", "run"], "conda": ["conda", "run", "--no-capture-output", "-p", self.env],
        }[self.kind]
        return self.command(prefix, {})

    def command(self, prefix, more):
        part = self.part
        if part["script"] is not None:
            python = "python3" if self.kind == "none" else "python"
            line = prefix + [python, os.path.join(self.project, part["script"])] + part["args"]
        else:
            own = os.path.basename(part["command"][0]) == self.kind
            line = ([] if own else prefix) + part["command"] + part["args"]
            if own and self.kind == "poetry" and len(self.poetry) > 1:
                line[:1] = self.poetry
        return line, dict(self.variables, **more)

    def step(self, line, more, cwd, title=None):
        """One command line of the set-up; a variable that is None is taken away. `title` is logged in place of the line."""
        variables = {name: value for name, value in dict(self.told, **more).items() if value is not None}
        self.say("+ %s" % (title or package_index.without_credentials(" ".join(line))))
        started, log = time.monotonic(), os.path.join(self.home, "log")
        begun = os.path.getsize(log) if os.path.exists(log) else 0
        name = title or setup_progress.name_of(line)
        code = self.process(line, variables, cwd, setup_progress.Progress(name, self.made, self.account, self.say).look)
        took = "after %.1f s" % (time.monotonic() - started)
        if code != 0:
            full = full_disk.named_full_disk(log, begun) or full_disk.is_full(self.home)
            why = ": the disk of %s was full, and has %s free now" % (self.root, setup_progress.size(shutil.disk_usage(self.home).free)) if full else ""
            raise SetupFailed("%s %s %s%s" % (name, "exited with %d" % code if code > 0 else "was killed by signal %d" % -code, took, why), code, full)
        self.say("%s: done %s" % (name, took))

    def need(self):
        if self.kind == "uv":
            try:
                return self.need_uv()
            except uv_tool.Unavailable as why:
                raise ToolMissing("uv is not on the PATH of the training's user, and can't be fetched: %s. To have it, %s" % (why, tools.GET_UV))
        tool, how = TOOLS[self.kind]
        if shutil.which(tool, path=self.variables.get("PATH")) is None:
            if self.kind == "poetry" and self.has_uv_run_poetry():
                return
            raise ToolMissing("%s is not on the PATH of the training's user: %s" % (tool, how))

    def has_uv_run_poetry(self):
        """Has uv fetch and run the poetry that wrote the lock file, where that can be told."""
        if not self.manifests or not self.manifests.poetry:
            return False
        try:
            self.need_uv()
        except uv_tool.Unavailable as why:
            self.say("uv, which would run poetry, can't be fetched: %s" % why)
            return False
        wanted = "poetry==" + self.manifests.poetry
        self.poetry = ["uv", "tool", "run", "--no-config", "--python", "python3", "--from", wanted, "poetry"]
        self.say("poetry is not on the PATH: uv runs %s, which wrote %s" % (wanted, os.path.relpath(self.manifests.lock, self.work)))
        return True

    def need_uv(self, indexes=()):
        """Puts uv on the PATH, of the set-up and of the training. @raises Unavailable"""
        if shutil.which("uv", path=self.told.get("PATH")) is None:
            directory = uv_tool.ensure(self.root, self.told, self.account, indexes, self.say, self.pause)
            for variables in (self.variables, self.told):
                variables["PATH"] = os.pathsep.join(filter(None, [variables.get("PATH"), directory]))

    def offer_uv(self):
        """For a command line that is uv's, though the project's tool is another one: it may bring uv itself."""
        lines = (self.part["setup"] or []) + [self.part["command"] or []]
        if self.kind == "uv" or not any(line and line[0] in uv_tool.PROGRAMS for line in lines):
            return
        try:
            self.need_uv()
        except uv_tool.Unavailable as why:
            self.say("uv is not on the PATH, and can't be fetched: %s" % why)

    def choose_installer(self):
        """How uv installs the packages of a requirements file; None: pip does."""
        wanted = self.part.get("installer") or "auto"
        if wanted == "pip":
            return None
        try:
            settings = accounts.act(self.account, lambda: pip_settings.read(self.told))
            arguments, variables = uv_pip.translate(settings, self.manifests.options, self.told)
            self.need_uv(self.manifests.options["index"])
        except (uv_pip.Unfit, uv_tool.Unavailable) as why:
            if wanted == "uv":
                raise ToolMissing("\"train.installer\" is uv, and it can't be used: %s" % why)
            self.say("pip installs the packages, not uv: %s" % why)
            return None
        return uv_pip.Installer(arguments, variables, wanted == "uv")


def whole(record):
    """Whether the Python of a kept environment is still there: it lies elsewhere, and goes with what brought it."""
    return "alone" in record or os.path.exists(os.path.join(record["env"], "bin", "python"))
