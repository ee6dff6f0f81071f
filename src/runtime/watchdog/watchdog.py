"""Ends the instance when it is to end, whoever is there: docs/reference/formats.md, "User data"."""
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
from .power import Gone, Power
from .shutdown_rules import HARD, Guards

# Between two looks, seconds at most; less where little time is given.
TICK = 5.0
# All that runs are given to end and to be saved in, seconds; of that, to end by themselves; and beyond their grace.
ENDING, GRACE, ANSWER = 300, 120, 30
# Between two tries to shut down, and to set the system's own timer, seconds.
AGAIN = 30.0
# How much later than the watchdog the system's own timer comes, seconds.
MARGIN = 600
# What `finish` of a run that starts at the boot may take, seconds.
FINISH = 60


class Watchdog:
    def __init__(self, config, root, power, boot, clock, wall, idle):
        self.config, self.root, self.power, self.boot, self.clock, self.wall = config, root, power, boot, clock, wall
        self.home = os.path.join(root, "watchdog")
        self.guards = Guards(config, root, boot, clock, wall, idle)
        self.ends = None
        # By the clock: run -> until when its end is waited for; when the next tries are due.
        self.asked = {}
        self.due = {"arm": 0.0, "off": 0.0, "boot": 0.0}
        self.armed = self.finished = False
        self.starter, self.lock = None, None
        self.written = None

    def go_on(self):
        """With what another watchdog of this boot has written down."""
        state = atomic_files.read_json(os.path.join(self.home, "state.json"))
        if not state or state.get("boot") != self.boot_name():
            return
        self.guards.began = bool(state.get("began"))
        if state.get("idle"):
            self.guards.go_on(self.by_clock(state["idle"]))
        if state.get("ends"):
            self.ends = state["ends"]

    def boot_name(self):
        """A local instance's machine does not boot with it."""
        local = boot_clock.local_boot()
        return self.boot if local is None else "%s-%d" % (self.boot, local)

    def by_clock(self, ms):
        return min(self.clock(), self.clock() - (self.wall() - ms / 1000.0))

    def by_wall(self, since):
        return int((self.wall() - (self.clock() - since)) * 1000)

    def tick(self):
        self.arm()
        self.start_run()
        why = self.guards.look()
        for run in self.guards.hung:
            if run.stop("hung", self.grace(run)):
                self.say("%s hangs: its log does not grow, and the machine is quiet" % run.id)
        if self.ends and self.ends["why"] not in HARD and self.guards.going:
            self.say("error, continuing: %s" % ", ".join(run.id for run in self.guards.going))
            self.ends = None
        if why and (self.ends is None or (why in HARD and self.ends["why"] not in HARD)):
            self.ends = {"at": int(self.wall() * 1000), "why": why}
            self.say("ends: %s" % why)
        self.save()
        if self.ends and self.is_ready():
            self.end()

    def grace(self, run):
        grace = run.plan.get("gracePeriod")
        return min(GRACE, grace) if isinstance(grace, (int, float)) else GRACE

    def is_ready(self):
        """Whether nothing is waited for any more. What goes on is told to end."""
        now = self.clock()
        for run in self.guards.going:
            if run.id not in self.asked:
                grace = self.grace(run)
                if run.stop(self.ends["why"], grace):
                    self.say("stops %s" % run.id)
                self.asked[run.id] = now + grace + ANSWER
        if now - self.by_clock(self.ends["at"]) > ENDING:
            return True
        if any(now < self.asked[run.id] for run in self.guards.going):
            return False
        return not any(run.reports for run in self.guards.trainings if not run.goes_on and run.settled() is None)

    def end(self):
        now = self.clock()
        if now < self.due["off"]:
            return
        if self.config["boot"] and not self.finished:
            self.finished = True
            in_time(self.finish_run, FINISH)
        self.due["off"] = self.clock() + AGAIN
        words, done = self.power.off()
        self.say("%s: %s" % (words, "taken" if done else "refused"))

    def arm(self):
        """The system's own timer, should the watchdog end."""
        now = self.clock()
        if self.armed or self.ends or now < self.due["arm"]:
            return
        left = max(0.0, self.left())
        self.armed = self.power.arm(int(left + MARGIN + 59) // 60)
        self.due["arm"] = now + AGAIN
        if self.armed:
            self.say("ends at the latest in %d s" % left)

    def start_run(self):
        """Where the run is started by the instance itself: in a process of its own, again where that failed."""
        if not self.config["boot"] or self.ends or self.clock() < self.due["boot"]:
            return
        self.due["boot"] = self.clock() + AGAIN
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

    def begin_run(self):
        """Ends with 1 where it failed, or another watchdog's still begins it."""
        code = 1
        try:
            os.setsid()
            if self.lock is not None:
                os.close(self.lock)
            spare()
            from ..fleet import boot_loader

            boot_loader.start(self.config, self.say)
            code = 0
        except BaseException:
            self.say("the run was not started: %s" % traceback.format_exc())
        finally:
            os._exit(code)

    def finish_run(self):
        from ..fleet import boot_loader

        try:
            boot_loader.finish(self.config, self.say)
        except BaseException:
            self.say("what its run has made was not removed: %s" % traceback.format_exc())

    def save(self):
        since = self.guards.idle_since()
        state = {
            "boot": self.boot_name(), "since": self.by_wall(0.0), "began": self.guards.began, "ends": self.ends,
            "idle": None if since is None else self.by_wall(since),
        }
        # Times by the wall wander by a little: that alone is nothing new.
        shape = (state["began"], self.ends, since)
        if shape == self.written:
            return
        self.written = shape
        try:
            atomic_files.write_json(os.path.join(self.home, "state.json"), state)
        except OSError:
            pass

    def say(self, text):
        line = "%s %s\n" % (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.wall())), text)
        try:
            sys.stderr.write(line)
            with open(os.path.join(self.home, "log"), "a") as file:
                file.write(line)
        except (OSError, ValueError):
            pass

    def last_resort(self):
        """Beside all else, which a disk that does not answer can hold for ever."""
        while True:
            time.sleep(AGAIN)
            if self.left() < -(ENDING + 2 * AGAIN):
                try:
                    self.power.off()
                except Gone:
                    os._exit(0)

    def left(self):
        """Seconds to the end of the lifetime, or to the deadline."""
        left = self.config["lifetime"] - self.clock()
        if self.config["deadline"] is not None:
            left = min(left, self.config["deadline"] / 1000.0 - self.wall())
        return left

    def keep(self):
        threading.Thread(target=self.last_resort, daemon=True).start()
        given = [self.config[name] for name in ("lifetime", "idle", "start") if self.config[name]]
        pause = max(0.1, min([TICK] + [each / 10.0 for each in given]))
        while True:
            try:
                self.tick()
            except Gone:
                raise
            except Exception:
                self.say(traceback.format_exc())
            time.sleep(pause)


def in_time(work, seconds):
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


def take(path, how):
    """A lock, held by the descriptor; None where the disk takes none, False where another has it."""
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


def spare():
    """What a unit says of the watchdog does not hold for a training: it can be killed for lack of memory."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
    except OSError:
        pass


def keep(config):
    """Does not return."""
    root = os.path.realpath(config["root"] or os.environ.get("NX_EC2_ROOT") or "/var/lib/nx-ec2")
    instance = os.environ.get("NX_EC2_LOCAL_INSTANCE")
    since = boot_clock.since()

    def clock():
        return boot_clock.clock() - since

    # One that comes second waits here, and takes over.
    lock = take(os.path.join(root, "watchdog", "lock"), fcntl.LOCK_EX)
    try:
        atomic_files.write_json(os.path.join(root, "watchdog", "config.json"), config)
    except OSError:
        pass
    mark = instance and "NX_EC2_LOCAL_INSTANCE=%s" % instance
    idle = Idle(root, config["idle"], mark, clock) if config["idle"] is not None else None
    watchdog = Watchdog(config, root, Power(os.environ.get("NX_EC2_LOCAL_BIN", "") if instance else None), boot_clock.boot(), clock, time.time, idle)
    watchdog.lock = lock or None
    watchdog.go_on()
    watchdog.keep()


def apart(config):
    """Keeps in a process that nothing ends with, and has another one beside it that starts it again."""
    from ..system.daemonize import detached

    detached(lambda: guard(config))


def guard(config):
    while True:
        child = os.fork()
        if child == 0:
            try:
                keep(config)
            except Gone:
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] == 0:
            return
        time.sleep(1)


def main(words):
    config = json.loads(base64.b64decode(words[1]))
    {"keep": keep, "apart": apart}[words[0]](config)
