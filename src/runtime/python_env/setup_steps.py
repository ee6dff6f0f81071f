"""Runs the command lines of a run's set-up, one at a time."""

from __future__ import annotations

import os
import shutil
import time

from ..disk import full_disk
from . import package_index, setup_progress
from .builders import SetupFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable, Mapping, Protocol

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


class Steps:
    """`variables`: those of all steps. `directory`: where the environment is made, which progress
    lines describe; None until then.
    """

    def __init__(
        self,
        root: str,
        run_dir: str,
        variables: Mapping[str, str],
        *,
        account: pwd.struct_passwd,
        process: Process,
        say: Callable[[str], object],
    ) -> None:
        self.root, self.run_dir, self.account = root, run_dir, account
        self.variables = dict(variables)
        self.process, self.say = process, say
        self.directory: str | None = None

    def run(
        self,
        line: list[str],
        more: Mapping[str, str | None],
        cwd: str,
        *,
        title: str | None = None,
    ) -> None:
        """Runs one command line. `more`: further variables; one that is None is unset. `title` is
        logged in place of the line. @raises SetupFailed
        """
        merged: dict[str, str | None] = {**self.variables, **more}
        variables = {name: value for name, value in merged.items() if value is not None}
        self.say("+ %s" % (title or package_index.for_log(" ".join(line))))
        started, log = time.monotonic(), os.path.join(self.run_dir, "log")
        log_start = os.path.getsize(log) if os.path.exists(log) else 0
        name = title or setup_progress.name_of(line)
        progress = setup_progress.Progress(name, self.directory, account=self.account, say=self.say)
        code = self.process(line, variables, cwd, look=progress.look)
        took = "after %.1f s" % (time.monotonic() - started)
        if code == 0:
            self.say("%s: done %s" % (name, took))
            return
        full = full_disk.named_full_disk(log, log_start) or full_disk.is_full(self.run_dir)
        how = "exited with %d" % code if code > 0 else "was killed by signal %d" % -code
        why = ""
        if full:
            free = setup_progress.size(shutil.disk_usage(self.run_dir).free)
            why = ": the disk of %s was full, and has %s free now" % (self.root, free)
        raise SetupFailed("%s %s %s%s" % (name, how, took, why), code, full)
