"""The plan of a command that was sent before it: docs/reference/formats.md, "A plan that follows
its command". Until it has come, and is verified, nothing on the instance is changed.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock, start_new_thread

from ..system import bounded, decrypt, plain_json
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any, Callable

PAUSE_S = 0.02
# What a name that does not resolve, or an endpoint that does not answer, may take longer.
GRACE_S = 0.5
MAX_SEALED_BYTES = 1024 * 1024
MAX_PLAN_BYTES = 16 * 1024 * 1024


def receive(
    spec: dict[str, Any], runtime: str, meanwhile: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """The plan; `meanwhile` is called while it is on its way. Failure: NO_PLAN, if none has come in
    time, or not the one of this command.
    """
    plan = opened(wait_beside(spec, meanwhile), spec, runtime)
    if plan is None or plan.get("op") != "sync" or plan.get("tree") != spec["tree"]:
        raise Failure("NO_PLAN", "what followed the command is not its plan")
    if plan.get("root") != spec["root"]:
        raise Failure("NO_PLAN", "the plan is for another root directory")
    return plan


def wait_beside(spec: dict[str, Any], meanwhile: Callable[[], object]) -> bytes:
    """What `wait` returns or raises, from a thread of its own. `threading` takes long to load."""
    found: list[bytes] = []
    errors: list[BaseException] = []
    ended = allocate_lock()
    ended.acquire()

    def work() -> None:
        try:
            found.append(wait(spec["url"], spec["seconds"]))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.release()

    start_new_thread(work, ())
    meanwhile()
    # The thread ends with the process.
    if not ended.acquire(True, spec["seconds"] + GRACE_S):
        raise Failure("NO_PLAN", "the store has not answered within %g s" % spec["seconds"])
    if errors:
        raise errors[0]
    return found[0]


def wait(url: str, seconds: float) -> bytes:
    end = time.monotonic() + seconds
    place = Place(url)
    while True:
        left = end - time.monotonic()
        found = place.fetch(max(left, 0.1))
        if found is not None:
            return found
        if left <= 0:
            raise Failure("NO_PLAN", "no plan has followed the command within %g s" % seconds)
        time.sleep(PAUSE_S)


def opened(sealed: bytes, spec: dict[str, Any], runtime: str) -> dict[str, Any] | None:
    """The plan; None where it was not sealed for this command, runtime and tree."""
    purpose = "nx-ec2 awaited plan 1\n%s\n%s" % (runtime, spec["tree"])
    data = decrypt.unseal(sealed, decrypt.digest(decode(spec["key"]), purpose.encode()))
    if data is None:
        return None
    return plain_json.loads(bounded.inflate(data, MAX_PLAN_BYTES))


def decode(text: str) -> bytes:
    from binascii import a2b_base64

    return a2b_base64(text)


class Place:
    """Where the plan will be: a presigned URL, read again and again."""

    context: ssl.SSLContext | None

    def __init__(self, url: str) -> None:
        self.url, self.context = url, None
        scheme, _, rest = url.partition("://")
        self.secure = scheme == "https"
        self.host, _, self.path = rest.partition("/")

    def fetch(self, seconds: float) -> bytes | None:
        """The object; None where it can't be read, or not yet."""
        try:
            is_proxied = any(name.lower().endswith("_proxy") for name in os.environ)
            if is_proxied or self.host.count(":") > 1:
                return fetch_by_pool(self.url)
            return self.fetch_plainly(seconds)
        except OSError:
            return None

    def fetch_plainly(self, seconds: float) -> bytes | None:
        """What `http.client` would do, which takes longer to load than a sync that changes nothing.
        Whatever answers in another way than S3 is found out when the plan is verified.
        """
        import socket

        name, _, port = self.host.partition(":")
        address = name, int(port or (443 if self.secure else 80))
        wire = socket.create_connection(address, seconds)
        with wire:
            if self.secure:
                wire = self.trusting().wrap_socket(wire, server_hostname=name)
            with wire:
                head = "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
                wire.sendall((head % (self.path, self.host)).encode("ascii"))
                pieces: list[bytes] = []
                size = 0
                while size <= MAX_SEALED_BYTES:
                    piece = wire.recv(64 * 1024)
                    if not piece:
                        break
                    pieces.append(piece)
                    size += len(piece)
        head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
        return body if head.split(b" ", 2)[1:2] == [b"200"] else None

    def trusting(self) -> ssl.SSLContext:
        """The authorities of the system, which are read once: that takes longer than a request."""
        if self.context is None:
            import ssl

            self.context = ssl.create_default_context()
        return self.context


def fetch_by_pool(url: str) -> bytes | None:
    import http.client

    from .http_pool import Broken, Connections

    connections = Connections()
    try:
        response, body = connections.exchange(url, {}, limit=MAX_SEALED_BYTES)
        return bytes(body) if response.status == 200 else None
    except (http.client.HTTPException, Broken):
        return None
    finally:
        connections.close()
