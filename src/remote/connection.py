"""Reading presigned URLs in parts and in parallel: one connection a thread, kept open, through the proxy if there is one."""
import base64
import http.client
import threading
import time
import urllib.parse
import urllib.request

from .failure import Failure
from .fetch import TRIES

TIMEOUT = 60
REDIRECTS = 3
# Seconds before the second try; twice as many before each further one.
PAUSE = 0.5
THREADS = 4


class Broken(Exception):
    """The answer is of no use, and asking again may help."""


class Answer:
    def __init__(self, status, body, whole):
        self.status, self.body, self.whole = status, body, whole


class Connections:
    """`get` may be called by any thread: a connection is one thread's until its answer is read, and then anybody's."""

    def __init__(self):
        self.idle = []
        self.proxies = urllib.request.getproxies()
        self.context = None

    def get(self, what, url, limit, span=None, **detail):
        """The answer of a GET: of (first, last), both included, or of (None, last bytes), if a span is given.

        `whole` tells whether the body is the whole object: a server may ignore what part is asked for.
        A body longer than `limit`, and any status but 200 and 206, are answers too; FETCH_FAILED is what goes on failing."""
        for attempt in range(TRIES):
            status, aws = 0, ""
            try:
                answer = self._ask(url, limit, span)
                if answer.status < 500 and answer.status != 429:
                    return answer
                status, aws = answer.status, bytes(answer.body[:2000]).decode("utf-8", "replace")
                reason = "HTTP %d" % status
            except (OSError, http.client.HTTPException, Broken) as error:
                reason = str(error) or type(error).__name__
            if attempt < TRIES - 1:
                time.sleep(PAUSE * 2 ** attempt)
        raise Failure("FETCH_FAILED", "the %s could not be fetched: %s" % (what, reason), what=what, status=status, aws=aws, **detail)

    def close(self):
        while self.idle:
            self.idle.pop()[1].close()

    def _ask(self, url, limit, span):
        headers = {"Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = "bytes=%s-%d" % ("" if span[0] is None else span[0], span[1])
        for _ in range(REDIRECTS + 1):
            response, body = self.exchange(url, headers, limit)
            location = response.getheader("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                break
            url = urllib.parse.urljoin(url, location)
        return Answer(response.status, body, response.status == 200)

    def exchange(self, url, headers, limit, method="GET", data=None):
        """(response, body) of one request, which may be sent twice; of a good answer at most one byte more than the limit."""
        kept, response = self._send(urllib.parse.urlsplit(url), headers, method, data)
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
                kept[1].close()

    def _send(self, parts, headers, method, data):
        """((place, connection, what is put before a path, headers for the proxy), response)"""
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        place = parts.scheme, parts.netloc
        while True:
            kept = self._idle(place)
            fresh = kept is None
            if fresh:
                kept = (place,) + self._connect(parts)
            _, connection, prefix, more = kept
            try:
                connection.request(method, prefix + target, data, dict(headers, **more))
                return kept, connection.getresponse()
            except BaseException as error:
                connection.close()
                # One that was kept may have been closed by the other side meanwhile.
                if fresh or not isinstance(error, (OSError, http.client.HTTPException)):
                    raise

    def _idle(self, place):
        for kept in list(self.idle):
            if kept[0] == place:
                try:
                    self.idle.remove(kept)
                    return kept
                except ValueError:
                    # Another thread was quicker.
                    continue
        return None

    def _connect(self, parts):
        """(connection, what is put before a request's path, headers for the proxy)"""
        secure = parts.scheme == "https"
        proxy = self.proxies.get(parts.scheme) or self.proxies.get("all")
        if not proxy or urllib.request.proxy_bypass(parts.netloc):
            return self._open(secure, parts.hostname, parts.port), "", {}
        through = urllib.parse.urlsplit(proxy if "://" in proxy else "http://" + proxy)
        headers = {}
        if through.username is not None:
            login = "%s:%s" % (urllib.parse.unquote(through.username), urllib.parse.unquote(through.password or ""))
            headers["Proxy-Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        connection = self._open(secure, through.hostname, through.port or 80)
        if secure:
            connection.set_tunnel(parts.hostname, parts.port or 443, headers)
            return connection, "", {}
        return connection, "http://" + parts.netloc, headers

    def _open(self, secure, host, port):
        if not secure:
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        import ssl

        self.context = self.context or ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=self.context)


def is_absent(answer):
    """S3 says 403 of what is not there to whoever may not list the bucket, and of what it is asked for too late."""
    return answer.status == 404 or (answer.status == 403 and b"xpired" not in answer.body)


def read(response, limit):
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


def in_parallel(items, work, threads=THREADS):
    """Calls `work` on each item, several at once, until it returns False, and raises the first failure."""
    items = iter(items)
    lock = threading.Lock()
    failures = []
    stopped = threading.Event()

    def run():
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
