"""The tree's lock: flock, with its owner and an expiry written into it."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from ..system import plain_json
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping


# Seconds that one waits for another's sync.
LOCK_TIMEOUT_S = 20
# Seconds without progress after which a holder counts as hung, and may be killed by whoever waits.
EXPIRY_S = 900
# The owner's line is padded, so that it is written, and read, as one.
OWNER_BYTES = 256


class TreeLock:
    """Held by flock, which ends with its holder. A child may inherit it, and says so by `own`."""

    def __init__(self, root: str, tree: str) -> None:
        if (
            not tree
            or not all(char.isalnum() or char in "._-" for char in tree)
            or tree.startswith(".")
        ):
            raise Failure("BAD_PLAN", "the tree's id is not one")
        self.directory = os.path.join(root, "trees", tree)

    def __enter__(self) -> TreeLock:
        os.makedirs(self.directory, exist_ok=True)
        self.descriptor = os.open(
            os.path.join(self.directory, "lock"), os.O_RDWR | os.O_CREAT, 0o600
        )
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not self._take():
            owner = self._owner()
            if self._is_hung(owner):
                import signal

                try:
                    os.kill(owner["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if time.monotonic() > deadline:
                age = int(time.time() - os.fstat(self.descriptor).st_mtime)
                name = "%s %s" % (owner.get("pid", "?"), owner.get("command", ""))
                os.close(self.descriptor)
                raise Failure(
                    "BUSY",
                    "another sync of this tree has been running for %d s" % age,
                    owner=name,
                    age=age,
                )
            time.sleep(0.1)
        self.own()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def own(self) -> None:
        """Writes down who holds it, and that it makes progress. Monotonic time is one for all
        processes of a machine.
        """
        pid = os.getpid()
        owner = {
            "pid": pid,
            "start": start_of(pid),
            "command": os.environ.get("SSM_COMMAND_ID", "")[:64],
            "expires": time.monotonic() + EXPIRY_S,
        }
        os.pwrite(self.descriptor, plain_json.dumps(owner).encode().ljust(OWNER_BYTES), 0)
        self.owned = time.monotonic()

    def progress(self) -> None:
        """To be called often: puts the expiry off."""
        if time.monotonic() - self.owned > EXPIRY_S / 20:
            self.own()

    def _take(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False

    def _owner(self) -> dict[str, Any]:
        try:
            text = os.pread(self.descriptor, OWNER_BYTES, 0).rstrip()
            owner: dict[str, Any] | None = plain_json.loads(text)
            return owner if isinstance(owner, dict) else {}
        except ValueError:
            return {}

    def _is_hung(self, owner: Mapping[str, Any]) -> bool:
        """Past its expiry, alive, and the very process that wrote it: a number alone may be
        another's by now.
        """
        try:
            expired = time.monotonic() > owner["expires"]
            return (
                expired
                and owner["pid"] != os.getpid()
                and owner["start"] is not None
                and start_of(owner["pid"]) == owner["start"]
            )
        except (KeyError, TypeError):
            return False


def start_of(pid: int) -> int | None:
    """When a process started, in the kernel's own count; None where that can't be told."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
