"""Reading presigned URLs in parts and in parallel: one connection a thread, kept open, through the
proxy if there is one.
"""

from __future__ import annotations

import base64
import http.client
import threading
import time
import urllib.parse
import urllib.request

from ..system.errors import Failure
from .presigned import MAX_TRIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any, Callable, Iterable, Mapping, Optional, Tuple, TypeVar

    T = TypeVar("T")
    Span = Tuple[Optional[int], int]
    Place = Tuple[str, str]


TIMEOUT_S = 60
MAX_REDIRECTS = 3
# The pause before the second try; it doubles before each further one.
RETRY_PAUSE_S = 0.5
# How often what may be damaged on the way is read, and the pause before the second time; it doubles
# before the third.
MAX_READS, REREAD_PAUSE_S = 3, 0.25
THREADS = 4


class Broken(Exception):
    """The answer is of no use, and asking again may help."""


class Answer:
    def __init__(self, status: int, body: bytearray, whole: bool) -> None:
        self.status, self.body, self.whole = status, body, whole


class Kept:
    """A connection: whose, what is put before a request's path, and headers for the proxy."""

    def __init__(
        self,
        place: Place,
        http: http.client.HTTPConnection,
        *,
        prefix: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.place, self.http, self.prefix = place, http, prefix
        self.headers = headers or {}


class Connections:
    """`get` may be called by any thread: a connection is one thread's until its answer is read, and
    then anybody's.
    """

    idle: list[Kept]
    context: ssl.SSLContext | None

    def __init__(self) -> None:
        self.idle = []
        self.proxies = urllib.request.getproxies()
        self.context = None

    def get(
        self, what: str, url: str, *, limit: int, span: Span | None = None, **detail: Any
    ) -> Answer:
        """The answer of a GET: of (first, last), both included, or of (None, last bytes), if a span
        is given.

        `whole` tells whether the body is the whole object: a server may ignore what part is asked
        for. A body longer than `limit`, and any status but 200 and 206, are answers too;
        FETCH_FAILED where it keeps failing.
        """
        status, aws, reason = 0, "", ""
        for attempt in range(MAX_TRIES):
            status, aws = 0, ""
            try:
                answer = self._ask(url, limit, span)
                if answer.status < 500 and answer.status != 429:
                    return answer
                status, aws = answer.status, bytes(answer.body[:2000]).decode("utf-8", "replace")
                reason = "HTTP %d" % status
            except (OSError, http.client.HTTPException, Broken) as error:
                reason = str(error) or type(error).__name__
            if attempt < MAX_TRIES - 1:
                time.sleep(RETRY_PAUSE_S * 2**attempt)
        raise Failure(
            "FETCH_FAILED",
            "the %s could not be fetched: %s" % (what, reason),
            what=what,
            status=status,
            aws=aws,
            **detail,
        )

    def close(self) -> None:
        while self.idle:
            self.idle.pop().http.close()

    def _ask(self, url: str, limit: int, span: Span | None) -> Answer:
        headers = {"Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = "bytes=%s-%d" % ("" if span[0] is None else span[0], span[1])
        response, body = self.exchange(url, headers, limit=limit)
        for _ in range(MAX_REDIRECTS):
            location = response.getheader("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                break
            url = urllib.parse.urljoin(url, location)
            response, body = self.exchange(url, headers, limit=limit)
        return Answer(response.status, body, response.status == 200)

    def exchange(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        limit: int,
        method: str = "GET",
        data: bytes | None = None,
    ) -> tuple[http.client.HTTPResponse, bytearray]:
        """(response, body) of one request, which may be sent twice; of a good answer at most one
        byte more than the limit.
        """
        kept, response = self._send(
            urllib.parse.urlsplit(url), headers=headers, method=method, data=data
        )
        try:
            body = read(response, limit if response.status in (200, 206) else 64 * 1024)
            if response.length == 0:
                # One without a body (204, 304) is over, too.
                response.close()
            if not response.will_close and response.isclosed():
                self.idle.append(kept)
                kept = None
            return response, body
        finally:
            if kept:
                kept.http.close()

    def _send(
        self,
        parts: urllib.parse.SplitResult,
        *,
        headers: Mapping[str, str],
        method: str,
        data: bytes | None,
    ) -> tuple[Kept, http.client.HTTPResponse]:
        """The connection that was used, and the response."""
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        place = parts.scheme, parts.netloc
        while True:
            kept = self._idle(place)
            fresh = kept is None
            if kept is None:
                kept = self._connect(parts)
            try:
                kept.http.request(method, kept.prefix + target, data, dict(headers, **kept.headers))
                return kept, kept.http.getresponse()
            except BaseException as error:
                kept.http.close()
                # One that was kept may have been closed by the other side meanwhile.
                if fresh or not isinstance(error, (OSError, http.client.HTTPException)):
                    raise

    def _idle(self, place: Place) -> Kept | None:
        for kept in list(self.idle):
            if kept.place == place:
                try:
                    self.idle.remove(kept)
                    return kept
                except ValueError:
                    # Another thread was quicker.
                    continue
        return None

    def _connect(self, parts: urllib.parse.SplitResult) -> Kept:
        place = parts.scheme, parts.netloc
        secure = parts.scheme == "https"
        proxy = self.proxies.get(parts.scheme) or self.proxies.get("all")
        if not proxy or urllib.request.proxy_bypass(parts.netloc):
            return Kept(place, self._open(secure, parts.hostname, parts.port))
        through = urllib.parse.urlsplit(proxy if "://" in proxy else "http://" + proxy)
        headers: dict[str, str] = {}
        if through.username is not None:
            login = "%s:%s" % (
                urllib.parse.unquote(through.username),
                urllib.parse.unquote(through.password or ""),
            )
            headers["Proxy-Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        connection = self._open(secure, through.hostname, through.port or 80)
        if secure:
            connection.set_tunnel(parts.hostname or "", parts.port or 443, headers)
            return Kept(place, connection)
        return Kept(place, connection, prefix="http://" + parts.netloc, headers=headers)

    def _open(self, secure: bool, host: str | None, port: int | None) -> http.client.HTTPConnection:
        host = host or ""
        if not secure:
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        import ssl

        self.context = self.context or ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=self.context)


def read_again(work: Callable[[], T], *, damage: tuple[str, ...]) -> T:
    """What `work` returns. It is called up to MAX_READS times while it fails with one of these
    codes: a proxy or a disk may have damaged what S3 holds right.
    """
    for attempt in range(MAX_READS - 1):
        try:
            return work()
        except Failure as failure:
            if failure.code not in damage:
                raise
        time.sleep(REREAD_PAUSE_S * 2**attempt)
    return work()


def is_absence(words: str) -> bool:
    """Whether S3 denies a read because there is no such object: then it names the permission to
    list as the one that is missing.
    """
    return "perform: s3:ListBucket" in words


def may_be_absent(answer: Answer) -> bool:
    """Whether there may be no such object: S3 answers 403 for that to whoever may not list the
    bucket, and for what it is asked for too late.
    """
    if answer.status != 403:
        return answer.status == 404
    return b"xpired" not in answer.body and b"s3:GetObject" not in answer.body


def read(response: http.client.HTTPResponse, limit: int) -> bytearray:
    """The body, at most one byte more than the limit, in one buffer. A body cut short is Broken."""
    length = response.length
    size = limit + 1 if length is None else min(length, limit + 1)
    buffer = bytearray(size)
    view, at = memoryview(buffer), 0
    while at < size:
        count = response.readinto(view[at:])
        if not count:
            break
        at += count
    view.release()
    if length is not None and at < size:
        raise Broken("the answer was cut short")
    del buffer[at:]
    return buffer


def in_parallel(items: Iterable[T], work: Callable[[T], object], threads: int = THREADS) -> None:
    """Calls `work` on each item, several at once, until it returns False, and raises the first
    failure.
    """
    items = iter(items)
    lock = threading.Lock()
    failures: list[BaseException] = []
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            with lock:
                item = next(items, None)
            if item is None:
                return
            try:
                if work(item) is False:
                    stopped.set()
            except BaseException as failure:
                failures.append(failure)
                stopped.set()

    workers = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
