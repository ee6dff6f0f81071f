"""When the watchdog shuts an instance down, and what it does before. The clock is the test's; locks
and files are real.
"""

import fcntl
import importlib
import io
import json
import os
import shutil
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401  makes the package importable

from nx_ec2_runtime.fleet.held import Held
from nx_ec2_runtime.system import atomic_files, used_roots
from nx_ec2_runtime.watchdog import boot_run, power, watchdog

BOOTED = 1_700_000_000
BOOT = "this boot"
CONFIG = {
    "v": 1,
    "root": None,
    "lifetime": 3600,
    "because": "lifetime",
    "deadline": None,
    "idle": None,
    "start": None,
    "finish": None,
    "shutdown": "terminate",
    "boot": None,
}


class FakePower:
    def __init__(self, takes=True):
        self.takes, self.armed, self.tries = takes, [], []

    def arm(self, minutes):
        self.armed.append(minutes)
        return self.takes

    def off(self):
        self.tries.append(len(self.tries))
        return "shutdown -h now", self.takes


class FakeIdle:
    """Quiet since `since`, by the clock; None: busy."""

    since = 0.0

    def poll(self):
        return self.since


class WatchdogTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        for patch in (
            mock.patch("sys.stderr", io.StringIO()),
            mock.patch.object(used_roots, "DIRECTORY", os.path.join(self.root, "machine")),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        # By how much the time of day was set back, s.
        self.set_back = 0.0
        # When the instance was launched, by the clock, as EC2 says; None: EC2 does not answer.
        self.launched = None
        self.now, self.power, self.idle, self.locks, self.count = (
            0.0,
            FakePower(),
            FakeIdle(),
            {},
            0,
        )

    def watchdog(self, **config):
        config = dict(CONFIG, **config)
        made = watchdog.Watchdog(
            config,
            self.root,
            power=self.power,
            boot=BOOT,
            clock=lambda: self.now,
            wall=lambda: BOOTED + self.now - self.set_back,
            launch=self.ask_ec2,
            idle=self.idle if config["idle"] is not None else None,
        )
        made.restore_state()
        return made

    def ask_ec2(self):
        if self.launched is None:
            raise OSError("no route to the metadata service")
        return BOOTED + self.now, BOOTED + self.launched

    def pass_time(self, it, seconds, step=5.0):
        """Ticks until this much time has passed. Returns when it was first shut down, or None."""
        end = self.now + seconds
        while self.now < end and not self.power.tries:
            self.now += step
            it.tick()
        return self.now if self.power.tries else None

    # Runs as they are on the disk.

    def run_file(self, run, name):
        return os.path.join(self.root, "runs", run, name)

    def write(self, run, name, value):
        path = self.run_file(run, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(value if isinstance(value, str) else json.dumps(value))
        os.utime(path, (BOOTED + self.now - self.set_back,) * 2)

    def hold(self, run, name="lock"):
        os.makedirs(os.path.dirname(self.run_file(run, name)), exist_ok=True)
        descriptor = os.open(self.run_file(run, name), os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.locks[run, name] = descriptor
        self.addCleanup(self.free, run, name)

    def free(self, run, name="lock"):
        descriptor = self.locks.pop((run, name), None)
        if descriptor is not None:
            os.close(descriptor)

    def begin(self, grace=10, store=True, kind="training", **record):
        """An active run, with its reporter."""
        self.count += 1
        run = "20260101-000000-p-aaaaa%s" % "abcdefgh"[self.count]
        self.hold(run)
        self.write(
            run,
            "run.json",
            dict(
                {
                    "kind": kind,
                    "boot": BOOT,
                    "state": "running",
                    "outcome": None,
                    "endedAt": None,
                    "supervisor": None,
                },
                **record,
            ),
        )
        if kind == "training":
            self.write(
                run,
                "plan.json",
                {"gracePeriod": grace, "store": {"bucket": "b"} if store else None},
            )
            if store:
                self.hold(run, "report.lock")
        self.write(run, "log", "")
        return run

    def finish(self, run, outcome="succeeded", saved=True):
        record = dict(
            atomic_files.read_json(self.run_file(run, "run.json")),
            state="ended",
            outcome=outcome,
            endedAt=int((BOOTED + self.now - self.set_back) * 1000),
        )
        self.write(run, "run.json", record)
        self.free(run)
        if saved:
            self.saved(run)

    def saved(self, run, unsaved=False):
        self.write(run, "report.json", {"saved": True, "unsaved": unsaved})
        self.free(run, "report.lock")

    def stop_of(self, run):
        return atomic_files.read_json(self.run_file(run, "stop.json"))

    def state(self):
        return atomic_files.read_json(os.path.join(self.root, "watchdog", "state.json"))

    # The lifetime.

    def test_sets_the_systems_own_timer_later_than_its_own_shutdown(self):
        self.watchdog(lifetime=3600).tick()
        self.watchdog(lifetime=3600, deadline=(BOOTED + 90) * 1000).tick()
        self.assertEqual(self.power.armed, [70, 12])

    def test_sets_the_timer_again_if_the_system_refused_it(self):
        self.power.takes = False
        it = self.watchdog()
        self.pass_time(it, 65)
        self.assertEqual(len(self.power.armed), 3)
        self.power.takes = True
        self.pass_time(it, 65)
        self.assertEqual(len(self.power.armed), 4)

    def test_shuts_down_by_the_rule_that_applies_first(self):
        self.assertEqual(self.pass_time(self.watchdog(lifetime=100, because="cost"), 500), 100)
        self.assertEqual(self.state()["ends"]["why"], "cost")
        self.now, self.power = 0.0, FakePower()
        shutil.rmtree(os.path.join(self.root, "watchdog"))
        self.assertEqual(
            self.pass_time(self.watchdog(lifetime=100, deadline=(BOOTED + 50) * 1000), 500), 50
        )
        self.assertEqual(self.state()["ends"]["why"], "deadline")

    def test_the_lifetime_counts_from_the_launch_whatever_was_rebooted_since(self):
        self.launched = -70.0
        for because in ("lifetime", "cost"):
            self.now, self.power = 0.0, FakePower()
            shutil.rmtree(os.path.join(self.root, "watchdog"), ignore_errors=True)
            it = self.watchdog(lifetime=100, because=because, start=20)
            self.begin()
            self.pass_time(it, 30)
            self.assertEqual(self.state()["ends"], {"at": 30, "why": because})
        # The system's own timer, too: 30 s and ten minutes.
        self.assertEqual(self.power.armed, [11])

    def test_only_the_lifetime_counts_from_the_launch(self):
        self.launched = -1000.0
        self.assertEqual(self.pass_time(self.watchdog(start=60), 500), 60)

    def test_an_instance_that_waits_for_its_turn_in_a_run_is_kept_until_its_lifetime(self):
        os.makedirs(os.path.join(self.root, "watchdog"), exist_ok=True)
        lock = Held(os.path.join(self.root, "watchdog", "waiting.lock"))
        lock.take()
        lock.take()
        self.addCleanup(lock.free)
        self.assertEqual(self.pass_time(self.watchdog(start=60, lifetime=300), 500), 300)

    def test_asks_ec2_for_the_launch_until_it_answers(self):
        it = self.watchdog(lifetime=300)
        self.assertIsNone(self.pass_time(it, 60))
        self.launched = -100.0
        self.assertEqual(self.pass_time(it, 500), 200)
        self.assertEqual(self.power.armed, [15, 13])

    def test_the_deadline_is_one_of_ec2s_clock(self):
        self.launched = 0.0
        for set_back in (-86_400.0, 86_400.0):
            self.now, self.power, self.set_back = 0.0, FakePower(), set_back
            shutil.rmtree(os.path.join(self.root, "watchdog"), ignore_errors=True)
            it = self.watchdog(deadline=(BOOTED + 50) * 1000)
            self.assertEqual(self.pass_time(it, 500), 50)

    def test_waits_for_a_run_to_end_and_to_be_saved(self):
        run, it = self.begin(grace=10), self.watchdog(lifetime=100)
        self.assertIsNone(self.pass_time(it, 100))
        self.assertEqual(self.stop_of(run), {"reason": "lifetime", "gracePeriod": 10})
        self.finish(run, "interrupted", saved=False)
        self.assertIsNone(self.pass_time(it, 200))
        self.saved(run)
        self.assertEqual(self.pass_time(it, 10), 305)

    def test_does_not_wait_longer_for_a_supervisor_that_does_not_answer(self):
        self.begin(grace=20)
        self.assertEqual(self.pass_time(self.watchdog(lifetime=100), 500), 150)

    def test_waits_five_minutes_at_most_for_uploads_and_cuts_a_long_grace_period(
        self,
    ):
        run, it = self.begin(grace=3600), self.watchdog(lifetime=100)
        self.pass_time(it, 105)
        self.assertEqual(self.stop_of(run)["gracePeriod"], 120)
        self.finish(run, "interrupted", saved=False)
        self.assertEqual(self.pass_time(it, 500), 405)

    def test_does_not_wait_longer_if_the_time_of_day_is_set_back(self):
        run, it = self.begin(), self.watchdog(lifetime=100)
        self.pass_time(it, 105)
        self.finish(run, "interrupted", saved=False)
        self.set_back = 86_400.0
        self.assertEqual(self.pass_time(it, 500), 405)

    def test_does_not_wait_for_a_reporter_that_is_gone(self):
        run, it = self.begin(), self.watchdog(lifetime=100)
        self.pass_time(it, 100)
        self.finish(run, "interrupted", saved=False)
        self.free(run, "report.lock")
        self.assertEqual(self.pass_time(it, 500), 105)

    def test_keeps_an_earlier_request_to_stop(self):
        run, it = self.begin(), self.watchdog(lifetime=100)
        self.write(run, "stop.json", {"reason": "cancelled", "gracePeriod": 5})
        self.pass_time(it, 100)
        self.assertEqual(self.stop_of(run)["reason"], "cancelled")

    def test_stops_the_run_and_shuts_down_if_the_disk_can_not_be_written(self):
        run = self.begin(supervisor=4711, grace=20)
        with mock.patch.object(
            atomic_files, "write_json", side_effect=OSError(28, "No space left on device")
        ), mock.patch("nx_ec2_runtime.system.processes.send") as send, mock.patch.object(
            watchdog, "open", create=True, side_effect=OSError(5, "Input/output error")
        ):
            self.assertEqual(self.pass_time(self.watchdog(lifetime=100), 500), 150)
        # What would tell it by a file is told by a signal.
        send.assert_called_once_with(4711, 15)
        self.assertIsNone(self.stop_of(run))

    def test_repeats_the_shutdown_until_it_happens(self):
        it = self.watchdog(lifetime=100)
        for _ in range(40):
            self.now += 5
            it.tick()
        self.assertEqual(len(self.power.tries), 4)

    def test_continues_the_shutdown_that_a_killed_watchdog_began(self):
        self.begin(grace=3600)
        self.pass_time(self.watchdog(lifetime=100), 105)
        self.now += 200
        self.assertEqual(self.pass_time(self.watchdog(lifetime=100), 500), 405)

    def test_ignores_the_state_of_another_boot(self):
        it = self.watchdog(start=50)
        self.begin()
        it.tick()
        self.assertTrue(self.state()["began"])
        self.assertTrue(self.watchdog(start=50).rules.began)
        atomic_files.write_json(
            os.path.join(self.root, "watchdog", "state.json"), dict(self.state(), boot="another")
        )
        self.assertFalse(self.watchdog(start=50).rules.began)

    # No run begins, none is active.

    def test_shuts_down_if_no_run_starts_in_this_boot(self):
        run = self.begin(boot="the boot before")
        self.finish(run)
        self.assertEqual(self.pass_time(self.watchdog(start=60), 500), 60)

    def test_a_run_that_was_removed_counts_as_started(self):
        it, run = self.watchdog(start=60), self.begin()
        it.tick()
        self.finish(run)
        shutil.rmtree(os.path.dirname(self.run_file(run, "")))
        self.assertIsNone(self.pass_time(it, 500))

    def test_a_sync_is_waited_for_before_the_first_run(self):
        os.makedirs(os.path.join(self.root, "trees", "t"))
        self.hold("../trees/t")
        it = self.watchdog(start=60, idle=60)
        self.assertIsNone(self.pass_time(it, 500))
        self.free("../trees/t")
        self.assertEqual(self.pass_time(it, 500), 505)

    def test_is_idle_from_the_end_of_the_last_activity(self):
        it, run = self.watchdog(idle=100), self.begin(kind="exec")
        self.write(run, "log", "x")
        self.assertIsNone(self.pass_time(it, 90))
        self.finish(run, saved=False)
        self.assertEqual(self.pass_time(it, 500), 195)
        self.assertEqual(self.state()["ends"]["why"], "idle")

    def test_is_not_idle_during_activity_or_while_a_run_is_uploaded(self):
        it, run = self.watchdog(idle=100), self.begin()
        self.finish(run, saved=False)
        self.assertIsNone(self.pass_time(it, 500))
        self.idle.since = None
        self.saved(run)
        self.assertIsNone(self.pass_time(it, 500))
        self.idle.since = self.now
        self.assertEqual(self.pass_time(it, 500), 1100)

    def test_a_restarted_watchdog_keeps_the_idle_time(self):
        self.pass_time(self.watchdog(idle=100), 60)
        self.idle = FakeIdle()
        self.assertAlmostEqual(self.pass_time(self.watchdog(idle=100), 500), 105, delta=1)

    # Runs that hang.

    def test_stops_a_run_without_output_or_load_and_is_idle_then(self):
        it, run = self.watchdog(idle=100), self.begin()
        for _ in range(10):
            self.write(run, "log", "x" * int(self.now))
            self.pass_time(it, 50)
        self.assertIsNone(self.stop_of(run))
        self.pass_time(it, 100)
        self.assertEqual(self.stop_of(run), {"reason": "hung", "gracePeriod": 10})
        self.finish(run, "interrupted")
        self.assertEqual(self.pass_time(it, 500), 705)
        self.assertEqual(self.state()["ends"]["why"], "idle")

    def test_does_not_stop_a_run_that_has_load_but_no_output(self):
        it, run = self.watchdog(idle=100), self.begin()
        self.idle.since = None
        self.pass_time(it, 1000)
        self.assertIsNone(self.stop_of(run))

    def test_a_queued_run_does_not_count_as_hung(self):
        holder, waiting, it = self.begin(), self.begin(state="queued"), self.watchdog(idle=100)
        self.pass_time(it, 200)
        self.assertEqual(self.stop_of(holder)["reason"], "hung")
        self.finish(holder, "interrupted")
        self.write(
            waiting,
            "run.json",
            dict(atomic_files.read_json(self.run_file(waiting, "run.json")), state="running"),
        )
        self.pass_time(it, 95)
        self.assertIsNone(self.stop_of(waiting))

    def test_a_node_that_waits_for_the_others_does_not_count_as_hung(self):
        for phase in ("ready", "exited"):
            waiting, it = self.begin(node={"phase": phase}), self.watchdog(idle=100)
            self.pass_time(it, 300)
            self.assertIsNone(self.stop_of(waiting))
            record = atomic_files.read_json(self.run_file(waiting, "run.json"))
            self.write(waiting, "run.json", dict(record, node={"phase": "running"}))
            self.pass_time(it, 95)
            self.assertIsNone(self.stop_of(waiting))
            self.pass_time(it, 10)
            self.assertEqual("hung", self.stop_of(waiting)["reason"])
            self.finish(waiting, "interrupted")

    # The end of what it was made for.

    def test_the_instance_is_kept_after_a_run_by_its_outcome(self):
        it, run = self.watchdog(finish={"success": 60, "failure": 600}), self.begin()
        self.finish(run)
        self.assertEqual(self.pass_time(it, 500), 60)

    def test_the_instance_is_kept_as_after_a_failure_if_not_all_is_saved(self):
        for finish, kept in (
            ({"success": 0, "failure": 600}, 600),
            ({"success": 0, "failure": None}, None),
        ):
            with self.subTest(**finish):
                self.setUp()
                it, run = self.watchdog(finish=finish), self.begin()
                self.finish(run, saved=False)
                # It took longer to find out than the instance is kept.
                self.pass_time(it, 1000)
                self.saved(run, unsaved=True)
                self.assertEqual(self.pass_time(it, 2000), kept and 1000 + kept)

    def test_a_later_run_does_not_shorten_the_time_for_files_that_are_not_saved(self):
        it, run = self.watchdog(finish={"success": 0, "failure": 600}), self.begin()
        self.finish(run, saved=False)
        self.saved(run, unsaved=True)
        self.pass_time(it, 100)
        later = self.begin()
        self.pass_time(it, 100)
        self.finish(later)
        self.assertAlmostEqual(self.pass_time(it, 1000), 600, delta=5)

    def test_a_node_is_kept_for_the_next_attempt_if_another_node_was_interrupted(self):
        node = {"rank": 1, "count": 2}
        interruption = {"reason": "interruption", "at": 1}
        for recovery, more, kept in (
            ("client", {"node": node, "stop": interruption}, 600),
            ("none", {"node": node, "stop": interruption}, 0),
            ("client", {"node": None, "stop": interruption}, 0),
            ("client", {"node": node, "stop": {"reason": "lifetime", "at": 1}}, 0),
            # Whatever ended it there: its fleet's program ends the instance.
            ("fleet", {"node": node, "stop": {"reason": "shutdown", "at": 1}}, 600),
            ("fleet", {"node": None, "stop": interruption}, 0),
        ):
            with self.subTest(recovery=recovery, **more):
                self.setUp()
                it = self.watchdog(finish={"success": 0, "failure": 0})
                run = self.begin(**more)
                plan = atomic_files.read_json(self.run_file(run, "plan.json"))
                self.write(run, "plan.json", dict(plan, metadata={"recovery": recovery}))
                self.finish(run, "interrupted")
                self.assertAlmostEqual(self.pass_time(it, 1000), kept, delta=5)

    def test_keeps_the_instance_as_long_if_the_time_of_day_is_set_after_the_run(self):
        for set_back in (86_400.0, -86_400.0):
            self.now, self.power, self.set_back = 0.0, FakePower(), 0.0
            shutil.rmtree(self.root)
            it, run = self.watchdog(finish={"success": 60, "failure": 600}), self.begin()
            self.finish(run)
            self.pass_time(it, 10)
            self.set_back = set_back
            self.assertEqual(self.pass_time(it, 2000), 60)

    def test_knows_a_run_of_this_boot_though_the_time_of_day_is_set_during_it(self):
        for set_back in (86_400.0, -86_400.0):
            self.now, self.power, self.set_back = 0.0, FakePower(), 0.0
            shutil.rmtree(self.root)
            it, run = self.watchdog(finish={"success": 60, "failure": 600}), self.begin()
            self.pass_time(it, 100)
            self.set_back = set_back
            self.pass_time(it, 100)
            self.finish(run)
            # At 205 s the end of the run is seen.
            self.assertIn(self.pass_time(it, 2000), (260, 265))

    def test_the_last_run_decides_though_the_time_of_day_is_set_between_two(self):
        it, first = self.watchdog(finish={"success": 60, "failure": 600}), self.begin()
        self.pass_time(it, 100)
        self.finish(first)
        self.pass_time(it, 10)
        second = self.begin()
        self.pass_time(it, 10)
        self.set_back = 86_400.0
        self.finish(second, "failed")
        self.assertIn(self.pass_time(it, 2000), (720, 725))

    def test_a_restarted_watchdog_keeps_all_times_though_the_time_of_day_is_set(self):
        finish = {"success": 60, "failure": 600}
        for rules, due in (({"idle": 100}, 100), ({"finish": finish}, 600)):
            for set_back in (86_400.0, -86_400.0):
                self.now, self.power, self.set_back = 0.0, FakePower(), 0.0
                self.idle = FakeIdle()
                shutil.rmtree(self.root)
                run = self.begin()
                self.finish(run, "failed")
                self.pass_time(self.watchdog(**rules), 60)
                self.set_back = set_back
                self.assertAlmostEqual(self.pass_time(self.watchdog(**rules), 2000), due, delta=5)

    def test_saves_a_run_at_the_lifetime_though_the_time_of_day_is_set_during_it(self):
        run, it = self.begin(), self.watchdog(lifetime=100)
        self.pass_time(it, 50)
        self.set_back = -86_400.0
        self.assertIsNone(self.pass_time(it, 50))
        self.finish(run, "interrupted", saved=False)
        self.assertIsNone(self.pass_time(it, 100))
        self.saved(run)
        self.assertEqual(self.pass_time(it, 10), 205)

    def test_the_instance_is_kept_for_ever_if_configured(self):
        it, run = self.watchdog(finish={"success": 60, "failure": None}), self.begin()
        self.finish(run, "failed")
        self.assertIsNone(self.pass_time(it, 2000))

    def test_never_shuts_down_before_the_run_is_saved(self):
        it, run = self.watchdog(finish={"success": 0, "failure": 0}), self.begin()
        self.finish(run, saved=False)
        self.assertIsNone(self.pass_time(it, 1200))
        self.saved(run)
        self.assertEqual(self.pass_time(it, 100), 1205)

    def test_waits_15_minutes_if_the_reporter_gave_up(self):
        it, run = self.watchdog(finish={"success": 0, "failure": 0}), self.begin()
        self.finish(run, saved=False)
        self.free(run, "report.lock")
        self.assertEqual(self.pass_time(it, 2000), 900)

    def test_another_run_prevents_the_shutdown(self):
        it, run = self.watchdog(finish={"success": 100, "failure": 0}), self.begin()
        self.finish(run)
        self.pass_time(it, 50)
        second = self.begin()
        self.assertIsNone(self.pass_time(it, 500))
        self.finish(second)
        self.assertEqual(self.pass_time(it, 500), 650)

    def test_runs_below_all_roots_count(self):
        it, run = self.watchdog(finish={"success": 100, "failure": 0}), self.begin()
        self.finish(run)
        self.pass_time(it, 50)
        launched_with, self.root = self.root, tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        second = self.begin()
        used_roots.record(self.root)
        self.assertIsNone(self.pass_time(it, 500))
        self.finish(second, outcome="failed")
        self.pass_time(it, 5)
        self.assertEqual(len(self.power.tries), 1)
        self.assertNotEqual(launched_with, self.root)

    def test_the_lifetime_stops_and_saves_a_run_below_another_root(self):
        it = self.watchdog(lifetime=1000)
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        run = self.begin(grace=10)
        used_roots.record(self.root)
        self.assertIsNone(self.pass_time(it, 1020))
        self.assertEqual(self.stop_of(run)["reason"], "lifetime")
        self.finish(run)
        self.pass_time(it, 5)
        self.assertEqual(len(self.power.tries), 1)

    def test_a_run_that_starts_during_the_shutdown_prevents_it(self):
        it, run = self.watchdog(finish={"success": 0, "failure": 0}), self.begin()
        self.finish(run)
        with mock.patch.object(watchdog.Watchdog, "is_ready", return_value=False):
            self.pass_time(it, 10)
        self.assertEqual(self.state()["ends"]["why"], "finish")
        second = self.begin()
        self.assertIsNone(self.pass_time(it, 500))
        self.assertIsNone(self.state()["ends"])
        self.assertIsNone(self.stop_of(second))

    # A run that the instance starts by itself.

    def with_boot(self, source):
        """`boot` as its module is, for the processes that the watchdog begins."""
        module = type(sys)("nx_ec2_runtime.fleet.boot_loader")
        exec(source, module.__dict__)
        package = importlib.import_module("nx_ec2_runtime.fleet")
        for patch in (
            mock.patch.dict(sys.modules, {"nx_ec2_runtime.fleet.boot_loader": module}),
            mock.patch.object(package, "boot_loader", module, create=True),
        ):
            patch.start()
            self.addCleanup(patch.stop)

    def test_starts_its_run_until_that_succeeds_and_removes_its_resources_before_the_shutdown(self):
        marks = os.path.join(self.root, "marks")
        self.with_boot(
            "import os\n"
            "def mark(text):\n  with open(%r, 'a') as file: file.write(text)\n"
            "def start(config, log):\n  mark(config['boot']['objectKey'])\n  if os.path.getsize(%r) < 2: raise OSError('no way')\n"
            "def finish(config, log): mark('finish')\n" % (marks, marks)
        )
        it = self.watchdog(lifetime=300, boot={"objectKey": "k"})
        for _ in range(3):
            it.tick()
            if it.boot_run.due != float("inf"):
                os.waitid(os.P_PID, it.boot_run.starter, os.WEXITED | os.WNOWAIT)
            self.now += 30
        self.pass_time(it, 500)
        with open(marks) as file:
            self.assertEqual(file.read(), "kkfinish")

    def test_shuts_down_though_the_resources_can_not_be_removed(self):
        self.with_boot("import time\ndef start(config): pass\ndef finish(config): time.sleep(60)\n")
        with mock.patch.object(boot_run, "FINISH_TIMEOUT_S", 0.2):
            self.assertEqual(
                self.pass_time(self.watchdog(lifetime=100, boot={"objectKey": "k"}), 500), 100
            )


class PowerTest(unittest.TestCase):
    def setUp(self):
        self.bin = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.bin)
        self.said = os.path.join(self.bin, "said")
        for name in ("shutdown", "systemctl", "poweroff"):
            path = os.path.join(self.bin, name)
            with open(path, "w") as file:
                file.write('#!/bin/sh\necho "%s $*" >>%s\nexit 1\n' % (name, self.said))
            os.chmod(path, 0o700)

    def test_uses_harder_commands_after_some_tries(self):
        it = power.Power(self.bin)
        for _ in range(7):
            self.assertFalse(it.off()[1])
        with open(self.said) as file:
            said = file.read().splitlines()
        self.assertEqual(
            said,
            ["shutdown -h now"] * 3
            + ["systemctl poweroff -f", "poweroff -f", "shutdown -h now", "systemctl poweroff -f"],
        )

    def test_never_shuts_down_the_machine_of_a_local_instance(self):
        os.unlink(os.path.join(self.bin, "shutdown"))
        for where in (self.bin, ""):
            with self.assertRaises(power.InstanceGone):
                power.Power(where).off()


if __name__ == "__main__":
    unittest.main()
