"""Sets up the Python environment of a run: a shared one where it can be, with the workspace's
packages of the run's own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time

from ..disk import full_disk, shared_cache
from ..disk.trash import remove_tree
from ..system import account as accounts
from . import (
    bytecode,
    cache_key,
    lockfiles,
    package_index,
    pip_settings,
    setup_progress,
    tools,
    uv_pip,
    uv_tool,
)
from .builders import TOOLS, Builder, SetupFailed
from .overlay import Overlay
from .uv_cache import Cache
from .workspace_packages import NotShareable, WorkspacePackages, site_packages

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable, Generator, Iterable, Mapping, Protocol, Tuple

    from ..system.documents import RunSpec
    from .lockfiles import Manifests
    from .workspace_packages import Detached

    class Process(Protocol):
        """Runs one command line to its end, as the training user and with its output in the log.
        Returns its exit code, negative for a signal. Calls `look` several times a second. Raises
        where the run is to stop.
        """

        def __call__(
            self,
            line: list[str],
            variables: dict[str, str],
            directory: str,
            *,
            look: Callable[[], None],
        ) -> int: ...

    # The training's command line and its variables.
    Command = Tuple["list[str]", "dict[str, str]"]

# Options of `uv run` that choose what is installed: with one of them, it may install. Without, the
# environment is as it should be.
CHOOSING = {
    "--extra",
    "--all-extras",
    "--group",
    "--all-groups",
    "--only-group",
    "--no-group",
    "--only-dev",
    "--no-dev",
    "--package",
    "--all-packages",
}
CONDA_RUN = ["conda", "run", "--no-capture-output", "-p"]


class ToolMissing(Exception):
    pass


class Setup:
    """One run's set-up. `lock`, when it is no longer None, keeps the environment from being
    removed: it stays open as long as the run lives.
    """

    # Arguments of `run`.
    process: Process
    say: Callable[[str], object]
    pause: Callable[[float], object]
    manifests: Manifests
    # The variables of the set-up's steps.
    step_variables: dict[str, str]

    def __init__(
        self,
        root: str,
        home: str,
        spec: RunSpec,
        *,
        project: str,
        work: str,
        account: pwd.struct_passwd,
        variables: Mapping[str, str],
    ) -> None:
        self.root, self.home, self.spec, self.project = root, home, spec, project
        self.work = os.path.realpath(work)
        self.account, self.variables = account, dict(variables)
        self.kind = spec["environment"]["manager"]
        self.env = os.path.join(home, "env")
        self.lock: int | None = None
        # What installs in pip's place.
        self.installer: uv_pip.Installer | None = None
        # The words that poetry's command line begins with.
        self.poetry = ["poetry"]
        # Where the environment is made.
        self.made: str | None = None

    def has_steps(self) -> bool:
        setup = self.spec["setup"]
        return bool(setup) or (setup is None and self.kind != "none")

    def run(
        self,
        process: Process,
        say: Callable[[str], object],
        pause: Callable[[float], object],
    ) -> Command:
        """Sets the environment up. Returns the training's command line and its variables.

        `say(text)` puts a line into the log; `pause(seconds)` waits, and raises where the run is to
        stop.
        """
        self.process, self.say, self.pause = process, say, pause
        index = package_index.variables(self.spec.get("packageIndex"))
        self.step_variables = dict(self.variables, **index)
        self._offer_uv()
        if self.spec["setup"] is not None:
            for line in self.spec["setup"]:
                self._step(line, {}, self.project)
            return self._command_of_tool()
        if self.kind == "none":
            return self._command([], {})
        git = (self.spec.get("metadata") or {}).get("git") or {}
        self.manifests = lockfiles.gather(
            self.work, self.spec, commit=git.get("commit"), account=self.account
        )
        self._require_tool(self.manifests)
        self.step_variables = dict(self.manifests.versions, **self.step_variables)
        if self.kind == "pip":
            self.installer = self._choose_installer(self.manifests)
        is_locked = self.spec["environment"]["locked"] and self.manifests.lock
        if self.kind in ("uv", "poetry") and not is_locked:
            name = self.kind
            self.say("no %s.lock was synced, so the environment is not shared between runs" % name)
            return self._make_private()
        try:
            return self._use_shared()
        except NotShareable as why:
            self.say("the environment is not shared between runs: %s" % why)
            return self._make_private()

    def _use_shared(self) -> Command:
        """The command in the run's own environment, which has the workspace's packages, on top of
        one that runs share.
        """
        name = cache_key.key(
            self.spec,
            self.manifests,
            variables=self.step_variables,
            account=self.account,
            tools=self._tools(),
        )
        directory = os.path.join(self.root, "envs", name)
        started = time.monotonic()
        record: dict[str, Any]
        try:
            record, self.lock = shared_cache.use(
                directory,
                "run " + os.path.basename(self.home),
                make=lambda: self._make_shared(directory),
                say=self.say,
                pause=self.pause,
                whole=whole,
            )
        except shared_cache.Broken:
            raise NotShareable("the shared one has lost its Python, and another run is using it")
        if "alone" in record:
            os.close(self.lock)
            self.lock = None
            raise NotShareable(record["alone"])
        self._reset_own()
        shared: str = record["env"]
        overlay = Overlay(shared, record["members"], directory=self.env, work=self.work)
        accounts.act(self.account, overlay.make)
        self.say("environment %s, ready after %.1f s" % (name, time.monotonic() - started))
        return self._command_in(self.env, shared)

    def _tools(self) -> list[str]:
        """The programs that make the environment."""
        if self.kind == "pip":
            return ["uv", "python3"] if self.installer else ["python3"]
        if self._runs_poetry_by_uv():
            return [self.poetry[-2], "uv", "python3"]
        return [self.kind, "python3"]

    def _runs_poetry_by_uv(self) -> bool:
        return self.kind == "poetry" and len(self.poetry) > 1

    def _make_shared(self, directory: str) -> dict[str, Any]:
        """Makes the environment that runs share in a directory, and returns its record. Leaves
        nothing behind where it fails.
        """
        os.chmod(os.path.dirname(directory), 0o755)
        os.chmod(directory, 0o755)
        # A process that was killed may still write into its own directory, never into ours.
        for each in os.listdir(directory):
            if each.startswith("made-"):
                remove_tree(os.path.join(directory, each))
        made = tempfile.mkdtemp(prefix="made-", dir=directory)
        os.chmod(made, 0o755)
        accounts.own(made, self.account)
        why = None
        detached: Detached | None = None
        env = made
        try:
            since = time.time()
            with self._uv_cache() as cache:
                # Hard links only into a cache that becomes root's with the environment: the account
                # may not make any to files that are.
                copy = self.is_guarded() and not (cache and cache.is_new)
                builder = self._builder(made, copy=copy)
                env = builder.build()
                try:
                    self._make_editable(builder, env)
                    detached = self._detach(env, since)
                    self._compile(env, cache)
                except NotShareable as reason:
                    why = str(reason)
            if self.is_guarded() and detached:
                accounts.guard(made, self.account)
        except BaseException:
            remove_tree(made)
            raise
        self.say("the environment has %s" % setup_progress.describe(env, self.account))
        if why is not None:
            remove_tree(made)
            return {"alone": why}
        return {
            "env": env,
            "members": detached,
            "manager": self.kind,
            "madeAt": int(time.time() * 1000),
        }

    def _make_editable(self, builder: Builder, env: str) -> None:
        """Makes every package of the workspace editable. @raises NotShareable"""
        for package in accounts.act(self.account, lambda: self._copied(env)):
            try:
                builder.link(package)
            except SetupFailed as failed:
                name = os.path.relpath(package, self.work)
                raise NotShareable("%s can't be installed as editable: %s" % (name, failed))

    def _copied(self, env: str) -> list[str]:
        """Packages of the workspace whose files were copied into the environment: the code of one
        run.
        """
        try:
            installed = WorkspacePackages(env, self.work).installed()
            return [each.path for each in installed if not each.is_editable]
        except NotShareable:
            return []

    def _detach(self, env: str, since: float) -> Detached:
        """Takes the workspace's packages out of an environment. @raises NotShareable"""

        def detach() -> tuple[Detached | None, str]:
            try:
                return WorkspacePackages(env, self.work).detach(since), ""
            except NotShareable as why:
                return None, str(why)

        detached, why = accounts.act(self.account, detach)
        if detached is None:
            raise NotShareable(why)
        return detached

    def _compile(self, env: str, cache: Cache | None) -> None:
        """Compiles the modules ahead: the environment becomes read-only, so each run would compile
        what it imports.
        """
        python = os.path.join(env, "bin", "python")
        line = bytecode.command(python, site_packages(env), cache.bytecode if cache else None)
        title = "compile the modules"
        try:
            self._step(line, {"VIRTUAL_ENV": None}, self.manifests.root, title=title)
        except SetupFailed:
            self.say("some modules are not compiled: each run compiles those that it imports")

    def is_guarded(self) -> bool:
        """Whether the environment is root's once it is made, so that no run changes what others
        use.
        """
        return os.geteuid() == 0 and self.account.pw_uid != 0

    def _make_private(self) -> Command:
        """The command in an environment that no other run uses."""
        self._reset_own()
        with self._uv_cache() as cache:
            # Files that become root's must not be those of an environment of the account's.
            env = self._builder(self.env, copy=self.is_guarded() and bool(cache)).build()
        self.say("the environment has %s" % setup_progress.describe(env, self.account))
        return self._command_in(env, env)

    def _builder(self, directory: str, *, copy: bool) -> Builder:
        self.made = directory
        return Builder(
            self.spec,
            self.manifests,
            directory,
            run=self._step,
            say=self.say,
            installer=self.installer,
            poetry=self.poetry,
            copy=copy,
        )

    @contextlib.contextmanager
    def _uv_cache(self) -> Generator[Cache | None, None, None]:
        """Has the steps use the cache that is kept for uv; None where uv has another one, or
        installs nothing.
        """
        is_used = self.kind == "uv" or self.installer or self._runs_poetry_by_uv()
        if not is_used or any(map(self.step_variables.get, ("UV_CACHE_DIR", "UV_NO_CACHE"))):
            yield None
            return
        with Cache(
            self.root,
            self.home,
            caller=self.spec.get("caller"),
            account=self.account,
            guarded=self.is_guarded(),
            pause=self.pause,
        ) as cache:
            self.step_variables["UV_CACHE_DIR"] = cache.path
            try:
                yield cache
            finally:
                del self.step_variables["UV_CACHE_DIR"]

    def _reset_own(self) -> None:
        """Makes the directory of the run's own environment, empty for each attempt."""
        remove_tree(self.env)
        os.mkdir(self.env)
        accounts.own(self.env, self.account)

    def _command_in(self, env: str, below: str) -> Command:
        """The command in a run's environment; `below` is the one that has the tool's own files."""
        path = os.path.join(env, "bin")
        if self.kind == "conda":
            # conda puts its own directories first on the PATH; the run's Python comes before them.
            script = 'PATH="$0:$PATH"; export PATH; exec "$@"'
            return self._command([*CONDA_RUN, below, "sh", "-c", script, path], {})
        more = {"VIRTUAL_ENV": env, "PATH": self._path_with(path)}
        if self.kind == "uv":
            # `uv run` in the training's own command enters it too.
            more["UV_PROJECT_ENVIRONMENT"] = env
            words = self.spec["command"] or []
            if not any(word.split("=")[0] in CHOOSING for word in words):
                more["UV_NO_SYNC"] = "1"
        return self._command([], more)

    def _path_with(self, directory: str) -> str:
        return directory + os.pathsep + self.variables.get("PATH", "")

    def _command_of_tool(self) -> Command:
        """The command after a set-up of the user's own, whose environment the tool itself finds."""
        if self.kind == "none":
            return self._command([], {})
        self._require_tool(None)
        if self.kind == "pip":
            path = self._path_with(os.path.join(self.env, "bin"))
            return self._command([], {"VIRTUAL_ENV": self.env, "PATH": path})
        prefix = {
            "uv": ["uv", "run", "--no-sync"],
            "poetry": ["poetry", "run"],
            "conda": [*CONDA_RUN, self.env],
        }[self.kind]
        return self._command(prefix, {})

    def _command(self, prefix: list[str], more: dict[str, str]) -> Command:
        spec = self.spec
        command = spec["command"] or []
        if spec["script"] is not None:
            python = "python3" if self.kind == "none" else "python"
            line = [*prefix, python, os.path.join(self.project, spec["script"])]
        elif os.path.basename(command[0]) != self.kind:
            line = prefix + command
        elif self._runs_poetry_by_uv():
            line = self.poetry + command[1:]
        else:
            line = command
        return line + spec["args"], dict(self.variables, **more)

    def _step(
        self,
        line: list[str],
        more: Mapping[str, str | None],
        cwd: str,
        *,
        title: str | None = None,
    ) -> None:
        """Runs one command line of the set-up; a variable that is None is unset. `title` is logged
        in place of the line.
        """
        merged: dict[str, str | None] = {**self.step_variables, **more}
        variables = {name: value for name, value in merged.items() if value is not None}
        self.say("+ %s" % (title or package_index.without_credentials(" ".join(line))))
        started, log = time.monotonic(), os.path.join(self.home, "log")
        log_start = os.path.getsize(log) if os.path.exists(log) else 0
        name = title or setup_progress.name_of(line)
        progress = setup_progress.Progress(name, self.made, account=self.account, say=self.say)
        code = self.process(line, variables, cwd, look=progress.look)
        took = "after %.1f s" % (time.monotonic() - started)
        if code == 0:
            self.say("%s: done %s" % (name, took))
            return
        full = full_disk.named_full_disk(log, log_start) or full_disk.is_full(self.home)
        how = "exited with %d" % code if code > 0 else "was killed by signal %d" % -code
        why = ""
        if full:
            free = setup_progress.size(shutil.disk_usage(self.home).free)
            why = ": the disk of %s was full, and has %s free now" % (self.root, free)
        raise SetupFailed("%s %s %s%s" % (name, how, took, why), code, full)

    def _require_tool(self, manifests: Manifests | None) -> None:
        """Checks that the tool is on the PATH, where uv can be put. @raises ToolMissing"""
        if self.kind == "uv":
            try:
                return self._require_uv()
            except uv_tool.Unavailable as why:
                raise ToolMissing(
                    "uv is not on the PATH of the training's user, and can't be fetched: %s. "
                    "To have it, %s" % (why, tools.GET_UV)
                )
        tool, how = TOOLS[self.kind]
        if shutil.which(tool, path=self.variables.get("PATH")) is None:
            if self.kind == "poetry" and manifests and self._use_poetry_by_uv(manifests):
                return
            raise ToolMissing("%s is not on the PATH of the training's user: %s" % (tool, how))

    def _use_poetry_by_uv(self, manifests: Manifests) -> bool:
        """Has uv fetch and run the poetry that wrote the lock file. False where its version is not
        known, or where there is no uv.
        """
        if not manifests.poetry or not manifests.lock:
            return False
        try:
            self._require_uv()
        except uv_tool.Unavailable as why:
            self.say("uv, which would run poetry, can't be fetched: %s" % why)
            return False
        wanted = "poetry==" + manifests.poetry
        options = ["--no-config", "--python", "python3", "--from", wanted]
        self.poetry = ["uv", "tool", "run", *options, "poetry"]
        lock = os.path.relpath(manifests.lock, self.work)
        self.say("poetry is not on the PATH: uv runs %s, which wrote %s" % (wanted, lock))
        return True

    def _require_uv(self, indexes: Iterable[str] = ()) -> None:
        """Puts uv on the PATH, of the set-up and of the training. @raises Unavailable"""
        if shutil.which("uv", path=self.step_variables.get("PATH")) is None:
            directory = uv_tool.ensure(
                self.root,
                self.step_variables,
                account=self.account,
                indexes=indexes,
                say=self.say,
                pause=self.pause,
            )
            for variables in (self.variables, self.step_variables):
                path = filter(None, [variables.get("PATH"), directory])
                variables["PATH"] = os.pathsep.join(path)

    def _offer_uv(self) -> None:
        """Fetches uv for a command line that is uv's, though the project's tool is another one. No
        error where it can't be fetched: the command line may bring uv itself.
        """
        lines = (self.spec["setup"] or []) + [self.spec["command"] or []]
        is_used = any(line and line[0] in uv_tool.PROGRAMS for line in lines)
        if self.kind == "uv" or not is_used:
            return
        try:
            self._require_uv()
        except uv_tool.Unavailable as why:
            self.say("uv is not on the PATH, and can't be fetched: %s" % why)

    def _choose_installer(self, manifests: Manifests) -> uv_pip.Installer | None:
        """How uv installs the packages of a requirements file; None: pip does."""
        wanted = self.spec.get("installer") or "auto"
        options = manifests.options
        if wanted == "pip" or options is None:
            return None
        try:
            settings = accounts.act(self.account, lambda: pip_settings.read(self.step_variables))
            arguments, variables = uv_pip.translate(settings, options, self.step_variables)
            self._require_uv(options["index"])
        except (uv_pip.Unfit, uv_tool.Unavailable) as why:
            if wanted == "uv":
                raise ToolMissing('"train.installer" is uv, and it can\'t be used: %s' % why)
            self.say("pip installs the packages, not uv: %s" % why)
            return None
        return uv_pip.Installer(arguments, variables, wanted == "uv")


def whole(record: dict[str, Any]) -> bool:
    """Whether the Python of a shared environment still exists: it lies elsewhere, and disappears
    with what brought it.
    """
    return "alone" in record or os.path.exists(os.path.join(record["env"], "bin", "python"))
