"""A run as its supervisor has it: its plan, its directories, its user, its record and its log."""

from __future__ import annotations

import errno
import os

from ..run_dir.log_writer import LogFile
from ..system import atomic_files
from . import failure_cause, training_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

    from ..checkpoints.project_files import ProjectFiles
    from ..system.cgroup import Cgroup
    from ..system.documents import RunSpec
    from .masking import Mask

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Failed(Exception):
    """A step failed, which ends the run: `data` is the failure in its record."""

    def __init__(self, code: str, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.data = failure_cause.failure(code, message, exit_code)


class SupervisedRun:
    """`work`: the run's copy of the tree. `project`: the project's directory in it. `mask`: hides
    secrets in the log; None until they are known, or where there are none. `group`: the control
    group of what the run starts.
    """

    def __init__(
        self,
        run_dir: str,
        record: dict[str, Any],
        spec: RunSpec,
        *,
        account: pwd.struct_passwd,
    ) -> None:
        self.run_dir, self.record, self.account = run_dir, record, account
        self.root = os.path.dirname(os.path.dirname(run_dir))
        self.work = os.path.join(run_dir, "work")
        self.project = os.path.join(self.work, spec["projectRoot"])
        self.spec = training_variables.expanded(spec, run_dir, self.project)
        self.log = LogFile(run_dir)
        self.mask: Mask | None = None
        self.group: Cgroup | None = None

    def save(self, **changes: Any) -> None:
        """Changes the run's record. A full disk gets the space that the log holds in reserve."""
        self.record.update(changes)
        path = os.path.join(self.run_dir, "run.json")
        try:
            atomic_files.write_json(path, self.record)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            self.log.full = True
            self.log.release()
            atomic_files.write_json(path, self.record)

    def project_files(self) -> ProjectFiles:
        """The project, into which checkpoints are restored."""
        from ..checkpoints.project_files import ProjectFiles

        return ProjectFiles(self.run_dir, self.spec, self.account)
