"""The watcher: takes a tree's edits from the store as they come, each authenticated and numbered
(docs/reference/formats.md, "watch").
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import http.client
import json
import signal
import time
import traceback
import zlib

from ..aws import presigned
from ..aws.http_pool import Broken, Connections
from ..system.bounded import inflate, parse
from ..system.errors import Failure
from ..system.reply import reply_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ..system.documents import Edit, PresignedPost, SyncSpec, WatchSpec


# Between two looks for an edit: while the last one is recent, later, and after a failure.
POLL_S, IDLE_POLL_S, RETRY_S = 0.1, 0.4, 1.0
RECENT_S = 60
# The largest edit, as it is stored and inflated.
MAX_EDIT_BYTES = 64 * 1024 * 1024
MAX_TEXT_BYTES = 256 * 1024 * 1024
# How long S3 may be silent: a dead connection must not delay an edit.
READ_TIMEOUT_S = 10


class Ended(Exception):
    """The end of the watcher; `why` is what its client is told, None if that asked for it."""

    def __init__(self, why: str | None, message: str = "") -> None:
        super().__init__(message)
        self.why, self.message = why, message


class StopSignals:
    """Requests to stop this process, sent by signals: honored between edits, never in the middle
    of one.
    """

    why: str | None

    def __init__(self) -> None:
        self.why = None
        signal.signal(signal.SIGUSR1, lambda number, frame: self.request("superseded"))

    def request(self, why: str) -> None:
        self.why = self.why or why

    def detached(self) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: self.request("terminated"))
        for each in (signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)

    def raise_if_requested(self) -> None:
        if self.why:
            raise Ended(self.why)


class Polled(Connections):
    def _open(self, secure: bool, host: str | None, port: int | None) -> http.client.HTTPConnection:
        connection = super()._open(secure, host, port)
        connection.timeout = READ_TIMEOUT_S
        return connection


class Watcher:
    """`next`: the number of the edit that is looked for. `refused`: the ETag of what stood there
    and is no edit of ours.
    """

    post: PresignedPost

    urls: dict[int, str]
    refused: str | None
    etag: str | None

    def __init__(
        self,
        root: str,
        tree: str,
        *,
        user: str | None,
        spec: WatchSpec,
        key: bytes,
        stop_signals: StopSignals,
    ) -> None:
        self.root, self.tree, self.user = root, tree, user
        self.key, self.stop_signals = key, stop_signals
        self.watch_id, self.prefix = spec["watchId"].encode(), spec["prefix"]
        self.lease = spec["lease"]
        self.urls = dict(enumerate(spec["urls"], 1))
        self.post = spec["post"]
        self.next, self.refused, self.etag = 1, None, None
        self.connections = Polled()
        self.troubled = False
        self.heard = time.monotonic()

    def run(self) -> None:
        self.heard = time.monotonic()
        try:
            while True:
                self.stop_signals.raise_if_requested()
                if time.monotonic() - self.heard > self.lease:
                    raise Ended("lease", "nothing was heard for %d s" % self.lease)
                if self.step():
                    # What an edit had in hand is given back now, when nobody waits for it.
                    gc.collect()
                else:
                    time.sleep(self.pause())
        except Ended as end:
            self.send_end(end.why, end.message)
        except Exception:
            self.send_end("failed", traceback.format_exc()[-4000:])

    def step(self) -> bool:
        """Whether there was an edit."""
        body = self.poll()
        edit = None if body is None else self.open(body)
        if edit is not None:
            self.take(edit)
        return edit is not None

    def pause(self) -> float:
        if self.troubled:
            return RETRY_S
        return POLL_S if time.monotonic() - self.heard < RECENT_S else IDLE_POLL_S

    # Edits.

    def poll(self) -> bytes | None:
        """The bytes under the next edit's name, whoever wrote them; None while there are none that
        are new.
        """
        url = self.urls.get(self.next)
        if url is None:
            return None
        headers = {"Accept-Encoding": "identity"}
        if self.refused:
            headers["If-None-Match"] = self.refused
        status, body, self.etag = self.ask(url, headers, limit=MAX_EDIT_BYTES)
        self.troubled = status not in (200, 304, 403, 404)
        if status == 403 and b"xpired" in body:
            raise Ended("expired", "the last URL that was sent has expired")
        return body if status == 200 else None

    def ask(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        limit: int,
        method: str = "GET",
        data: bytes | None = None,
    ) -> tuple[int, bytes, str | None]:
        """(status, body, ETag); status 0: no answer."""
        try:
            response, body = self.connections.exchange(
                url, headers, limit=limit, method=method, data=data
            )
            return response.status, bytes(body), response.getheader("ETag")
        except (OSError, http.client.HTTPException, Broken):
            return 0, b"", None

    def open(self, body: bytes) -> Edit | None:
        """The edit, if it is the one that is expected, from whom it is expected."""
        if len(body) <= MAX_EDIT_BYTES and hmac.compare_digest(
            body[:32], self.sign("edit", self.next, body[32:])
        ):
            try:
                edit: Edit | None = parse(inflate(body[32:], MAX_TEXT_BYTES))
            except ValueError:
                edit = None
            if edit and edit.get("v") == 1 and edit.get("n") == self.next:
                return edit
        # As if it were not there: not even read again.
        self.refused = self.etag
        return None

    def sign(self, what: str, number: int, body: bytes) -> bytes:
        code = hmac.new(
            self.key, b"%s %s %d\n" % (what.encode(), self.watch_id, number), hashlib.sha256
        )
        code.update(body)
        return code.digest()

    def take(self, edit: Edit) -> None:
        number = self.next
        self.heard = time.monotonic()
        self.urls = {int(name): url for name, url in edit["urls"].items() if int(name) > number}
        self.post = edit["post"] or self.post
        reply = {"v": 1, "ok": True} if edit["sync"] is None else self.apply(edit["sync"])
        self.acknowledge(number, reply)
        self.next, self.refused = number + 1, None
        if edit["end"]:
            raise Ended(None)

    def apply(self, spec: SyncSpec) -> dict[str, Any]:
        """A sync as any other, and as any other it may fail: the next edit mends it."""
        from .synchronizer import synchronize

        try:
            return reply_of(
                synchronize, {"tree": self.tree, "user": self.user, "sync": spec}, self.root
            )
        except Exception:
            failure = Failure(
                "INTERNAL", "the runtime failed", trace=traceback.format_exc()[-4000:]
            )
            return {"v": 1, "ok": False, "error": failure.data()}

    # Words for the client.

    def acknowledge(self, number: int, reply: Mapping[str, Any]) -> None:
        """Goes on until the store has it, for as long as the lease lasts."""
        wait = 0.1
        while True:
            status, body = self.write(number, reply)
            if 200 <= status < 300:
                return
            if status == 403 and b"xpired" in body:
                raise Ended("expired", "the last form that was sent has expired")
            self.stop_signals.raise_if_requested()
            if time.monotonic() - self.heard > self.lease:
                raise Ended("lease", "the store took no acknowledgement")
            time.sleep(wait)
            wait = min(RETRY_S, wait * 2)

    def send_end(self, why: str | None, message: str) -> None:
        """Told in place of the next acknowledgement, so that the client need not wait for one.
        Nobody may hear it.
        """
        if why is not None:
            failure = Failure(
                "WATCH_ENDED", "the watcher has ended: %s" % (message or why), why=why
            )
            self.write(self.next, {"v": 1, "ok": False, "error": failure.data()})

    def write(self, number: int, reply: Mapping[str, Any]) -> tuple[int, bytes]:
        """(status, what S3 says)"""
        data = zlib.compress(json.dumps(dict(reply, n=number)).encode())
        data = self.sign("ack", number, data) + data
        content_type, head, tail = presigned.form(
            self.post, "%sack-%d" % (self.prefix, number), sha256=hashlib.sha256(data).hexdigest()
        )
        body = head + data + tail
        status, answer, _ = self.ask(
            self.post["url"],
            {"Content-Type": content_type},
            limit=64 * 1024,
            method="POST",
            data=body,
        )
        return status, answer
