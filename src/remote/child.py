"""One command of a run, from its start to its end: its output into the log, its limits, its stop."""
import fcntl
import os
import select
import shutil
import signal
import subprocess
import time

from . import account as accounts, processes

TICK = 0.1
# Between two looks at how much memory is used, seconds.
WEIGH = 0.5
# What holds the output open after all processes that are known have ended is not waited for longer, seconds.
DRAIN = 2.0
READ = 1024 * 1024
# F_SETPIPE_SZ of Linux.
SET_PIPE_SIZE = 1031


class CanNotStart(Exception):
    pass


class Child:
    """`wish()` tells whether it is to stop: None, or (reason, grace in seconds). `but`: a child of ours that is none of its."""

    def __init__(self, line, variables, directory, account, log, mask, limits, wish, but):
        self.line, self.log, self.mask, self.limits, self.wish, self.but = line, log, mask, limits, wish, but
        self.stopped, self.over = None, False
        self.program = shutil.which(line[0], path=variables.get("PATH")) or line[0]
        self.output, writing = os.pipe()
        try:
            fcntl.fcntl(self.output, SET_PIPE_SIZE, READ)
        except OSError:
            pass
        os.set_blocking(self.output, False)
        try:
            self.process = subprocess.Popen(
                line, executable=self.program, cwd=directory, env=variables, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
                start_new_session=True, preexec_fn=lambda: begin(account, limits),
            )
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            os.close(self.output)
            raise CanNotStart("%s can not be run: %s" % (line[0], error))
        finally:
            os.close(writing)

    @property
    def pid(self):
        return self.process.pid

    def wait(self):
        """Its return code, negative for a signal. What it began and left is ended too."""
        weighed = time.monotonic()
        while self.process.poll() is None:
            self.pump(TICK)
            stop = self.wish()
            if stop:
                self.stop(stop)
                break
            now = time.monotonic()
            if self.limits["memory"] and now - weighed > WEIGH:
                weighed = now
                if self._is_over():
                    break
        self.process.wait()
        processes.end(lambda: processes.descendants(self.but), 1.0, self.pump)
        self.drain()
        return self.process.returncode

    def stop(self, stop):
        self.stopped = stop
        # The child itself is waited for: it may do what it wants in its grace.
        deadline = time.monotonic() + stop[1]
        for pid in processes.family(self.pid):
            processes.send(pid, signal.SIGTERM)
        while self.process.poll() is None and time.monotonic() < deadline:
            self.pump(TICK)
        self.kill()

    def kill(self):
        for pid in processes.family(self.pid):
            processes.send(pid, signal.SIGKILL)
        self.process.wait()

    def _is_over(self):
        used = processes.resident(processes.family(self.pid))
        if used <= self.limits["memory"]:
            return False
        self.over = True
        self.kill()
        return True

    def pump(self, timeout=0.0):
        """Takes what was printed into the log, waiting so long for it; False at its end."""
        if self.output is None:
            if timeout:
                time.sleep(timeout)
            return False
        if self.log.backlog:
            self.log.flush()
        ready, _, _ = select.select([self.output], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self.output, READ)
        except BlockingIOError:
            return True
        if not data:
            self._close()
            return False
        self.log.write(self.mask.feed(data) if self.mask else data)
        return True

    def drain(self):
        deadline = time.monotonic() + DRAIN
        while self.pump(TICK) and time.monotonic() < deadline:
            pass
        if self.output is not None:
            self._close()

    def _close(self):
        os.close(self.output)
        self.output = None
        if self.mask:
            self.log.write(self.mask.flush())


def begin(account, limits):
    """In the child, before it becomes what it is to be."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    if limits["cores"] and hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, usable[: limits["cores"]])
    accounts.become(account)
