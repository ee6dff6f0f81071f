"""The plan of a command that was sent before it: docs/reference/formats.md, "A plan that follows
its command". Until it has come, and is verified, nothing on the instance is changed.
"""

from __future__ import annotations

import os
import time

from ..system import bounded, decrypt, plain_json
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PAUSE_S = 0.02
MAX_SEALED_BYTES = 1024 * 1024
MAX_PLAN_BYTES = 16 * 1024 * 1024


def receive(spec: dict[str, Any], runtime: str) -> dict[str, Any]:
    """The plan. Failure: NO_PLAN, if none has come in time, or not the one of this command."""
    plan = opened(wait(spec["url"], spec["seconds"]), spec, runtime)
    if plan is None or plan.get("op") != "sync" or plan.get("tree") != spec["tree"]:
        raise Failure("NO_PLAN", "what followed the command is not its plan")
    if plan.get("root") != spec["root"]:
        raise Failure("NO_PLAN", "the plan is for another root directory")
    return plan


def wait(url: str, seconds: float) -> bytes:
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        found = fetch(url, max(left, 0.1))
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


def fetch(url: str, seconds: float) -> bytes | None:
    """The object; None where it can't be read, or not yet."""
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    try:
        if any(name.lower().endswith("_proxy") for name in os.environ) or place.count(":") > 1:
            return fetch_by_pool(url)
        return fetch_plainly(scheme == "https", place, path, seconds=seconds)
    except OSError:
        return None


def fetch_plainly(secure: bool, place: str, path: str, *, seconds: float) -> bytes | None:
    """What `http.client` would do, which takes longer to load than a sync that changes nothing.
    Whatever answers in another way than S3 is found out when the plan is verified.
    """
    import socket

    host, _, port = place.partition(":")
    address = host, int(port or (443 if secure else 80))
    wire = socket.create_connection(address, seconds)
    with wire:
        if secure:
            import ssl

            wire = ssl.create_default_context().wrap_socket(wire, server_hostname=host)
        with wire:
            head = "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path, place)
            wire.sendall(head.encode("ascii"))
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
