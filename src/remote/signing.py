"""Requests that the instance's role signs (Signature Version 4), sent again while the trouble may pass."""
import hashlib
import http.client
import json
import re
import time
from email.utils import parsedate_to_datetime

from .connection import PAUSE, Broken, Connections
from .credentials import instance_role
from .fetch import TRIES
from .sigv4 import sign

NONE = hashlib.sha256(b"").hexdigest()
# What says that another try may help, with a status that does not.
TRANSIENT = {
    "SlowDown", "RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "OperationAborted", "InternalError", "ServiceUnavailable",
    "ConditionalRequestConflict",
    "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "InternalServerError",
}
# The server lacks what a request needs; another try gets the same answer.
NOT_IMPLEMENTED = 501
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
# The server does not know the access key, or has another secret for it: no permission helps.
UNKNOWN_KEY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidToken"}
SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture"}


class Clock:
    """Seconds that AWS's clock is ahead of ours, as far as its answers have told."""

    offset = 0.0

    @classmethod
    def learn(cls, date):
        """Whether anything was learned."""
        try:
            offset = parsedate_to_datetime(date).timestamp() - time.time()
        except (TypeError, ValueError):
            return False
        changed = abs(offset - cls.offset) > 60
        cls.offset = offset
        return changed


class Answer:
    """`status` 0: nobody answered, and the body says why. `code` and `message` are AWS's own, of what is no success."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.code, self.message = ("", "") if 200 <= status < 300 else error_of(body, headers)

    @property
    def words(self):
        """What AWS says, verbatim."""
        return "%s: %s" % (self.code, self.message) if self.code else self.message


class Service:
    """One service of one region, spoken to as the role, by any thread."""

    def __init__(self, name, region, role=None, connections=None):
        self.name, self.region = name, region
        self.role = role or instance_role()
        self.connections = connections or Connections()

    def ask(self, method, url, headers=None, data=b"", limit=1 << 20, digest=None):
        """The Answer; of a good one at most one byte more than the limit. NO_ROLE where there is none to sign with.

        `url` is encoded; `digest`: the SHA-256 of the data, in hex, where it is known."""
        digest = digest or (hashlib.sha256(data).hexdigest() if data else NONE)
        refused, learned = None, False
        attempt = 0
        while True:
            credentials = self.role.credentials(refused)
            signed = sign(credentials, self.name, self.region, method, url, headers or {}, digest, time.time() + Clock.offset)
            answer = send(self.connections, method, url, signed, data or None, limit)
            # The answer to a HEAD has no words.
            silent = method == "HEAD" and answer.status in (400, 403) and "x-amz-bucket-region" not in answer.headers
            if (answer.code in EXPIRED or (silent and answer.status == 400)) and refused is None:
                refused = credentials
                continue
            if (is_skewed(answer) or silent) and not learned and Clock.learn(answer.headers.get("Date")):
                learned = True
                continue
            attempt += 1
            if attempt == TRIES or not may_pass(answer):
                return answer
            time.sleep(PAUSE * 2 ** (attempt - 1))

    def call(self, target, values, url):
        """An operation of a service that speaks JSON 1.1; its Answer."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        return self.ask("POST", url, headers, json.dumps(values).encode())


def send(connections, method, url, headers, data, limit):
    """The Answer to one request, sent once."""
    try:
        response, body = connections.exchange(url, dict({"Accept-Encoding": "identity"}, **headers), limit, method, data)
        return Answer(response.status, response.headers, body)
    except (OSError, http.client.HTTPException, Broken) as error:
        return Answer(0, {}, (str(error) or type(error).__name__).encode())


def may_pass(answer):
    return answer.status == 0 or (answer.status >= 500 and answer.status != NOT_IMPLEMENTED) or answer.status == 429 or answer.code in TRANSIENT


def is_skewed(answer):
    """Services that speak JSON call it a signature that is expired, or not yet current."""
    return answer.code in SKEWED or bool(re.search("Signature (expired|not yet current)", answer.message))


def error_of(body, headers):
    """(code, message) of an error, in S3's XML or a JSON service's words; of anything else ("", its beginning)."""
    text = bytes(body[:65536]).decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
            code = str(found.get("__type") or headers.get("x-amzn-ErrorType") or "")
            return code.split(":")[0].rpartition("#")[2], str(found.get("message") or found.get("Message") or "")
        except ValueError:
            pass
    code, message = (re.search("<%s>(.*?)</%s>" % (tag, tag), text, re.S) for tag in ("Code", "Message"))
    if code:
        return unescape(code.group(1)), unescape(message.group(1)) if message else ""
    return "", text[:2000]


def unescape(text):
    import html

    return html.unescape(text)
