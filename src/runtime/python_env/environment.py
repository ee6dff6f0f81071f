"""Sets up the Python environment of a run: a shared one where it can be, with the workspace's
packages of the run's own.
"""

from __future__ import annotations

import os
import time

from ..disk import shared_cache
from ..disk.trash import remove_tree
from ..system import account as accounts
from . import cache_key, package_index
from .dependency_files import DependencyFiles, read_dependency_files
from .environment_maker import EnvironmentMaker
from .overlay import Overlay
from .setup_steps import Steps
from .setup_tools import SetupTools
from .training_command import TrainingCommand
from .workspace_packages import NotShareable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any, Callable, Mapping

    from ..system.documents import RunSpec
    from .setup_steps import Process
    from .training_command import Command


class Setup:
    """One run's set-up. `lock`, when it is no longer None, keeps the environment from being
    removed: it stays open as long as the run lives.
    """

    # Made by `run`.
    steps: Steps
    tools: SetupTools

    def __init__(
        self,
        root: str,
        run_dir: str,
        spec: RunSpec,
        *,
        project: str,
        work: str,
        account: pwd.struct_passwd,
        variables: Mapping[str, str],
    ) -> None:
        self.root, self.run_dir, self.spec, self.project = root, run_dir, spec, project
        self.work = os.path.realpath(work)
        self.account, self.variables = account, dict(variables)
        self.manager = spec["environment"]["manager"]
        self.env = os.path.join(run_dir, "env")
        self.lock: int | None = None

    def has_steps(self) -> bool:
        setup = self.spec["setup"]
        return bool(setup) or (setup is None and self.manager != "none")

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
        index = package_index.variables(self.spec.get("packageIndex"))
        self.steps = steps = Steps(
            self.root,
            self.run_dir,
            {**self.variables, **index},
            account=self.account,
            process=process,
            say=say,
        )
        self.tools = SetupTools(
            self.spec, steps, self.variables, work=self.work, account=self.account, pause=pause
        )
        self.tools.offer_uv()
        if self.spec["setup"] is not None:
            for line in self.spec["setup"]:
                steps.run(line, {}, self.project)
            if self.manager == "none":
                return self._command().without_environment()
            self.tools.require(None)
            return self._command().by_tool(self.env)
        if self.manager == "none":
            return self._command().without_environment()
        dependency_files = self._read_dependency_files()
        maker = EnvironmentMaker(
            self.spec,
            dependency_files,
            steps,
            tools=self.tools,
            work=self.work,
            account=self.account,
            pause=pause,
        )
        is_locked = self.spec["environment"]["locked"] and dependency_files.lock
        if self.manager in ("uv", "poetry") and not is_locked:
            say(
                "no %s.lock was synced, so the environment is not shared between runs"
                % self.manager
            )
            return self._make_private(maker)
        try:
            return self._use_shared(maker, dependency_files, pause)
        except NotShareable as why:
            say("the environment is not shared between runs: %s" % why)
            return self._make_private(maker)

    def _read_dependency_files(self) -> DependencyFiles:
        """The files that say what is installed. Makes the tools ready that install it."""
        git = (self.spec.get("metadata") or {}).get("git") or {}
        dependency_files = read_dependency_files(
            self.work, self.spec, commit=git.get("commit"), account=self.account
        )
        self.tools.require(dependency_files)
        self.steps.variables = dict(dependency_files.versions, **self.steps.variables)
        if self.manager == "pip":
            self.tools.choose_installer(dependency_files)
        return dependency_files

    def _command(self) -> TrainingCommand:
        return TrainingCommand(self.spec, self.project, self.variables, poetry=self.tools.poetry)

    def _use_shared(
        self,
        maker: EnvironmentMaker,
        dependency_files: DependencyFiles,
        pause: Callable[[float], object],
    ) -> Command:
        """The command in the run's own environment, which has the workspace's packages, on top of
        one that runs share.
        """
        say = self.steps.say
        name = cache_key.key(
            self.spec,
            dependency_files,
            variables=self.steps.variables,
            account=self.account,
            tools=self.tools.names(),
        )
        directory = os.path.join(self.root, "envs", name)
        started = time.monotonic()
        record: dict[str, Any]
        try:
            record, self.lock = shared_cache.acquire(
                directory,
                "run " + os.path.basename(self.run_dir),
                make=lambda: maker.make_shared(directory),
                say=say,
                pause=pause,
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
        say("environment %s, ready after %.1f s" % (name, time.monotonic() - started))
        return self._command().inside(self.env, shared)

    def _make_private(self, maker: EnvironmentMaker) -> Command:
        """The command in an environment that no other run uses."""
        self._reset_own()
        env = maker.make_private(self.env)
        return self._command().inside(env, env)

    def _reset_own(self) -> None:
        """Makes the directory of the run's own environment, empty for each attempt."""
        remove_tree(self.env)
        os.mkdir(self.env)
        accounts.own(self.env, self.account)


def whole(record: dict[str, Any]) -> bool:
    """Whether the Python of a shared environment still exists: it lies elsewhere, and disappears
    with what brought it.
    """
    return "alone" in record or os.path.exists(os.path.join(record["env"], "bin", "python"))
