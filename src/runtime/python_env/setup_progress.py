"""Tells what a step of a set-up has done so far, while it runs."""
import os
import time

from ..system import account as accounts

# Seconds between two lines.
EVERY = 10


def name_of(line):
    """What a command line runs, in one word: the module that a Python runs, else the program."""
    module = line.index("-m") + 1 if "-m" in line[1:3] else None
    return line[module] if module and module < len(line) else os.path.basename(line[0])


class Progress:
    """`look()` is called now and then while the step runs. `directory`: where the environment is made, or None."""

    def __init__(self, name, directory, account, say):
        self.name, self.directory, self.account, self.say = name, directory, account, say
        self.started = time.monotonic()
        self.due = self.started + EVERY
        self.received = received()

    def look(self):
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + EVERY
        parts = ["%d s so far" % (now - self.started)]
        if self.received is not None:
            parts.append("%s received by the instance" % size((received() or self.received) - self.received))
        if self.directory:
            parts.append(describe(self.directory, self.account))
        self.say("%s: %s" % (self.name, ", ".join(parts)))


def describe(directory, account):
    """"12 packages, 1.2 GB": what is installed below a directory."""
    try:
        packages, count = accounts.act(account, lambda: measure(directory))
    except OSError:
        return "the environment can't be measured"
    return "%d package%s of %s installed" % (packages, "" if packages == 1 else "s", size(count))


def measure(directory):
    """(packages, bytes) of what lies below a directory; a file of several names counts once."""
    packages, count, seen = 0, 0, set()
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


def received():
    """Bytes that the network interfaces have received; None where the system does not tell."""
    try:
        with open("/proc/net/dev") as file:
            rows = [line.split(":", 1) for line in file if ":" in line]
        return sum(int(counts.split()[0]) for name, counts in rows if name.strip() != "lo")
    except (OSError, ValueError, IndexError):
        return None


def size(count):
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return "%d B" % count if unit == "B" else "%.1f %s" % (count, unit)
        count /= 1000
