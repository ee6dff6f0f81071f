"""How far a training is, and how long a step takes."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401

from nx_ec2_runtime.report import metrics
from nx_ec2_runtime.report.progress import Progress


def after(*samples):
    """What is known after samples: (seconds, what was printed)."""
    progress = Progress()
    for at_s, found in samples:
        progress.add(found, int(at_s * 1000))
    latest = progress.latest()
    return latest and (latest["name"], latest["value"], latest["secondsPerStep"])


class ProgressTest(unittest.TestCase):
    def test_a_step_takes_the_time_between_two_lines_by_the_steps_between_them(self):
        self.assertEqual(
            ("step", 40, 0.5), after((0, {"step": 20}), (4, {"loss": 1.0}), (10, {"step": 40}))
        )
        self.assertEqual(("epoch", 3, 60.0), after((0, {"epoch": 1}), (120, {"epoch": 3})))

    def test_what_is_long_ago_does_not_count(self):
        slow = [(100 * n, {"step": n}) for n in range(10)]
        fast = [(1000 + n, {"step": 10 + n}) for n in range(200)]
        self.assertEqual(("step", 209, 1.0), after(*slow, *fast))

    def test_one_line_tells_no_time_and_a_training_that_begins_again_has_no_time_before_zero(self):
        self.assertEqual(("step", 5, None), after((0, {"step": 5})))
        self.assertEqual(("step", 1, None), after((0, {"step": 5}), (9, {"step": 1})))
        self.assertEqual(("step", 5, None), after((0, {"step": 5}), (9, {"step": 5})))
        self.assertIsNone(after((0, {"loss": 0.5, "lr": 1.0}), (1, {"step": None})))

    def test_the_finest_counter_is_taken(self):
        both = {"epoch": 2, "step": 10}
        self.assertEqual(("step", 10, None), after((0, {"epoch": 1}), (1, both), (9, {"epoch": 3})))

    def test_a_time_that_the_training_tells_goes_before_one_that_is_measured(self):
        for name, value, seconds in (
            ("step_time", 0.25, 0.25),
            ("train/iter_time_ms", 250, 0.25),
            ("time_per_step", 2, 2),
            ("sec_per_iter", 2, 2),
        ):
            told = {"step": 3, name: value}
            self.assertEqual(("step", 3, seconds), after((0, {"step": 1}), (9, told)), name)
        for name in (
            "total_step_time",
            "time",
            "steps_per_sec",
            "step_per_sec",
            "epoch_time",
            "step_loss",
        ):
            told = {"step": 3, name: 7}
            self.assertEqual(("step", 3, 4.5), after((0, {"step": 1}), (9, told)), name)

    def test_is_found_in_what_a_training_prints(self):
        training = metrics.TrainingMetrics()
        training.feed(b"step 100 | loss 2.5 | step_time: 0.125\n", 1000)
        self.assertEqual(
            {"name": "step", "value": 100, "secondsPerStep": 0.125}, training.progress.latest()
        )


if __name__ == "__main__":
    unittest.main()
