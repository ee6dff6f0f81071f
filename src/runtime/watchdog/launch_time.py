"""EC2's clock: when the instance was launched or started, and what time it is. The instance's own
clock may be wrong, and its uptime starts again at a reboot.
"""

from __future__ import annotations

import calendar
import json
import os
import time
import urllib.request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

TIMEOUT_S = 2
# Between two tries.
RETRY_S = 30.0


def ask() -> tuple[float, float]:
    """(now, the launch or last start of the instance), seconds since the epoch, by the metadata
    service. A reboot does not change the second one.
    """
    endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(path: str, header: str, *, method: str = "GET") -> tuple[str, str]:
        url = "%s/latest/%s" % (endpoint, path)
        request = urllib.request.Request(url, method=method)
        request.add_header(*("X-aws-ec2-metadata-token" + header).split())
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return answer.read(1 << 16).decode(), answer.headers["Date"]

    token, _ = get("api/token", "-ttl-seconds 60", method="PUT")
    document, date = get("dynamic/instance-identity/document", " " + token)
    launched = json.loads(document)["pendingTime"][:19]
    return parse(date, "%a, %d %b %Y %H:%M:%S GMT"), parse(launched, "%Y-%m-%dT%H:%M:%S")


def parse(text: str, how: str) -> float:
    return calendar.timegm(time.strptime(text, how))


class LaunchTime:
    """`clock` counts seconds from the boot on. Until EC2 has answered, the launch counts as the
    boot, and the time is that of `wall`.
    """

    ahead: float | None

    def __init__(
        self,
        ask: Callable[[], tuple[float, float]],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.ask, self.clock, self.wall = ask, clock, wall
        # What the clock lacks to the time since the launch, and to EC2's time; None: not known.
        self.before, self.ahead = 0.0, None
        self.due = 0.0

    def learn(self) -> bool:
        """Asks EC2 until it has answered. Returns whether it did now."""
        if self.ahead is not None or self.clock() < self.due:
            return False
        self.due = self.clock() + RETRY_S
        try:
            now, launched = self.ask()
        except Exception:
            return False
        self.ahead = now - self.clock()
        self.before = max(0.0, self.ahead - launched)
        return True

    def age(self) -> float:
        """Seconds since the launch or the last start."""
        return self.clock() + self.before

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.wall() if self.ahead is None else self.clock() + self.ahead
