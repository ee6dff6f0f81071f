"""Times of day, where the clock is set between two of them."""

import os
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.system import boot_clock, wall_clock


class StartTest(unittest.TestCase):
    def began(self, elapsed_s, set_forward_s):
        """When it says that something at 1,000,000 ms began, and its duration."""
        with mock.patch("time.time", return_value=1000.0) as wall, mock.patch.object(
            boot_clock, "clock", return_value=50.0
        ) as clock:
            start = wall_clock.Start()
            wall.return_value += elapsed_s + set_forward_s
            clock.return_value += elapsed_s
            end = wall_clock.now_ms()
            return start.by(end), end - start.by(end)

    def test_says_when_it_was(self):
        self.assertEqual(self.began(25.0, 0.0), (1_000_000, 25_000))
        self.assertEqual(self.began(25.0, 0.5), (1_000_000, 25_500))

    def test_the_duration_is_right_where_the_clock_was_set(self):
        self.assertEqual(self.began(25.0, 3600.0), (4_600_000, 25_000))
        self.assertEqual(self.began(25.0, -600.0), (400_000, 25_000))


if __name__ == "__main__":
    unittest.main()
