"""Shuts the instance down when a shutdown rule says so, with or without a client:
docs/reference/formats.md, "User data".
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback

from ..system import atomic_files, boot_clock
from .launch_time import LaunchTime
from .power import InstanceGone
from .shutdown_rules import FORCED, ShutdownRules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypedDict

    from ..fleet.boot_loader import WatchdogConfig
    from .activity import Run
    from .boot_run import BootRun
    from .idle import Idle
    from .power import Power

    class End(TypedDict):
        """`at`: ms since the epoch."""

        at: int
        why: str


# Between two looks at the shutdown rules, at most; less where a limit is short.
MAX_TICK_S = 5.0
# How long runs have, before the shutdown, to end and to be saved.
ENDING_TIMEOUT_S = 300
# The longest grace period that a run gets of that.
MAX_GRACE_S = 120
# How long a supervisor has to record the end of its run after the grace period.
ANSWER_TIMEOUT_S = 30
# Between two tries to shut down, and to set the system's own timer.
RETRY_S = 30.0
# How much later than the watchdog the system's own timer shuts down.
TIMER_MARGIN_S = 600


class Watchdog:
    ends: End | None
    asked: dict[str, float]
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
        launch: Callable[[], tuple[float, float]],
        idle: Idle | None,
        lock: int | None = None,
    ) -> None:
        self.config, self.power, self.boot = config, power, boot
        self.clock, self.wall = clock, wall
        self.directory = os.path.join(root, "watchdog")
        self.boot_run: BootRun | None = None
        if config["boot"]:
            from .boot_run import BootRun

            self.boot_run = BootRun(config, self.say, clock=clock, lock=lock)
        self.launch = LaunchTime(launch, clock=clock, wall=wall)
        self.rules = ShutdownRules(config, root, boot=boot, launch=self.launch, idle=idle)
        self.ends = None
        # These are times of the clock, which nobody can set: since when the instance is ending; by
        # run, how long its end is waited for; when the next tries are due.
        self.ends_since = 0.0
        self.asked = {}
        self.timer_due = self.shutdown_due = 0.0
        self.has_timer = False
        self.written = None

    def restore_state(self) -> None:
        """Continues from the state that another watchdog of this boot has saved."""
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
        """What tells this boot from others; a local instance boots more often than its machine."""
        local = boot_clock.local_boot()
        return self.boot if local is None else "%s-%d" % (self.boot, local)

    def to_monotonic(self, ms: float) -> float:
        return min(self.clock(), self.clock() - (self.wall() - ms / 1000.0))

    def to_epoch_ms(self, since: float) -> int:
        return int((self.wall() - (self.clock() - since)) * 1000)

    def tick(self) -> None:
        if self.launch.learn():
            self.has_timer = False
        self.arm()
        if self.boot_run and not self.ends:
            self.boot_run.start()
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
        return min(MAX_GRACE_S, grace) if isinstance(grace, (int, float)) else MAX_GRACE_S

    def is_ready(self) -> bool:
        """Requests the stop of active runs. Returns whether it waits for none any more."""
        now, ends = self.clock(), self.ends
        assert ends
        for run in self.rules.active:
            if run.id not in self.asked:
                grace = self.grace(run)
                if run.stop(ends["why"], grace):
                    self.say("stops %s" % run.id)
                self.asked[run.id] = now + grace + ANSWER_TIMEOUT_S
        if now - self.ends_since > ENDING_TIMEOUT_S:
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
        if now < self.shutdown_due:
            return
        if self.boot_run:
            self.boot_run.finish()
        self.shutdown_due = self.clock() + RETRY_S
        command, done = self.power.off()
        self.say("%s: %s" % (command, "taken" if done else "refused"))

    def arm(self) -> None:
        """Sets the system's own timer, which shuts down if the watchdog does not."""
        now = self.clock()
        if self.has_timer or self.ends or now < self.timer_due:
            return
        left = max(0.0, self.left())
        self.has_timer = self.power.arm(int(left + TIMER_MARGIN_S + 59) // 60)
        self.timer_due = now + RETRY_S
        if self.has_timer:
            self.say("shuts down in %d s at the latest" % left)

    def save(self) -> None:
        since = self.rules.idle_since()
        state = {
            "boot": self.boot_name(),
            "since": self.to_epoch_ms(0.0),
            "began": self.rules.began,
            "ends": self.ends,
            "idle": None if since is None else self.to_epoch_ms(since),
        }
        # Times of day are rounded differently each time: that alone is no change.
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
        """Shuts down from a thread of its own: a disk that does not answer can block the others for
        ever.
        """
        while True:
            time.sleep(RETRY_S)
            if self.left() < -(ENDING_TIMEOUT_S + 2 * RETRY_S):
                try:
                    self.power.off()
                except InstanceGone:
                    os._exit(0)

    def left(self) -> float:
        """Seconds to the end of the lifetime, or to the deadline."""
        left = self.config["lifetime"] - self.launch.age()
        if self.config["deadline"] is not None:
            left = min(left, self.config["deadline"] / 1000.0 - self.launch.now())
        return left

    def run(self) -> None:
        threading.Thread(target=self.last_resort, daemon=True).start()
        limits = (self.config["lifetime"], self.config["idle"], self.config["start"])
        pause = max(0.1, min([MAX_TICK_S] + [limit / 10.0 for limit in limits if limit]))
        while True:
            try:
                self.tick()
            except InstanceGone:
                raise
            except Exception:
                self.say(traceback.format_exc())
            time.sleep(pause)
