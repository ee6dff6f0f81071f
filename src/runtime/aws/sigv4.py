"""Signature Version 4 of a request's headers."""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from .credentials import Credentials


def sign(
    credentials: Credentials,
    *,
    service: str,
    region: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    digest: str,
    now: float,
) -> dict[str, str]:
    """The headers of a request, signed. `digest`: its body's SHA-256 in hex; `now`: seconds since
    the epoch, by AWS's clock.
    """
    parts = urllib.parse.urlsplit(url)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = dict(
        headers, **{"Host": parts.netloc, "X-Amz-Date": stamp, "X-Amz-Content-Sha256": digest}
    )
    if credentials.token:
        headers["X-Amz-Security-Token"] = credentials.token
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    names = ";".join(name for name, _ in lines)
    query = "&".join(sorted(parts.query.split("&"))) if parts.query else ""
    canonical = "\n".join(
        [method, parts.path or "/", query]
        + ["%s:%s" % line for line in lines]
        + ["", names, digest]
    )
    scope, signature = signed(
        credentials, service=service, region=region, stamp=stamp, canonical=canonical
    )
    headers["Authorization"] = (
        "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s"
        % (credentials.key, scope, names, signature)
    )
    return headers


def scope_of(stamp: str, region: str, service: str) -> str:
    return "/".join([stamp[:8], region, service, "aws4_request"])


def signed(
    credentials: Credentials, *, service: str, region: str, stamp: str, canonical: str
) -> tuple[str, str]:
    """(scope, signature) of a canonical request."""
    scope = scope_of(stamp, region, service)
    key = ("AWS4" + credentials.secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = "\n".join([
        "AWS4-HMAC-SHA256",
        stamp,
        scope,
        hashlib.sha256(canonical.encode()).hexdigest(),
    ])
    return scope, hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
