"""How the machine is shut down: by itself, later, where nobody does it before; and now, until it
has happened.
"""

from __future__ import annotations

import os
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence


# Time limit for a command of the machine.
COMMAND_TIMEOUT_S = 20
# After this many tries of the usual command, the harder ones are used.
SHUTDOWN_TRIES = 3
SHUTDOWN = ("shutdown", "-h", "now")
FORCED_SHUTDOWNS = (("systemctl", "poweroff", "-f"), ("poweroff", "-f"), SHUTDOWN)


class InstanceGone(Exception):
    # A local instance whose directory was removed. Its programs were in it: those of the same names
    # that are still on the path would shut down this machine.
    pass


class Power:
    """`only`: where a local instance has its own programs; None on a real one."""

    def __init__(self, only: str | None) -> None:
        self.only = only
        self.tries = 0

    def arm(self, minutes: int) -> bool:
        """Sets the system's own timer, in so many minutes; whether it took it."""
        return self.run(("shutdown", "-h", "+%d" % minutes))

    def off(self) -> tuple[str, bool]:
        """Shuts down now. The command line and whether it succeeded; each further call tries a
        harder way.
        """
        command = (
            SHUTDOWN
            if self.tries < SHUTDOWN_TRIES
            else FORCED_SHUTDOWNS[(self.tries - SHUTDOWN_TRIES) % len(FORCED_SHUTDOWNS)]
        )
        self.tries += 1
        return " ".join(command), self.run(command)

    def run(self, command: Sequence[str]) -> bool:
        program = command[0]
        if self.only is not None:
            program = os.path.join(self.only, command[0])
            if not os.path.exists(program):
                raise InstanceGone()
        try:
            done = subprocess.run(
                (program,) + tuple(command[1:]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=COMMAND_TIMEOUT_S,
                cwd="/",
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0
