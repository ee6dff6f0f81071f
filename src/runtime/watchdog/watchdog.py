"""Shuts the instance down when a shutdown rule says so, with or without a client:
docs/reference/formats.md, "User data".
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback

from ..system import atomic_files
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
        """`at`: by the clock."""

        at: float
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
    written: dict[str, Any] | None

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
        # These are times of the clock, which nobody can set: by run, how long its end is waited
        # for; when the next tries are due.
        self.asked = {}
        self.timer_due = self.shutdown_due = 0.0
        self.has_timer = False
        self.written = None

    def restore_state(self) -> None:
        """Continues from the state that another watchdog of this boot has saved."""
        state = atomic_files.read_json(os.path.join(self.directory, "state.json"))
        if not state or state.get("boot") != self.boot:
            return
        self.rules.began = bool(state.get("began"))
        self.rules.ended = state.get("ended") or {}
        if state.get("idle") is not None:
            self.rules.restore_state(state["idle"])
        self.ends = state.get("ends")

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
            self.ends = {"at": self.clock(), "why": why}
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
        if now - ends["at"] > ENDING_TIMEOUT_S:
            return True
        if any(now < self.asked[run.id] for run in self.rules.active):
            return False
        return not any(
            run.reports
            for run in self.rules.trainings
            if not run.is_active and run.settles() is None
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
        state = {
            "boot": self.boot,
            "began": self.rules.began,
            "ended": self.rules.ended,
            "ends": self.ends,
            "idle": self.rules.idle_since(),
        }
        if state == self.written:
            return
        self.written = state
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
