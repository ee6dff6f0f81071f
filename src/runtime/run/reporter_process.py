"""The run's reporter as a child of the supervisor."""

from __future__ import annotations

import os


class ReporterProcess:
    """`lock`: the supervisor's own, which the reporter does not inherit. `pid` is None until the
    reporter was started. A run without a store has none.
    """

    def __init__(self, run_dir: str, lock: int, *, has_store: bool) -> None:
        self.run_dir, self.lock, self.has_store = run_dir, lock, has_store
        self.pid: int | None = None

    def ensure(self) -> None:
        """Starts the reporter, or starts it again where it has ended."""
        from ..report import reporter

        if self.has_store and not (self.pid and is_alive(self.pid)):
            self.pid = reporter.fork(self.run_dir, self.lock)


def is_alive(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        try:
            os.kill(pid, 0)
            return True
        except OSError:
            return False
