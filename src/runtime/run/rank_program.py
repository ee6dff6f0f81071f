"""One process of a training that torchrun starts: runs the training's command, records how it
ended, and marks its output.

    nx_ec2_rank.py <directory of the records> <command> …

It runs as the training's user, with the Python of the run's environment: it imports nothing of the
runtime, which writes it to a file.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Signals that are passed on; after one of the first four, the process was told to end.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)
# PR_SET_PDEATHSIG of Linux.
SET_PARENT_DEATH_SIGNAL = 1
READ_BYTES = 65536
# How long a line of another rank waits for rank 0 to end its own, and how long after that the next
# look is.
HOLD_S, HOLD_POLL_S = 1.0, 0.05
# A longer line is cut, and so much is held at most.
MAX_LINE_BYTES = 1024 * 1024
# How long output of others that hold the pipe is waited for when the training has ended.
DRAIN_TIMEOUT_S = 1.0
# The exit code of a shell for a command that it does not find.
NOT_FOUND = 127


class Output:
    """What the process prints. Rank 0's output stays as it is. Of another rank, whole lines are
    printed, with its mark; of a line that was overwritten with `\\r`, only the last state.

    A lock keeps lines whole: all ranks print to the same pipe. Its file says whether rank 0 is in
    the middle of a line.
    """

    held: bytes
    pending: bytes

    def __init__(self, directory: str, rank: int) -> None:
        self.rank, self.mark = rank, b"[rank %d] " % rank
        self.lock = os.open(os.path.join(directory, "output.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        # The line that has not ended; lines that are to be printed, since when.
        self.held, self.pending = b"", b""
        self.since = 0.0

    def feed(self, data: bytes) -> None:
        if self.rank == 0:
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            write(data)
            os.pwrite(self.lock, b"." if data.endswith((b"\n", b"\r")) else b"-", 0)
            fcntl.flock(self.lock, fcntl.LOCK_UN)
            return
        lines = (self.held + data).split(b"\n")
        self.held = lines.pop()
        if len(self.held) > MAX_LINE_BYTES:
            lines.append(self.held)
            self.held = b""
        elif b"\r" in self.held[:-1]:
            self.held = self.held[self.held.rindex(b"\r", 0, -1) + 1 :]
        for line in lines:
            self._add(line)
        self.print_pending()

    def _add(self, line: bytes) -> None:
        shown = line.rstrip(b"\r").rpartition(b"\r")[2]
        self.since = self.since if self.pending else time.monotonic()
        self.pending += self.mark + shown + b"\n"

    def print_pending(self, at_once: bool = False) -> None:
        if not self.pending:
            return
        waited = time.monotonic() - self.since > HOLD_S or len(self.pending) > MAX_LINE_BYTES
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        is_amid = os.pread(self.lock, 1, 0) == b"-"
        if not is_amid or waited or at_once:
            write((b"\n" if is_amid else b"") + self.pending)
            os.pwrite(self.lock, b".", 0)
            self.pending = b""
        fcntl.flock(self.lock, fcntl.LOCK_UN)

    def finish(self) -> None:
        if self.held:
            self._add(self.held)
            self.held = b""
        self.print_pending(at_once=True)


def write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


class Worker:
    """The training's process of one rank."""

    def __init__(self, directory: str, command: list[str]) -> None:
        self.rank = int(os.environ["RANK"])
        self.directory = directory
        self.record: dict[str, Any] = {
            "rank": self.rank,
            "localRank": int(os.environ["LOCAL_RANK"]),
            "start": now_ms(),
        }
        self.told = False
        self.output = Output(directory, self.rank)
        self.save()
        self.reader, writer = os.pipe()
        self.wake = os.pipe()
        for each in self.wake:
            os.set_blocking(each, False)
        self.process: subprocess.Popen[bytes] | None = None
        self._start(command, writer)
        os.close(writer)

    def _start(self, command: list[str], writer: int) -> None:
        library = ctypes.CDLL(None)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)

        def begin() -> None:
            # torchrun signals the whole process group of a worker: the training must get each
            # signal once, from us, and must not outlive us.
            os.setpgid(0, 0)
            if hasattr(library, "prctl"):
                library.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

        # How long torchrun waits at a stop is for the run's own torchrun, and not for one that the
        # training starts.
        variables = {
            name: value
            for name, value in os.environ.items()
            if name != "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
        }
        try:
            self.process = subprocess.Popen(
                command,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                preexec_fn=begin,
            )
        except OSError as error:
            self.output.feed(
                ("%s can't be run: %s\n" % (command[0], error)).encode("utf-8", "replace")
            )
        signal.set_wakeup_fd(self.wake[1])
        signal.signal(signal.SIGCHLD, wake_up)
        for number in PASSED_ON:
            signal.signal(number, self.pass_on)
        # A signal that came meanwhile is passed on here.
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def pass_on(self, number: int, _: object) -> None:
        self.told = self.told or number in ENDING
        if self.process and self.process.returncode is None:
            self.process.send_signal(number)

    def wait(self) -> int:
        """Returns its exit code, negative for a signal, when its output was printed."""
        is_open = True
        while self.process and self.process.poll() is None:
            is_open = self._pump(HOLD_POLL_S if self.output.pending else None, is_open)
        code = self.process.returncode if self.process else NOT_FOUND
        ended = now_ms()
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while is_open and self.process and time.monotonic() < deadline:
            is_open = self._pump(HOLD_POLL_S, is_open)
        self.output.finish()
        self.record.update({
            "code": code if code >= 0 else None,
            "signal": None if code >= 0 else -code,
            "told": self.told,
            "end": ended,
        })
        self.save()
        return code

    def _pump(self, timeout_s: float | None, is_open: bool) -> bool:
        """Prints what the process has printed, or waits; returns whether there may be more."""
        watched = [self.wake[0], *([self.reader] if is_open else [])]
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if self.wake[0] in ready:
            os.read(self.wake[0], READ_BYTES)
        if self.reader in ready:
            data = os.read(self.reader, READ_BYTES)
            if not data:
                return False
            self.output.feed(data)
        else:
            self.output.print_pending()
        return is_open

    def save(self) -> None:
        path = os.path.join(self.directory, "%d.json" % self.rank)
        with open(path + ".new", "w") as file:
            json.dump(self.record, file)
        os.replace(path + ".new", path)


def wake_up(*_: object) -> None:
    """A signal that is handled writes to the descriptor that `select` waits for."""


def now_ms() -> int:
    return int(time.time() * 1000)


def main(directory: str, *command: str) -> int:
    code = Worker(directory, list(command)).wait()
    # As a shell reports a signal.
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
