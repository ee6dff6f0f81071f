"""What precedes a run's training: its directories, secrets, datasets and environment."""

from __future__ import annotations

import os

from ..python_env.builders import SetupFailed
from ..python_env.environment import Setup
from ..python_env.setup_tools import ToolMissing
from ..run_dir import written_files
from ..system import account as accounts
from ..system import safe_walk
from .child_process import NO_LIMITS, CanNotStart
from .supervised_run import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .commands import Commands
    from .stop_check import StopCheck
    from .supervised_run import SupervisedRun


class Preparation:
    def __init__(self, run: SupervisedRun, stops: StopCheck, commands: Commands) -> None:
        self.run, self.stops, self.commands = run, stops, commands

    def prepare(self) -> tuple[list[str], dict[str, str]]:
        """Returns the training's command line and its variables."""
        run, spec = self.run, self.run.spec
        make_directories(run)
        variables = dict(accounts.login_environment(run.account, run.log.say), **spec["env"])
        secrets = read_secrets(run)
        if spec["timeout"]:
            self.stops.set_timeout(spec["timeout"] - trained_s(run.record["attempts"]))
        self._fetch_data()
        setup = Setup(
            run.root,
            run.run_dir,
            spec,
            project=run.project,
            work=run.work,
            account=run.account,
            variables={**variables, **secrets},
        )
        prepared = self._set_up(setup)
        # Before anything is restored: what is put back into the project counts as written by the
        # run.
        written_files.keep_baseline(run.run_dir, spec, setup.has_steps())
        return prepared

    def _fetch_data(self) -> None:
        run = self.run
        if not run.spec["datasets"]:
            return
        from ..datasets.datasets import fetch_data, link_data

        names = ", ".join(each["source"] for each in run.spec["datasets"])
        run.log.say("fetching %s" % names)
        run.save(state="setup")
        entries = fetch_data(run.spec, run.root, account=run.account, progress=self.stops.check)
        link_data(entries, run.project, run.account)
        datasets = [
            {
                "source": each["source"],
                "path": each["path"],
                "version": each["version"],
                "files": each["files"],
                "bytes": each["bytes"],
            }
            for each in entries
        ]
        run.save(datasets=datasets)

    def _set_up(self, setup: Setup) -> tuple[list[str], dict[str, str]]:
        """Sets the environment up. Returns the training's command line and its variables."""

        def process(
            line: list[str],
            variables: dict[str, str],
            directory: str,
            *,
            look: Callable[[], None],
        ) -> int:
            try:
                child = self.commands.start(line, variables, directory, limits=NO_LIMITS, look=look)
            except CanNotStart as error:
                raise Failed("SETUP_FAILED", str(error))
            code = child.wait()
            self.stops.raise_if_stopped(child)
            return code

        try:
            if setup.has_steps():
                self.run.save(state="setup")
            return setup.run(process, self.run.log.say, self.stops.pause)
        except ToolMissing as missing:
            raise Failed("TOOL_MISSING", str(missing))
        except SetupFailed as failed:
            raise Failed("SETUP_FAILED", str(failed), failed.code)


def make_directories(run: SupervisedRun) -> None:
    """Makes the directories that the training writes to, those below its own by a process of its
    user.
    """
    spec, output_dir = run.spec, run.spec["outputDir"]
    script = spec["script"]

    def make() -> bool:
        os.makedirs(os.path.join(run.project, output_dir), exist_ok=True)
        for path in spec["artifacts"]["numbered"]:
            try:
                os.makedirs(os.path.join(run.project, path), exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                # A file that was sent is in its place.
                pass
        return script is None or os.path.isfile(os.path.join(run.project, script))

    if not accounts.act(run.account, make):
        how = "the script %s is not among the synced files" % script
        raise Failed("NO_SCRIPT", how)
    try:
        path = "%s/%s" % (spec["projectRoot"], output_dir)
        os.close(safe_walk.open_directory(run.work, path))
    except OSError as error:
        if error.errno not in safe_walk.GONE:
            raise
        raise Failed(
            "PATH_BLOCKED",
            "the output directory %s is, or is in, a symbolic link: nothing of it could be "
            "saved" % output_dir,
        )
    checkpoints = os.path.join(run.run_dir, "checkpoints")
    if not os.path.isdir(checkpoints):
        os.mkdir(checkpoints)
        accounts.own(checkpoints, run.account)


def read_secrets(run: SupervisedRun) -> dict[str, str]:
    """The secrets that the training gets as variables. Makes the run's mask for these and for all
    else that is secret.
    """
    spec = run.spec
    found: dict[str, str] = {}
    if spec["secrets"]:
        from .secrets import read_secrets as read

        found = read(spec)
    from ..python_env.package_index import secrets as secrets_of_url

    masked = [spec["env"][name] for name in spec["mask"] if name in spec["env"]]
    masked += [*found.values(), *secrets_of_url(spec["packageIndex"])]
    if masked:
        from .masking import Mask

        run.mask = Mask(masked)
    return found


def trained_s(attempts: list[dict[str, Any]]) -> float:
    """How long attempts have trained, in seconds."""
    trained_ms = sum(
        max(0, each["endedAt"] - each["startedAt"])
        for each in attempts
        if each["startedAt"] and each["endedAt"]
    )
    return trained_ms / 1000.0
