"""The tools of a run's set-up: those that it needs, and those that it fetches."""

from __future__ import annotations

import os
import shutil

from ..system import account as accounts
from . import pip_settings, tools, uv_pip, uv_tool
from .builders import TOOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Iterable

    from ..system.documents import RunSpec
    from .dependency_files import DependencyFiles
    from .setup_steps import Steps


class ToolMissing(Exception):
    pass


class SetupTools:
    """`training`: the training's variables, which get uv on their PATH as well as those of the
    steps. `poetry`: the words that poetry's command line begins with. `installer`: what installs
    in pip's place, or None.
    """

    def __init__(
        self,
        spec: RunSpec,
        steps: Steps,
        training: dict[str, str],
        *,
        work: str,
        account: pwd.struct_passwd,
        pause: Callable[[float], object],
    ) -> None:
        self.spec, self.steps, self.training = spec, steps, training
        self.work, self.account, self.pause = work, account, pause
        self.manager = spec["environment"]["manager"]
        self.poetry = ["poetry"]
        self.installer: uv_pip.Installer | None = None

    def names(self) -> list[str]:
        """The programs that make the environment."""
        if self.manager == "pip":
            return ["uv", "python3"] if self.installer else ["python3"]
        if self.runs_poetry_by_uv():
            return [self.poetry[-2], "uv", "python3"]
        return [self.manager, "python3"]

    def runs_poetry_by_uv(self) -> bool:
        return self.manager == "poetry" and len(self.poetry) > 1

    def use_uv(self) -> bool:
        """Whether uv installs packages."""
        return self.manager == "uv" or bool(self.installer) or self.runs_poetry_by_uv()

    def require(self, dependency_files: DependencyFiles | None) -> None:
        """Checks that the tool is on the PATH, where uv can be put. @raises ToolMissing"""
        if self.manager == "uv":
            try:
                return self._require_uv()
            except uv_tool.Unavailable as why:
                raise ToolMissing(
                    "uv is not on the PATH of the training's user, and can't be fetched: %s. "
                    "To have it, %s" % (why, tools.GET_UV)
                )
        tool, how = TOOLS[self.manager]
        if shutil.which(tool, path=self.training.get("PATH")) is None:
            if (
                self.manager == "poetry"
                and dependency_files
                and self._use_poetry_by_uv(dependency_files)
            ):
                return
            raise ToolMissing("%s is not on the PATH of the training's user: %s" % (tool, how))

    def offer_uv(self) -> None:
        """Fetches uv for a command line that is uv's, though the project's tool is another one. No
        error where it can't be fetched: the command line may bring uv itself.
        """
        lines = (self.spec["setup"] or []) + [self.spec["command"] or []]
        is_used = any(line and line[0] in uv_tool.PROGRAMS for line in lines)
        if self.manager == "uv" or not is_used:
            return
        try:
            self._require_uv()
        except uv_tool.Unavailable as why:
            self.steps.say("uv is not on the PATH, and can't be fetched: %s" % why)

    def choose_installer(self, dependency_files: DependencyFiles) -> None:
        """Decides whether uv installs the packages of a requirements file, or pip does."""
        wanted = self.spec.get("installer") or "auto"
        options = dependency_files.options
        if wanted == "pip" or options is None:
            return
        variables = self.steps.variables
        try:
            settings = accounts.act(self.account, lambda: pip_settings.read(variables))
            arguments, more = uv_pip.translate(settings, options, variables)
            self._require_uv(options["index"])
        except (uv_pip.Unfit, uv_tool.Unavailable) as why:
            if wanted == "uv":
                raise ToolMissing('"train.installer" is uv, and it can\'t be used: %s' % why)
            self.steps.say("pip installs the packages, not uv: %s" % why)
            return
        self.installer = uv_pip.Installer(arguments, more, wanted == "uv")

    def _use_poetry_by_uv(self, dependency_files: DependencyFiles) -> bool:
        """Has uv fetch and run the poetry that wrote the lock file. False where its version is not
        known, or where there is no uv.
        """
        if not dependency_files.poetry or not dependency_files.lock:
            return False
        try:
            self._require_uv()
        except uv_tool.Unavailable as why:
            self.steps.say("uv, which would run poetry, can't be fetched: %s" % why)
            return False
        wanted = "poetry==" + dependency_files.poetry
        options = ["--no-config", "--python", "python3", "--from", wanted]
        self.poetry = ["uv", "tool", "run", *options, "poetry"]
        lock = os.path.relpath(dependency_files.lock, self.work)
        self.steps.say("poetry is not on the PATH: uv runs %s, which wrote %s" % (wanted, lock))
        return True

    def _require_uv(self, indexes: Iterable[str] = ()) -> None:
        """Puts uv on the PATH, of the set-up and of the training. @raises Unavailable"""
        if shutil.which("uv", path=self.steps.variables.get("PATH")) is None:
            directory = uv_tool.ensure(
                self.steps.root,
                self.steps.variables,
                account=self.account,
                indexes=indexes,
                say=self.steps.say,
                pause=self.pause,
            )
            for variables in (self.training, self.steps.variables):
                path = filter(None, [variables.get("PATH"), directory])
                variables["PATH"] = os.pathsep.join(path)
