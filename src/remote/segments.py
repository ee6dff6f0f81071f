"""A run's log in the store: segments, of which the last is rewritten as it grows."""
import os
import time

from . import hole, logfile

SEGMENT = 256 * 1024
# Between two writes of the last segment, seconds: at first, after so long a run, and from then on.
EAGER, YOUNG, STEADY = 0.5, 600, 3.0
# Between two writes of the times, seconds.
TIMES = 15
MOST_TIMES = 2000
# How much is taken in one go, segments: other things are to be told meanwhile.
AT_ONCE = 32


class LogUpload:
    """`size` bytes are in the store. After a restart the last segment is written once more."""

    def __init__(self, home):
        self.home = home
        self.path = os.path.join(home, "log")
        self.began = self.wrote = self.timed = 0.0
        # How much the times that are in the store speak of.
        self.told = 0
        self.done = False
        self.size = _read_number(os.path.join(home, "log.saved"))

    def look(self, bucket, feed, ended):
        """Sends what is new, where it is time; everything once the run has ended. What is sent is also fed to `feed(offset, data)`."""
        now = time.monotonic()
        self.began = self.began or now
        rest = STEADY if now - self.began > YOUNG else EAGER
        try:
            there = os.path.getsize(self.path)
        except FileNotFoundError:
            there = 0
        if there > self.size and (ended or now - self.wrote > rest):
            self.wrote = now
            with open(self.path, "rb") as file:
                for _ in range(AT_ONCE):
                    if self.size >= there:
                        break
                    number = self.size // SEGMENT
                    file.seek(number * SEGMENT)
                    data = file.read(min(SEGMENT, there - number * SEGMENT))
                    bucket.put("log/%d" % number, data, "text/plain")
                    end = number * SEGMENT + len(data)
                    feed(number * SEGMENT, data)
                    self.size = end
                    if end % SEGMENT == 0:
                        _write_number(os.path.join(self.home, "log.saved"), end)
            hole.give_back(self.home, self.size - self.size % SEGMENT)
        complete = ended and self.size >= there
        if (complete and not self.done) or (now - self.timed > TIMES and self.size != self.told):
            self.timed = now
            bucket.put("times.json", logfile.as_json(logfile.read_times(self.home, MOST_TIMES)), "application/json")
            self.told = self.size
        self.done = complete


def _read_number(path):
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _write_number(path, number):
    try:
        with open(path + ".new", "w") as file:
            file.write(str(number))
        os.replace(path + ".new", path)
    except OSError:
        # It is sent once more then.
        pass
