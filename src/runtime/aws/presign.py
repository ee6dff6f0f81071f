"""A URL that others may use, by Signature Version 4."""

from __future__ import annotations

import time
import urllib.parse

from .endpoints import encode
from .sigv4 import scope_of, signed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    from .credentials import Credentials


UNSIGNED = "UNSIGNED-PAYLOAD"


def presign(
    credentials: Credentials,
    region: str,
    *,
    url: str,
    seconds: int,
    now: float,
    more: Iterable[tuple[str, str]] = (),
) -> str:
    """A URL that reads an object of S3 without any header, for so many seconds (a week at the
    most), and no longer than the credentials hold.

    `url` is encoded, without a query; `more`: further (name, value) of the query.
    """
    parts = urllib.parse.urlsplit(url)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    values = dict(
        more,
        **{
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": "%s/%s" % (credentials.key, scope_of(stamp, region, "s3")),
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        },
    )
    if credentials.token:
        values["X-Amz-Security-Token"] = credentials.token
    query = "&".join(
        sorted("%s=%s" % (encode(name), encode(value)) for name, value in values.items())
    )
    canonical = "\n".join([
        "GET",
        parts.path or "/",
        query,
        "host:" + parts.netloc,
        "",
        "host",
        UNSIGNED,
    ])
    _, signature = signed(
        credentials, service="s3", region=region, stamp=stamp, canonical=canonical
    )
    return "%s?%s&X-Amz-Signature=%s" % (url, query, signature)
