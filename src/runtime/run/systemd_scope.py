"""A transient unit of systemd's own for a run: what stops the agent, or restarts it, does not reach what is in it."""
import os
import shutil
import subprocess

WAIT = 5


def enter(run, limits):
    """Moves this process into the scope `nx-ec2-<run>.scope`; None where that is done, else why it is not."""
    if not os.path.isdir("/run/systemd/system") or os.geteuid() != 0:
        return "there is no systemd"
    busctl = shutil.which("busctl")
    if busctl is None:
        return "there is no busctl"
    properties = [
        ("Description", "s", "nx-ec2 run %s" % run), ("PIDs", "au", "1", str(os.getpid())),
        # What ends the supervisor alone leaves the reporter, which tells of it.
        ("KillMode", "s", "process"), ("Delegate", "b", "true"), ("CollectMode", "s", "inactive-or-failed"),
    ]
    if limits["memory"]:
        properties += [("MemoryAccounting", "b", "true"), ("MemoryMax", "t", str(limits["memory"]))]
    words = [word for each in properties for word in each]
    line = [
        busctl, "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
        "StartTransientUnit", "ssa(sv)a(sa(sv))", "nx-ec2-%s.scope" % run, "fail", str(len(properties)),
    ] + words + ["0"]
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=WAIT)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.decode("utf-8", "replace").strip()[:200]
