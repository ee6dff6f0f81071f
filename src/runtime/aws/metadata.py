"""The instance's metadata service (IMDSv2): what the machine knows of itself, behind a token."""

from __future__ import annotations

import http.client
import os
import threading
import time
import urllib.error
import urllib.request

from ..system.errors import Failure

DEFAULT = "http://169.254.169.254"
# Seconds that the answer to each try may take: a busy machine takes longer than an idle one.
TIMEOUTS_S = (1, 2, 4)
# Seconds that a token is asked for; it is renewed a minute before.
TOKEN_LIFETIME_S = 21600


class Absent(Exception):
    """The service says that there is no such thing."""


class Metadata:
    """Any thread may ask it. The endpoint is the SDKs' own variable, and never behind a proxy."""

    token: str
    until: float

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = (
            endpoint or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or DEFAULT
        ).rstrip("/")
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.lock = threading.Lock()
        self.token, self.until = "", 0.0

    def get(self, path: str) -> str:
        """The text of `/latest/<path>`. Absent (404); NO_METADATA where the service does not answer
        or is switched off.
        """
        for fresh in (False, True):
            try:
                return self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token(fresh)})
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    raise Absent(path)
                # 401: the token is none any more, since the instance was stopped and started.
                if error.code != 401 or fresh:
                    raise Failure(
                        "NO_METADATA",
                        "the instance's metadata service refused %s: HTTP %d" % (path, error.code),
                        status=error.code,
                    )
        raise AssertionError("the last try returns or raises")

    def _token(self, fresh: bool) -> str:
        with self.lock:
            if fresh or time.monotonic() > self.until:
                try:
                    self.token = self._ask(
                        "PUT",
                        "api/token",
                        {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFETIME_S)},
                    )
                except urllib.error.HTTPError as error:
                    raise Failure(
                        "NO_METADATA",
                        "the instance's metadata service returned no token: HTTP %d" % error.code,
                        status=error.code,
                    )
                self.until = time.monotonic() + TOKEN_LIFETIME_S - 60
            return self.token

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> str:
        for attempt, timeout in enumerate(TIMEOUTS_S, 1):
            try:
                request = urllib.request.Request(
                    "%s/latest/%s" % (self.endpoint, path), method=method, headers=headers
                )
                with self.opener.open(request, timeout=timeout) as answer:
                    return answer.read(1 << 20).decode("utf-8", "replace")
            except urllib.error.HTTPError as error:
                error.close()
                if error.code < 500 or attempt == len(TIMEOUTS_S):
                    raise
            except (OSError, http.client.HTTPException, ValueError) as error:
                if attempt == len(TIMEOUTS_S):
                    raise Failure(
                        "NO_METADATA",
                        "the instance's metadata service does not answer at %s: %s"
                        % (self.endpoint, error),
                        status=0,
                    )
        raise AssertionError("the last try returns or raises")
