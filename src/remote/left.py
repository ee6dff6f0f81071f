"""Processes that a command left running when it ended: named, and whether the training is among them."""
import os

from .leader import arguments

# Characters shown of one command line, and command lines shown.
SHOWN, NAMED = 100, 3


class Left:
    """What was left, looked at before it is ended. `commands`: the command lines; `open`: paths of files that are open for writing."""

    def __init__(self, pids=(), mask=None):
        self.commands, self.open = [], set()
        for pid in pids:
            text = " ".join(arguments(pid)) or "pid %d" % pid
            text = mask.cover(text) if mask else text
            self.commands.append(text if len(text) <= SHOWN else text[:SHOWN] + "…")
            self.open.update(open_for_writing(pid))

    def __bool__(self):
        return bool(self.commands)

    def what(self):
        count = len(self.commands)
        named = ", ".join(self.commands[:NAMED]) + (", …" if count > NAMED else "")
        return "left %s running (%s)" % ("a process" if count == 1 else "%d processes" % count, named)

    def warning(self, advice="Run the training in the foreground, or end the script with `wait`."):
        return "The command ended and %s; %s stopped. %s" % (self.what(), "it was" if len(self.commands) == 1 else "they were", advice)

    def unkilled(self):
        count = len(self.commands)
        named = ", ".join(self.commands[:NAMED]) + (", …" if count > NAMED else "")
        return "%s could not be killed and may still use the instance (%s). Restart the instance to end %s." % (
            "A process" if count == 1 else "%d processes" % count, named, "it" if count == 1 else "them",
        )

    def writes_below(self, directory):
        return any(path.startswith(directory + "/") for path in self.open)


def open_for_writing(pid):
    """Paths of the regular files that a process has open for writing; Linux only."""
    found = set()
    try:
        names = os.listdir("/proc/%d/fd" % pid)
    except OSError:
        return found
    for name in names:
        try:
            path = os.readlink("/proc/%d/fd/%s" % (pid, name))
            with open("/proc/%d/fdinfo/%s" % (pid, name), encoding="ascii") as file:
                flags = next((int(line.split()[1], 8) for line in file if line.startswith("flags:")), 0)
        except (OSError, UnicodeDecodeError):
            continue
        if path.startswith("/") and flags & os.O_ACCMODE != os.O_RDONLY:
            found.add(path)
    return found

