"""The part of the store below one key prefix, by the instance's role or by a presigned form
(docs/reference/formats.md, "Runs in the store").
"""

from __future__ import annotations

import base64
import builtins
import hashlib
import time
from email.utils import parsedate_to_datetime

from ..system.errors import Failure
from .endpoints import bucket_url, encode
from .http_pool import RETRY_PAUSE_S, Connections, is_absence
from .list_objects import find_object, holds_objects, list_objects
from .presigned import MAX_TRIES, form
from .signed_requests import (
    NOT_IMPLEMENTED,
    UNKNOWN_KEY,
    Service,
    Unreadable,
    is_denied,
    is_unreadable,
    may_pass,
    send,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, Optional, Tuple

    from ..system.documents import StoreAccess
    from .signed_requests import Answer

    Span = Tuple[Optional[int], Optional[int]]


MAX_OBJECT_BYTES = 16 * 1024 * 1024
# How many objects a list may hold.
MAX_LISTED = 1_000_000
PROBE = "probe"
UNSEEN = "neither read %s nor list it: it may or may not be there"


class Object:
    """An object as it was read: its bytes, its ETag, when it was written (ms) and how long ago that
    was (seconds), by S3's clock. `refused`: what S3 says of an object that it does not let be read;
    it has no bytes then.
    """

    def __init__(
        self, data: bytes, etag: str, *, modified: int, age: float, refused: str | None = None
    ) -> None:
        self.data, self.etag, self.modified, self.age = data, etag, modified, age
        self.refused = refused


def open_bucket(access: StoreAccess, connections: Connections | None = None) -> Bucket:
    """The Bucket of a plan's `store`. NO_ROLE, ACCESS_DENIED and KEY_REFUSED where nothing that
    `access` allows can write there.

    The role needs conditional writes, for the run's record: the probe is one. A server that lacks
    them (501) gets the form.
    """
    if access["access"] == "presigned":
        return Bucket(access, "presigned", connections)
    bucket = Bucket(access, "role", connections)
    try:
        bucket.put(PROBE, b"nx-ec2", condition={"If-None-Match": "*"})
        return bucket
    except Failure as failure:
        if failure.code == "CHANGED":
            # There is a probe already. S3 looks at permissions before it looks at conditions.
            return bucket
        # If no server answers, or it fails, the form would fail as well.
        answered = (
            400 <= failure.detail.get("status", 400) < 500
            or failure.detail.get("status") == NOT_IMPLEMENTED
        )
        unreachable = failure.code == "UPLOAD_FAILED" and not answered
        if access["access"] == "role" or access["post"] is None or unreachable:
            raise
    return Bucket(access, "presigned", connections)


def role_bucket(access: StoreAccess) -> Bucket:
    """The Bucket of a plan's `store` by the role alone, of which nothing is asked before."""
    return Bucket(access, "role")


class Bucket:
    """`way`: "role" or "presigned". Any thread may use it. Names are keys without the prefix."""

    def __init__(
        self, access: StoreAccess, way: str, connections: Connections | None = None
    ) -> None:
        self.access, self.way = access, way
        self.connections = connections or Connections()
        self.url = bucket_url(
            access["bucket"],
            access["region"],
            endpoint=access["endpoint"],
            path_style=access["pathStyle"],
        )
        self.service = (
            Service("s3", access["region"], connections=self.connections) if way == "role" else None
        )

    def renew(self, access: StoreAccess) -> None:
        """A new form takes the place of the one before."""
        self.access = access

    def put(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        condition: Mapping[str, str] | None = None,
    ) -> str | None:
        """Writes an object, which is there when this returns: S3 has checked its SHA-256. Its ETag,
        None by a form.

        `condition`: headers that say what must be there by now, with the role alone. CHANGED where
        that does not hold. EXPIRED: a new form, or new credentials, are needed. ACCESS_DENIED,
        KEY_REFUSED, UPLOAD_FAILED: `detail.status`, `detail.aws`.
        """
        if len(data) > MAX_OBJECT_BYTES:
            raise ValueError("an object of %d bytes" % len(data))
        digest = hashlib.sha256(data).hexdigest()
        answer = (
            self._put(
                name, data, content_type=content_type, digest=digest, condition=condition or {}
            )
            if self.service
            else self._post(name, data, content_type=content_type, digest=digest)
        )
        if condition and (answer.status == 412 or answer.code == "NoSuchKey"):
            raise Failure(
                "CHANGED",
                "%s has changed: %s" % (name, answer.words),
                status=answer.status,
                aws=answer.words,
            )
        if not 200 <= answer.status < 300:
            raise Failure(
                refusal(answer),
                "%s%s could not be written to the bucket %s: %s"
                % (self.access["prefix"], name, self.access["bucket"], answer.words),
                status=answer.status,
                aws=answer.words,
            )
        return answer.headers.get("ETag") if self.service else None

    def get(
        self, name: str, span: Span | None = None, limit: int = MAX_OBJECT_BYTES
    ) -> bytes | None:
        """An object's bytes, None where there is none: of (first, last), both included, last None
        for the end, or of (None, last bytes).

        What begins behind the end is empty. By the role alone: else NO_ROLE. FETCH_FAILED;
        ACCESS_DENIED where the role may not read it, or not know whether it exists; Unreadable.
        """
        answer = self._get(name, span=span, limit=limit)
        if answer.status == 416:
            return b""
        if answer.code == "NoSuchKey" or (is_denied(answer) and self._is_absent(name, answer)):
            return None
        self._check(name, answer)
        self._check_size(name, answer, limit)
        return bytes(answer.body)

    def read(self, name: str, limit: int = MAX_OBJECT_BYTES, cut: bool = False) -> Object | None:
        """An Object, None where there is none. One that S3 does not let be read has no bytes; with
        `cut`, neither is a larger one Unreadable, but cut off. ACCESS_DENIED where the role may
        neither read it, if it is there, nor list it. FETCH_FAILED.
        """
        answer = self._get(name, span=None, limit=limit)
        if answer.code == "NoSuchKey":
            return None
        if is_unreadable(answer):
            return self._look_up(name, answer)
        self._check(name, answer)
        if not cut:
            self._check_size(name, answer, limit)
        return from_headers(answer, bytes(answer.body[:limit]))

    def _is_absent(self, name: str, refused: Answer) -> bool:
        """Whether S3 denied a read because there is no such object: to a role that may not list, it
        answers 403 for that, too. ACCESS_DENIED where there is one, or that can't be known.
        """
        key = self.access["prefix"] + name
        if is_absence(refused.message):
            return True
        if "s3:GetObject" not in refused.message:
            try:
                found = find_object(self._role(), self.url, key=key, owner=self.access["owner"])
            except Failure as failure:
                if failure.code != "ACCESS_DENIED":
                    raise
                raise self._denied(UNSEEN, key, refused)
            if found is None:
                return True
        raise self._denied("not read %s", key, refused)

    def _denied(self, what: str, key: str, refused: Answer) -> Failure:
        return Failure(
            "ACCESS_DENIED",
            "the role may " + what % key,
            status=refused.status,
            aws=refused.words,
            fix="allow s3:GetObject on %s/%s*, and s3:ListBucket on %s for that prefix"
            % (self.access["bucket"], self.access["prefix"], self.access["bucket"]),
        )

    def _look_up(self, name: str, refused: Answer) -> Object | None:
        """The Object that S3 did not let be read; None if it is not there."""
        key, owner = self.access["prefix"] + name, self.access["owner"]
        try:
            found = find_object(self._role(), self.url, key=key, owner=owner)
        except Failure as failure:
            if failure.code != "ACCESS_DENIED":
                raise
            answer = self._role().ask("HEAD", self._url(name), headers=self._owner())
            if answer.status == 404:
                return None
            if answer.status == 200:
                return from_headers(answer, b"", refused.words)
            raise self._denied(UNSEEN, key, refused)
        if found is None:
            return None
        return Object(
            b"",
            found[0],
            modified=int(found[1] * 1000),
            age=max(0.0, found[2] - found[1]),
            refused=refused.words,
        )

    def _get(self, name: str, *, span: Span | None, limit: int) -> Answer:
        headers = self._owner()
        if span is not None:
            headers["Range"] = "bytes=%s-%s" % tuple("" if each is None else each for each in span)
        return self._role().ask("GET", self._url(name), headers=headers, limit=limit)

    def _check(self, name: str, answer: Answer) -> None:
        if answer.status not in (200, 206):
            kind = Unreadable if is_unreadable(answer) else Failure
            raise kind(
                "FETCH_FAILED",
                "%s could not be fetched: %s" % (name, answer.words),
                what=name,
                status=answer.status,
                aws=answer.words,
            )

    def _check_size(self, name: str, answer: Answer, limit: int) -> None:
        if len(answer.body) > limit:
            raise Unreadable(
                "LIMIT",
                "%s is larger than %d bytes" % (name, limit),
                limit=limit,
                value=len(answer.body),
            )

    def holds(self, prefix: str) -> bool:
        """Whether there is an object whose name begins so. By the role alone: else NO_ROLE.
        ACCESS_DENIED, FETCH_FAILED.
        """
        return holds_objects(
            self._role(),
            self.url,
            prefix=self.access["prefix"] + prefix,
            owner=self.access["owner"],
        )

    def list(self, prefix: str = "") -> builtins.list[tuple[str, int]]:
        """(name, size) of each object whose name begins so, sorted. By the role alone: else
        NO_ROLE.
        """
        start = self.access["prefix"]
        found: builtins.list[tuple[str, int]] = []
        for key, size, _ in list_objects(
            self._role(), self.url, prefix=start + prefix, owner=self.access["owner"]
        ):
            if len(found) == MAX_LISTED:
                raise Failure(
                    "LIMIT",
                    "%s%s holds more than %d objects" % (start, prefix, MAX_LISTED),
                    limit=MAX_LISTED,
                    value=MAX_LISTED + 1,
                )
            found.append((key[len(start) :], size))
        return found

    def _role(self) -> Service:
        if not self.service:
            raise Failure(
                "NO_ROLE",
                "a presigned form only writes: reading the bucket %s needs the instance's role"
                % self.access["bucket"],
            )
        return self.service

    def _url(self, name: str) -> str:
        return self.url + encode(self.access["prefix"] + name, "/")

    def _owner(self) -> dict[str, str]:
        return {"x-amz-expected-bucket-owner": self.access["owner"]} if self.access["owner"] else {}

    def _put(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str,
        digest: str,
        condition: Mapping[str, str],
    ) -> Answer:
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        headers = dict(
            self._owner(),
            **{"Content-Type": content_type, "x-amz-checksum-sha256": checksum},
            **condition,
        )
        if self.access["kms"]:
            headers["x-amz-server-side-encryption"] = "aws:kms"
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = self.access["kms"]
        return self._role().ask("PUT", self._url(name), headers=headers, data=data, digest=digest)

    def _post(self, name: str, data: bytes, *, content_type: str, digest: str) -> Answer:
        for attempt in range(MAX_TRIES):
            post = self.access["post"]
            assert post
            kind, head, tail = form(
                post, self.access["prefix"] + name, sha256=digest, content_type=content_type
            )
            answer = send(
                self.connections,
                "POST",
                post["url"],
                headers={"Content-Type": kind},
                data=head + data + tail,
                limit=0,
            )
            if not may_pass(answer) or attempt == MAX_TRIES - 1:
                return answer
            time.sleep(RETRY_PAUSE_S * 2**attempt)
        raise AssertionError("the last try returns")


def from_headers(answer: Answer, data: bytes, refused: str | None = None) -> Object:
    """An Object of the answer to a GET or HEAD."""
    modified, now = (
        parsedate_to_datetime(answer.headers[each]).timestamp()
        for each in ("Last-Modified", "Date")
    )
    return Object(
        data,
        answer.headers["ETag"],
        modified=int(modified * 1000),
        age=max(0.0, now - modified),
        refused=refused,
    )


def refusal(answer: Answer) -> str:
    """The code of a Failure for what S3 answered to a write."""
    if answer.code in ("ExpiredToken", "RequestExpired") or "expired" in answer.message.lower():
        return "EXPIRED"
    if "object lock" in answer.message.lower():
        return "OBJECT_LOCKED"
    if answer.code in UNKNOWN_KEY:
        return "KEY_REFUSED"
    return "ACCESS_DENIED" if answer.status == 403 else "UPLOAD_FAILED"
