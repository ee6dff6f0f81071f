"""The root directories that commands have used since the boot, in a file that lies in none of them:
the watchdog looks for activity in each, whichever one the instance was launched with.
"""

from __future__ import annotations

import os

# The tests have one of their own.
DIRECTORY = os.environ.get("NX_EC2_RUN_DIRECTORY") or "/run/nx-ec2"


def path() -> str:
    """A local instance has a file of its own."""
    local = os.environ.get("NX_EC2_LOCAL_INSTANCE") and os.environ.get("NX_EC2_ROOT")
    return os.path.join(local, "watchdog", "roots") if local else os.path.join(DIRECTORY, "roots")


def with_used(*roots: str) -> list[str]:
    """The given ones, and then the others that were used."""
    used = []
    try:
        with open(path(), "rb") as file:
            used = [os.fsdecode(each) for each in file.read().split(b"\0") if each]
    except OSError:
        pass
    return list(dict.fromkeys(list(roots) + used))


def record(root: str) -> None:
    """Adds a root, by its path without symbolic links."""
    os.makedirs(os.path.dirname(path()), exist_ok=True)
    # Between zero bytes: what a full disk has cut does not become part of the next one.
    with open(path(), "ab") as file:
        file.write(b"\0" + os.fsencode(root) + b"\0")
