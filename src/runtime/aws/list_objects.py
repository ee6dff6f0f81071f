"""What a bucket holds below a prefix (ListObjectsV2)."""

from __future__ import annotations

import urllib.parse
import xml.etree.ElementTree

from ..system.errors import Failure
from .endpoints import with_query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from .signed_requests import Service


MAX_LISTING_BYTES = 16 * 1024 * 1024


def list_objects(
    service: Service, url: str, *, prefix: str, owner: str | None = None
) -> Iterator[tuple[str, int, str]]:
    """Yields (key, size, ETag) of each object, sorted by key. FETCH_FAILED, ACCESS_DENIED."""
    token = None
    while True:
        values = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
        if token:
            values["continuation-token"] = token
        answer = service.ask(
            "GET",
            with_query(url, values),
            headers={"x-amz-expected-bucket-owner": owner} if owner else {},
            limit=MAX_LISTING_BYTES,
        )
        if answer.status != 200:
            code = "ACCESS_DENIED" if answer.status == 403 else "FETCH_FAILED"
            raise Failure(
                code,
                "the objects below %s can't be listed: %s" % (prefix, answer.words),
                what="list",
                status=answer.status,
                aws=answer.words,
            )
        page = xml.etree.ElementTree.fromstring(bytes(answer.body))
        space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
        for each in page.iter(space + "Contents"):
            yield (
                urllib.parse.unquote_plus(each.findtext(space + "Key", "")),
                int(each.findtext(space + "Size", "")),
                each.findtext(space + "ETag", ""),
            )
        token = page.findtext(space + "NextContinuationToken")
        if page.findtext(space + "IsTruncated") != "true" or not token:
            return
