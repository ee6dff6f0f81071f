"""Requests that the instance's role signs (Signature Version 4), sent again while the trouble may
pass.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
from email.utils import parsedate_to_datetime

from ..system.errors import Failure
from .credentials import instance_role
from .http_pool import RETRY_PAUSE_S, Broken, Connections
from .presigned import MAX_TRIES
from .sigv4 import sign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from email.message import Message
    from typing import Dict, Mapping, Union

    from .credentials import Role

    Headers = Union[Message, Dict[str, str]]


NONE = hashlib.sha256(b"").hexdigest()
# What says that another try may help, with a status that does not.
TRANSIENT = {
    "SlowDown",
    "RequestTimeout",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "IncompleteBody",
    "OperationAborted",
    "InternalError",
    "ServiceUnavailable",
    "ConditionalRequestConflict",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "InternalServerError",
}
# The server lacks what a request needs; another try gets the same answer.
NOT_IMPLEMENTED = 501
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
# The server does not know the access key, or has another secret for it: no permission helps.
UNKNOWN_KEY = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidToken",
}
SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture"}


class Clock:
    """Seconds that AWS's clock is ahead of ours, as far as its answers have told."""

    offset = 0.0

    @classmethod
    def learn(cls, date: str | None) -> bool:
        """Whether anything was learned."""
        if date is None:
            return False
        try:
            offset = parsedate_to_datetime(date).timestamp() - time.time()
        except (TypeError, ValueError):
            return False
        changed = abs(offset - cls.offset) > 60
        cls.offset = offset
        return changed


class Answer:
    """`status` 0: nobody answered, and the body says why. `code` and `message` are AWS's own, of
    what is no success.
    """

    def __init__(self, status: int, headers: Headers, body: bytes | bytearray) -> None:
        self.status, self.headers, self.body = status, headers, body
        self.code, self.message = ("", "") if 200 <= status < 300 else error_of(body, headers)

    @property
    def words(self) -> str:
        """What AWS says, verbatim."""
        return "%s: %s" % (self.code, self.message) if self.code else self.message


class Unreadable(Failure):
    """There is an object, and it is larger than it may be, or S3 does not let anybody with this
    role read it: an archived one, or one that is encrypted with a key of somebody else. Who may
    write to the bucket can make any object such: it counts as a damaged one.
    """


class Service:
    """One service of one region, spoken to as the role, by any thread."""

    def __init__(
        self,
        name: str,
        region: str,
        *,
        role: Role | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.name, self.region = name, region
        self.role = role or instance_role()
        self.connections = connections or Connections()

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
        limit: int = 1 << 20,
        digest: str | None = None,
    ) -> Answer:
        """The Answer; of a good one at most one byte more than the limit. NO_ROLE where there is
        none to sign with.

        `url` is encoded; `digest`: the SHA-256 of the data, in hex, where it is known.
        """
        digest = digest or (hashlib.sha256(data).hexdigest() if data else NONE)
        refused, learned = None, False
        attempt = 0
        while True:
            credentials = self.role.credentials(refused)
            signed = sign(
                credentials,
                service=self.name,
                region=self.region,
                method=method,
                url=url,
                headers=headers or {},
                digest=digest,
                now=time.time() + Clock.offset,
            )
            answer = send(
                self.connections, method, url, headers=signed, data=data or None, limit=limit
            )
            # The answer to a HEAD has no words.
            silent = (
                method == "HEAD"
                and answer.status in (400, 403)
                and "x-amz-bucket-region" not in answer.headers
            )
            if (answer.code in EXPIRED or (silent and answer.status == 400)) and refused is None:
                refused = credentials
                continue
            if (
                (is_skewed(answer) or silent)
                and not learned
                and Clock.learn(answer.headers.get("Date"))
            ):
                learned = True
                continue
            attempt += 1
            if attempt == MAX_TRIES or not may_pass(answer):
                return answer
            time.sleep(RETRY_PAUSE_S * 2 ** (attempt - 1))

    def call(self, target: str, values: object, url: str) -> Answer:
        """An operation of a service that speaks JSON 1.1; its Answer."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        return self.ask("POST", url, headers=headers, data=json.dumps(values).encode())


def send(
    connections: Connections,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    data: bytes | None,
    limit: int,
) -> Answer:
    """The Answer to one request, sent once."""
    try:
        response, body = connections.exchange(
            url,
            dict({"Accept-Encoding": "identity"}, **headers),
            limit=limit,
            method=method,
            data=data,
        )
        return Answer(response.status, response.headers, body)
    except (OSError, http.client.HTTPException, Broken) as error:
        return Answer(0, {}, (str(error) or type(error).__name__).encode())


def may_pass(answer: Answer) -> bool:
    return (
        answer.status == 0
        or (answer.status >= 500 and answer.status != NOT_IMPLEMENTED)
        or answer.status == 429
        or answer.code in TRANSIENT
    )


def is_unreadable(answer: Answer) -> bool:
    """Whether S3 answers a GET so because of the object itself, or a permission for it; and neither
    because of the request or its credentials, nor for now.
    """
    return (
        answer.status in (400, 403)
        and not may_pass(answer)
        and answer.code not in EXPIRED | UNKNOWN_KEY | SKEWED
    )


def is_denied(answer: Answer) -> bool:
    """Whether a permission of S3 is missing, and not one for the key of an object."""
    return answer.code == "AccessDenied" and "kms:" not in answer.message


def is_skewed(answer: Answer) -> bool:
    """Services that speak JSON call it a signature that is expired, or not yet current."""
    return answer.code in SKEWED or bool(
        re.search("Signature (expired|not yet current)", answer.message)
    )


def error_of(body: bytes | bytearray, headers: Headers) -> tuple[str, str]:
    """(code, message) of an error, in S3's XML or a JSON service's words; of anything else ("", its
    beginning).
    """
    text = bytes(body[:65536]).decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
            code = str(found.get("__type") or headers.get("x-amzn-ErrorType") or "")
            return code.split(":", maxsplit=1)[0].rpartition("#")[2], str(
                found.get("message") or found.get("Message") or ""
            )
        except ValueError:
            pass
    code, message = (
        re.search("<%s>(.*?)</%s>" % (tag, tag), text, re.S) for tag in ("Code", "Message")
    )
    if code:
        return unescape(code.group(1)), unescape(message.group(1)) if message else ""
    return "", text[:2000]


def unescape(text: str) -> str:
    import html

    return html.unescape(text)
