"""Ends the instance when it is to end, whoever is there: docs/reference/formats.md, "User data"."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import sys
import threading
import time
import traceback

from ..system import atomic_files, boot_clock
from .idle import Idle
from .power import InstanceGone, Power
from .shutdown_rules import FORCED, ShutdownRules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Literal, TypedDict

    from ..fleet.boot_loader import WatchdogConfig
    from .activity import Run

    class End(TypedDict):
        """`at`: ms since the epoch."""

        at: int
        why: str


# Between two looks, seconds at most; less where little time is given.
TICK_S = 5.0
# All that runs are given to end and to be saved in, seconds; of that, to end by themselves; and
# beyond their grace.
ENDING, GRACE, ANSWER = 300, 120, 30
# Between two tries to shut down, and to set the system's own timer, seconds.
RETRY_S = 30.0
# How much later than the watchdog the system's own timer comes, seconds.
MARGIN_S = 600
# What `finish` of a run that starts at the boot may take, seconds.
FINISH_S = 60
DEFAULT_ROOT = "/var/lib/nx-ec2"


class Watchdog:
    ends: End | None
    asked: dict[str, float]
    starter: int | None
    lock: int | None
    written: tuple[Any, ...] | None

    def __init__(
        self,
        config: WatchdogConfig,
        root: str,
        *,
        power: Power,
        boot: str | None,
        clock: Callable[[], float],
        wall: Callable[[], float],
        idle: Idle | None,
    ) -> None:
        self.config, self.power, self.boot = config, power, boot
        self.clock, self.wall = clock, wall
        self.directory = os.path.join(root, "watchdog")
        self.rules = ShutdownRules(config, root, boot=boot, clock=clock, wall=wall, idle=idle)
        self.ends = None
        # By the clock, which nobody can set: since when it ends.
        self.ends_since = 0.0
        # By the clock: run -> until when its end is waited for; when the next tries are due.
        self.asked = {}
        self.due = {"arm": 0.0, "off": 0.0, "boot": 0.0}
        self.armed = self.finished = False
        self.starter, self.lock = None, None
        self.written = None

    def restore_state(self) -> None:
        """With what another watchdog of this boot has written down."""
        state = atomic_files.read_json(os.path.join(self.directory, "state.json"))
        if not state or state.get("boot") != self.boot_name():
            return
        self.rules.began = bool(state.get("began"))
        if state.get("idle"):
            self.rules.restore_state(self.to_monotonic(state["idle"]))
        if state.get("ends"):
            self.ends = state["ends"]
            self.ends_since = self.to_monotonic(state["ends"]["at"])

    def boot_name(self) -> str | None:
        """A local instance's machine does not boot with it."""
        local = boot_clock.local_boot()
        return self.boot if local is None else "%s-%d" % (self.boot, local)

    def to_monotonic(self, ms: float) -> float:
        return min(self.clock(), self.clock() - (self.wall() - ms / 1000.0))

    def to_epoch_ms(self, since: float) -> int:
        return int((self.wall() - (self.clock() - since)) * 1000)

    def tick(self) -> None:
        self.arm()
        self.start_run()
        why = self.rules.poll()
        for run in self.rules.hung:
            if run.stop("hung", self.grace(run)):
                self.say("%s hangs: its log does not grow, and the machine is idle" % run.id)
        if self.ends and self.ends["why"] not in FORCED and self.rules.active:
            self.say("error, continuing: %s" % ", ".join(run.id for run in self.rules.active))
            self.ends = None
        if why and (self.ends is None or (why in FORCED and self.ends["why"] not in FORCED)):
            self.ends = {"at": int(self.wall() * 1000), "why": why}
            self.ends_since = self.clock()
            self.say("ends: %s" % why)
        self.save()
        if self.ends and self.is_ready():
            self.end()

    def grace(self, run: Run) -> float:
        grace = run.plan.get("gracePeriod")
        return min(GRACE, grace) if isinstance(grace, (int, float)) else GRACE

    def is_ready(self) -> bool:
        """Whether nothing is waited for any more. Requests the stop of active runs."""
        now, ends = self.clock(), self.ends
        assert ends
        for run in self.rules.active:
            if run.id not in self.asked:
                grace = self.grace(run)
                if run.stop(ends["why"], grace):
                    self.say("stops %s" % run.id)
                self.asked[run.id] = now + grace + ANSWER
        if now - self.ends_since > ENDING:
            return True
        if any(now < self.asked[run.id] for run in self.rules.active):
            return False
        return not any(
            run.reports
            for run in self.rules.trainings
            if not run.is_active and run.settled() is None
        )

    def end(self) -> None:
        now = self.clock()
        if now < self.due["off"]:
            return
        if self.config["boot"] and not self.finished:
            self.finished = True
            in_time(self.finish_run, FINISH_S)
        self.due["off"] = self.clock() + RETRY_S
        command, done = self.power.off()
        self.say("%s: %s" % (command, "taken" if done else "refused"))

    def arm(self) -> None:
        """The system's own timer, should the watchdog end."""
        now = self.clock()
        if self.armed or self.ends or now < self.due["arm"]:
            return
        left = max(0.0, self.left())
        self.armed = self.power.arm(int(left + MARGIN_S + 59) // 60)
        self.due["arm"] = now + RETRY_S
        if self.armed:
            self.say("shuts down in %d s at the latest" % left)

    def start_run(self) -> None:
        """Where the run is started by the instance itself: in a process of its own, again where
        that failed.
        """
        if not self.config["boot"] or self.ends or self.clock() < self.due["boot"]:
            return
        self.due["boot"] = self.clock() + RETRY_S
        if self.starter is not None:
            pid, status = os.waitpid(self.starter, os.WNOHANG)
            if pid == 0:
                return
            if status == 0:
                self.due["boot"] = float("inf")
                return
        self.starter = os.fork()
        if self.starter == 0:
            self.begin_run()

    def begin_run(self) -> None:
        """Ends with 1 where it failed, or another watchdog's still begins it."""
        code = 1
        try:
            os.setsid()
            if self.lock is not None:
                os.close(self.lock)
            reset_oom_score()
            from ..fleet import boot_loader

            boot_loader.start(self.config, self.say)
            code = 0
        except BaseException:
            self.say("the run was not started: %s" % traceback.format_exc())
        finally:
            os._exit(code)

    def finish_run(self) -> None:
        from ..fleet import boot_loader

        try:
            boot_loader.finish(self.config, self.say)
        except BaseException:
            self.say("the resources of its run were not removed: %s" % traceback.format_exc())

    def save(self) -> None:
        since = self.rules.idle_since()
        state = {
            "boot": self.boot_name(),
            "since": self.to_epoch_ms(0.0),
            "began": self.rules.began,
            "ends": self.ends,
            "idle": None if since is None else self.to_epoch_ms(since),
        }
        # Times by the wall wander by a little: that alone is nothing new.
        shape = (state["began"], self.ends, since)
        if shape == self.written:
            return
        self.written = shape
        try:
            atomic_files.write_json(os.path.join(self.directory, "state.json"), state)
        except OSError:
            pass

    def say(self, text: str) -> None:
        line = "%s %s\n" % (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.wall())), text)
        try:
            sys.stderr.write(line)
            with open(os.path.join(self.directory, "log"), "a") as file:
                file.write(line)
        except (OSError, ValueError):
            pass

    def last_resort(self) -> None:
        """Beside all else, which a disk that does not answer can hold for ever."""
        while True:
            time.sleep(RETRY_S)
            if self.left() < -(ENDING + 2 * RETRY_S):
                try:
                    self.power.off()
                except InstanceGone:
                    os._exit(0)

    def left(self) -> float:
        """Seconds to the end of the lifetime, or to the deadline."""
        left = self.config["lifetime"] - self.clock()
        if self.config["deadline"] is not None:
            left = min(left, self.config["deadline"] / 1000.0 - self.wall())
        return left

    def run(self) -> None:
        threading.Thread(target=self.last_resort, daemon=True).start()
        limits = (self.config["lifetime"], self.config["idle"], self.config["start"])
        pause = max(0.1, min([TICK_S] + [limit / 10.0 for limit in limits if limit]))
        while True:
            try:
                self.tick()
            except InstanceGone:
                raise
            except Exception:
                self.say(traceback.format_exc())
            time.sleep(pause)


def in_time(work: Callable[[], object], seconds: float) -> None:
    """Runs `work` in a process of its own, and waits for it no longer than that."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    deadline = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return
        time.sleep(0.1)


def take(path: str, how: int) -> int | Literal[False] | None:
    """A lock, held by the descriptor; None where the disk takes none, False where another process
    has it.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        return False
    return descriptor


def reset_oom_score() -> None:
    """What a unit says of the watchdog does not hold for a training: it can be killed for lack of
    memory.
    """
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
    except OSError:
        pass


def root_of(config: WatchdogConfig) -> str:
    """The default root where the runtime refuses the configured one."""
    root = path = os.path.realpath(config["root"] or os.environ.get("NX_EC2_ROOT") or DEFAULT_ROOT)
    while config["root"] and path != "/" and os.geteuid() == 0:
        status = os.stat(path) if os.path.exists(path) else None
        if status and (status.st_uid or 0 < status.st_mode & 0o1022 < 0o1000):
            return DEFAULT_ROOT
        path = os.path.dirname(path)
    return root


def run_watchdog(config: WatchdogConfig) -> None:
    """Does not return."""
    root = root_of(config)
    instance = os.environ.get("NX_EC2_LOCAL_INSTANCE")
    since = boot_clock.since()

    def clock() -> float:
        return boot_clock.clock() - since

    # One that comes second waits here, and takes over.
    lock = take(os.path.join(root, "watchdog", "lock"), fcntl.LOCK_EX)
    try:
        atomic_files.write_json(os.path.join(root, "watchdog", "config.json"), config)
    except OSError:
        pass
    mark = "NX_EC2_LOCAL_INSTANCE=%s" % instance if instance else None
    limit = config["idle"]
    idle = Idle(root, limit, local=mark, clock=clock) if limit is not None else None
    watchdog = Watchdog(
        config,
        root,
        power=Power(os.environ.get("NX_EC2_LOCAL_BIN", "") if instance else None),
        boot=boot_clock.boot(),
        clock=clock,
        wall=time.time,
        idle=idle,
    )
    watchdog.lock = lock or None
    watchdog.restore_state()
    watchdog.run()


def daemonize(config: WatchdogConfig) -> None:
    """Keeps in a process that nothing ends with, and has another one beside it that starts it
    again.
    """
    from ..system.daemonize import detached

    detached(lambda: supervise(config))


def supervise(config: WatchdogConfig) -> None:
    while True:
        child = os.fork()
        if child == 0:
            try:
                run_watchdog(config)
            except InstanceGone:
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] == 0:
            return
        time.sleep(1)


def main(argv: list[str]) -> None:
    config = json.loads(base64.b64decode(argv[1]))
    {"keep": run_watchdog, "apart": daemonize}[argv[0]](config)
