"""Says what a step of a set-up has done so far, while it runs."""

from __future__ import annotations

import os
import time

from ..system import account as accounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Callable

# Between two lines.
INTERVAL_S = 10


def name_of(line: list[str]) -> str:
    """What a command line runs, in one word: the module that a Python runs, else the program."""
    module = line.index("-m") + 1 if "-m" in line[1:3] else None
    return line[module] if module and module < len(line) else os.path.basename(line[0])


class Progress:
    """`look()` is called now and then while the step runs. `directory`: where the environment is
    made, or None.
    """

    def __init__(
        self,
        name: str,
        directory: str | None,
        *,
        account: pwd.struct_passwd,
        say: Callable[[str], object],
    ) -> None:
        self.name, self.directory, self.account, self.say = name, directory, account, say
        self.started = time.monotonic()
        self.due = self.started + INTERVAL_S
        self.received = received()

    def look(self) -> None:
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + INTERVAL_S
        parts = ["%d s so far" % (now - self.started)]
        if self.received is not None:
            count = (received() or self.received) - self.received
            parts.append("%s received by the instance" % size(count))
        if self.directory:
            parts.append(describe(self.directory, self.account))
        self.say("%s: %s" % (self.name, ", ".join(parts)))


def describe(directory: str, account: pwd.struct_passwd) -> str:
    """What is installed below a directory: "12 packages of 1.2 GB installed"."""
    try:
        packages, count = accounts.act(account, lambda: measure(directory))
    except OSError:
        return "the environment can't be measured"
    plural = "" if packages == 1 else "s"
    return "%d package%s of %s installed" % (packages, plural, size(count))


def measure(directory: str) -> tuple[int, int]:
    """(packages, bytes) of what lies below a directory; a file of several names counts once."""
    packages, count = 0, 0
    seen: set[int] = set()
    for at, directories, names in os.walk(directory):
        packages += sum(1 for name in directories if name.endswith((".dist-info", ".egg-info")))
        for name in names:
            try:
                status = os.lstat(os.path.join(at, name))
            except OSError:
                continue
            if status.st_nlink == 1 or status.st_ino not in seen:
                seen.add(status.st_ino)
                count += status.st_size
    return packages, count


def received() -> int | None:
    """Bytes that the network interfaces have received; None where the system does not tell."""
    try:
        with open("/proc/net/dev") as file:
            rows = [line.split(":", 1) for line in file if ":" in line]
        return sum(int(counts.split()[0]) for name, counts in rows if name.strip() != "lo")
    except (OSError, ValueError, IndexError):
        return None


def size(count: float) -> str:
    """A number of bytes for people, in decimal units: "1.2 GB"."""
    if count < 1000:
        return "%d B" % count
    for name in ("KB", "MB"):
        count /= 1000
        if count < 1000:
            return "%.1f %s" % (count, name)
    return "%.1f GB" % (count / 1000)
