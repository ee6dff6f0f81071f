"""A transient unit of systemd for a run: stopping or restarting the agent does not end what is in
it.
"""

from __future__ import annotations

import os
import shutil
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..system.documents import RunSpecLimits

BUSCTL_TIMEOUT_S = 5
MANAGER = [
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
]


def enter(run: str, limits: RunSpecLimits) -> str | None:
    """Moves this process into the scope `nx-ec2-<run>.scope`. Returns why it could not, else
    None.
    """
    if not os.path.isdir("/run/systemd/system") or os.geteuid() != 0:
        return "there is no systemd"
    busctl = shutil.which("busctl")
    if busctl is None:
        return "there is no busctl"
    properties = [
        ["Description", "s", "nx-ec2 run %s" % run],
        ["PIDs", "au", "1", str(os.getpid())],
        # What ends the supervisor alone leaves the reporter, which reports it.
        ["KillMode", "s", "process"],
        ["Delegate", "b", "true"],
        ["CollectMode", "s", "inactive-or-failed"],
    ]
    if limits["memory"]:
        properties.append(["MemoryAccounting", "b", "true"])
        properties.append(["MemoryMax", "t", str(limits["memory"])])
    line = [busctl, "call", *MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))"]
    line += ["nx-ec2-%s.scope" % run, "fail", str(len(properties))]
    line += [word for each in properties for word in each]
    line.append("0")
    try:
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=BUSCTL_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.decode("utf-8", "replace").strip()[:200]
