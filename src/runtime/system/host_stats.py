"""The machine as it is: processors, memory, disk, network, GPUs."""

from __future__ import annotations

import os
import subprocess
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, TypedDict

    from .documents import GpuSample, HostSample

    class Sample(TypedDict):
        host: HostSample
        gpus: list[GpuSample] | None


GPU_QUERY = (
    "index",
    "name",
    "utilization.gpu",
    "memory.used",
    "memory.total",
    "temperature.gpu",
    "power.draw",
)
GPU_TIMEOUT_S = 5.0
# What is below it is idle, %.
BUSY_PERCENT = 5
MIB = 1024 * 1024


class HostSampler:
    """`root`: the path whose disk is looked at."""

    processors: tuple[int, int] | None
    network: tuple[float, int, int] | None

    def __init__(
        self, root: str, proc: str = "/proc", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.root, self.proc, self.clock = root, proc, clock
        self.processors = None
        self.network = None
        self.gpus = Gpus(clock)

    def sample(self) -> Sample:
        """{"host", "gpus"}: what is not known is None; CPU and network since the last sample. Takes
        no time: GPUs are as they were at the last one.
        """
        memory, disk = self._memory(), self._disk()
        incoming, outgoing = self._network()
        host: HostSample = {
            "cpu": self._cpu(),
            "cores": os.cpu_count(),
            "load": self._load(),
            "memoryUsed": memory[0],
            "memoryTotal": memory[1],
            "diskUsed": disk[0],
            "diskTotal": disk[1],
            "networkIn": incoming,
            "networkOut": outgoing,
        }
        return {"host": host, "gpus": self.gpus.read()}

    def close(self) -> None:
        self.gpus.close()

    def _read(self, name: str) -> str:
        try:
            with open(os.path.join(self.proc, name)) as file:
                return file.read()
        except (OSError, ValueError):
            return ""

    def _cpu(self) -> float | None:
        fields = self._read("stat").partition("\n")[0].split()
        if len(fields) < 6 or fields[0] != "cpu":
            return None
        # guest times are counted in user times already
        times = [int(each) for each in fields[1:9]]
        now, before = (sum(times), times[3] + times[4]), self.processors
        self.processors = now
        if before is None or now[0] <= before[0]:
            return None
        return round(max(0.0, 100.0 * (1 - (now[1] - before[1]) / (now[0] - before[0]))), 1)

    def _load(self) -> float | None:
        try:
            return round(os.getloadavg()[0], 2)
        except OSError:
            return None

    def _memory(self) -> tuple[int, int] | tuple[None, None]:
        lines = dict(
            line.split(":", 1) for line in self._read("meminfo").splitlines() if ":" in line
        )
        try:
            total, free = (
                int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable")
            )
        except (KeyError, ValueError, IndexError):
            return None, None
        return total - free, total

    def _disk(self) -> tuple[int, int] | tuple[None, None]:
        try:
            found = os.statvfs(self.root)
        except OSError:
            return None, None
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_blocks * found.f_frsize

    def _network(self) -> tuple[int, int] | tuple[None, None]:
        """Bytes a second, in and out, over what is no loopback and no bridge of containers."""
        incoming = outgoing = 0
        seen = False
        for line in self._read("net/dev").splitlines():
            name, colon, counts = line.partition(":")
            fields = counts.split()
            if (
                not colon
                or len(fields) < 9
                or name.strip().startswith(("lo", "docker", "br-", "veth", "virbr"))
            ):
                continue
            seen, incoming, outgoing = True, incoming + int(fields[0]), outgoing + int(fields[8])
        now, before = (self.clock(), incoming, outgoing), self.network
        self.network = now if seen else None
        if not seen or before is None or now[0] <= before[0]:
            return None, None
        seconds = now[0] - before[0]
        return (
            round(max(0, now[1] - before[1]) / seconds),
            round(max(0, now[2] - before[2]) / seconds),
        )


class Gpus:
    """nvidia-smi, which takes a second, or for ever where a driver hangs: nobody waits for it."""

    asked: subprocess.Popen[bytes] | None
    last: list[GpuSample] | None

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.asked, self.since, self.last = clock, None, 0.0, None

    def read(self) -> list[GpuSample] | None:
        """What the last look saw, and another look is begun. None where there is no GPU, or nothing
        is known.
        """
        if self.asked is not None:
            if self.asked.poll() is not None:
                assert self.asked.stdout
                with self.asked.stdout as out:
                    self.last = (
                        parse_gpus(out.read().decode("utf-8", "replace"))
                        if self.asked.returncode == 0
                        else None
                    )
                self.asked = None
            elif self.clock() - self.since > GPU_TIMEOUT_S:
                # One that hangs in the driver does not end by this either: it is asked no more
                # while it is there.
                self.asked.kill()
                self.last = None
        if self.asked is None:
            try:
                self.asked = subprocess.Popen(
                    [
                        "nvidia-smi",
                        "--query-gpu=" + ",".join(GPU_QUERY),
                        "--format=csv,noheader,nounits",
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                self.since = self.clock()
            except OSError:
                self.last = None
        return self.last

    def close(self) -> None:
        if self.asked is not None:
            assert self.asked.stdout
            self.asked.kill()
            self.asked.stdout.close()


def parse_gpus(text: str) -> list[GpuSample] | None:
    found: list[GpuSample] = []
    for line in text.splitlines():
        fields = [each.strip() for each in line.split(",")]
        if len(fields) < len(GPU_QUERY) or not fields[0].isdigit():
            continue
        used, total, heat, power = fields[-4:]
        found.append({
            "index": int(fields[0]),
            "name": ", ".join(fields[1:-5]),
            "utilization": number(fields[-5]),
            "memoryUsed": mebibytes(used),
            "memoryTotal": mebibytes(total),
            "temperature": number(heat),
            "power": number(power),
        })
    return found or None


def number(text: str) -> float | None:
    """None for `[N/A]` and what else the driver says."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e12 else None


def mebibytes(text: str) -> int | None:
    value = number(text)
    return None if value is None else int(value * MIB)
