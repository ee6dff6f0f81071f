"""The credentials of the instance's role, as the metadata service hands them out: kept, and renewed
before they expire.
"""

from __future__ import annotations

import calendar
import json
import threading
import time

from ..system.errors import Failure
from .metadata import Absent, Metadata

# Seconds before their end from which on new ones are asked for, and between two times of asking.
RENEW_BEFORE_S = 300
RETRY_PAUSE_S = 5
FIX = (
    "give the instance a role (an instance profile), "
    "and allow access to its metadata service from where the agent runs"
)


class Credentials:
    """`expires`: seconds since the epoch."""

    def __init__(self, *, key: str, secret: str, token: str | None, expires: float) -> None:
        self.key, self.secret, self.token, self.expires = key, secret, token, expires


class Role:
    """May be asked by any thread."""

    kept: Credentials | None
    asked: float

    def __init__(self, metadata: Metadata | None = None) -> None:
        self.metadata = metadata or Metadata()
        self.lock = threading.Lock()
        self.kept, self.asked = None, 0.0

    def name(self) -> str:
        """The role's name; NO_ROLE where the instance has none."""
        try:
            names = self.metadata.get("meta-data/iam/security-credentials/").split()
        except Absent:
            names = []
        except Failure as failure:
            raise Failure("NO_ROLE", failure.message, fix=FIX, **failure.detail)
        if not names:
            raise Failure("NO_ROLE", "the instance has no role", fix=FIX)
        return names[0]

    def credentials(self, refused: Credentials | None = None) -> Credentials:
        """Those in force; others than `refused`, which AWS calls expired, if there are any. NO_ROLE
        where there are none.
        """
        with self.lock:
            kept = self.kept
            due = kept is None or kept is refused or time.time() > kept.expires - RENEW_BEFORE_S
            if kept is None or (
                due and time.monotonic() > self.asked + (0 if kept is refused else RETRY_PAUSE_S)
            ):
                try:
                    kept = self.kept = self._ask()
                except Failure:
                    # Those that still hold are better than none.
                    if kept is None or kept is refused or time.time() > kept.expires:
                        self.kept = None
                        raise
                self.asked = time.monotonic()
            return kept

    def _ask(self) -> Credentials:
        name = self.name()
        try:
            found = json.loads(self.metadata.get("meta-data/iam/security-credentials/" + name))
        except Absent:
            raise Failure("NO_ROLE", "the instance's role %s has no credentials" % name, fix=FIX)
        except ValueError:
            raise Failure(
                "NO_ROLE",
                "the metadata service's answer for the role %s is not JSON" % name,
                fix=FIX,
            )
        except Failure as failure:
            raise Failure("NO_ROLE", failure.message, fix=FIX, **failure.detail)
        if found.get("Code", "Success") != "Success":
            aws = "%s: %s" % (found["Code"], found.get("Message", ""))
            raise Failure(
                "NO_ROLE",
                "the instance can't get the credentials of its role %s: %s" % (name, aws),
                aws=aws,
                fix=FIX,
            )
        expires = calendar.timegm(time.strptime(found["Expiration"][:19], "%Y-%m-%dT%H:%M:%S"))
        return Credentials(
            key=found["AccessKeyId"],
            secret=found["SecretAccessKey"],
            token=found["Token"],
            expires=expires,
        )


_shared: list[Role] = []


def instance_role() -> Role:
    """The instance's role: one for the process, so that its credentials are asked for once."""
    if not _shared:
        _shared.append(Role())
    return _shared[0]
