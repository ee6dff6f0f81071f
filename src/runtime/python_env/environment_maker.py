"""Makes a Python environment: one that runs share, or a run's own."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time

from ..disk.trash import remove_tree
from ..system import account as accounts
from . import bytecode, setup_progress
from .builders import Builder, SetupFailed
from .uv_cache import Cache
from .workspace_packages import NotShareable, WorkspacePackages, site_packages

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable, Generator

    from ..system.documents import RunSpec
    from .dependency_files import DependencyFiles
    from .setup_steps import Steps
    from .setup_tools import SetupTools
    from .workspace_packages import Detached


class EnvironmentMaker:
    def __init__(
        self,
        spec: RunSpec,
        dependency_files: DependencyFiles,
        steps: Steps,
        *,
        tools: SetupTools,
        work: str,
        account: pwd.struct_passwd,
        pause: Callable[[float], object],
    ) -> None:
        self.spec, self.dependency_files, self.steps, self.tools = (
            spec,
            dependency_files,
            steps,
            tools,
        )
        self.work, self.account, self.pause = work, account, pause

    def make_shared(self, directory: str) -> dict[str, Any]:
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
                copy = self._is_guarded() and not (cache and cache.is_new)
                builder = self._builder(made, copy=copy)
                env = builder.build()
                try:
                    self._make_editable(builder, env)
                    detached = self._detach(env, since)
                    self.compile(env, cache)
                except NotShareable as reason:
                    why = str(reason)
            if self._is_guarded() and detached:
                try:
                    accounts.guard(made, self.account)
                except OSError as error:
                    why = "it can't become root's alone: %s" % error.strerror
        except BaseException:
            remove_tree(made)
            raise
        self._say_size(env)
        if why is not None:
            remove_tree(made)
            return {"alone": why}
        return {
            "env": env,
            "members": detached,
            "manager": self.dependency_files.kind,
            "madeAt": int(time.time() * 1000),
        }

    def make_private(self, directory: str) -> str:
        """Makes the environment in a directory that no other run uses, and returns its path."""
        with self._uv_cache() as cache:
            # Files that become root's must not be those of an environment of the account's.
            env = self._builder(directory, copy=self._is_guarded() and bool(cache)).build()
        self._say_size(env)
        return env

    def compile(self, env: str, cache: Cache | None) -> None:
        """Compiles the modules ahead: the environment becomes read-only, so each run would compile
        what it imports.
        """
        python = os.path.join(env, "bin", "python")
        line = bytecode.command(python, site_packages(env), cache.bytecode if cache else None)
        title = "compile the modules"
        try:
            self.steps.run(line, {"VIRTUAL_ENV": None}, self.dependency_files.root, title=title)
        except SetupFailed:
            self.steps.say("some modules are not compiled: each run compiles those that it imports")

    def _say_size(self, env: str) -> None:
        self.steps.say("the environment has %s" % setup_progress.describe(env, self.account))

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

    def _is_guarded(self) -> bool:
        """Whether the environment is root's once it is made, so that no run changes what others
        use.
        """
        return os.geteuid() == 0 and self.account.pw_uid != 0

    def _builder(self, directory: str, *, copy: bool) -> Builder:
        self.steps.directory = directory
        return Builder(
            self.spec,
            self.dependency_files,
            directory,
            run=self.steps.run,
            say=self.steps.say,
            installer=self.tools.installer,
            poetry=self.tools.poetry,
            copy=copy,
        )

    @contextlib.contextmanager
    def _uv_cache(self) -> Generator[Cache | None, None, None]:
        """Has the steps use the cache that is kept for uv; None where uv has another one, or
        installs nothing.
        """
        variables = self.steps.variables
        has_own = any(map(variables.get, ("UV_CACHE_DIR", "UV_NO_CACHE")))
        if not self.tools.use_uv() or has_own:
            yield None
            return
        with Cache(
            self.steps.root,
            self.steps.run_dir,
            caller=self.spec.get("caller"),
            account=self.account,
            guarded=self._is_guarded(),
            pause=self.pause,
        ) as cache:
            variables["UV_CACHE_DIR"] = cache.path
            try:
                yield cache
            finally:
                del variables["UV_CACHE_DIR"]
