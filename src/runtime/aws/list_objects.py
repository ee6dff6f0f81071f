"""What a bucket holds below a prefix (ListObjectsV2)."""

from __future__ import annotations

import calendar
import time
import urllib.parse
import xml.etree.ElementTree
from email.utils import parsedate_to_datetime

from ..system.errors import Failure
from .endpoints import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, Mapping

    from .signed_requests import Answer, Service


MAX_LISTING_BYTES = 16 * 1024 * 1024
# So many pages one after the other may bring no new key: S3 passes what was deleted a page at a
# time.
MAX_IDLE_PAGES = 200


def list_objects(
    service: Service,
    url: str,
    *,
    prefix: str,
    owner: str | None = None,
    on_page: Callable[[], object] = lambda: None,
) -> Iterator[tuple[str, int, str]]:
    """Yields (key, size, ETag) of each object, sorted by key. FETCH_FAILED, also where the server
    answers with the same page again, with pages without a new key that do not end, or does not say
    how to get the next one; ACCESS_DENIED. `on_page` is called after each request; what it raises
    ends the list.
    """
    token, greatest, idle = None, b"", 0
    while True:
        values = {"continuation-token": token} if token else {}
        _, page, space = list_page(service, url, prefix=prefix, owner=owner, values=values)
        on_page()
        key, idle = "", idle + 1
        for each in page.iter(space + "Contents"):
            key, size = key_of(each, space), int(each.findtext(space + "Size", ""))
            yield key, size, each.findtext(space + "ETag", "")
        # Keys are sorted.
        if key.encode("utf-8", "surrogateescape") > greatest:
            greatest, idle = key.encode("utf-8", "surrogateescape"), 0
        if page.findtext(space + "IsTruncated") != "true":
            return
        last, token = token, page.findtext(space + "NextContinuationToken")
        if not token or token == last:
            raise unlisted(prefix, "the server sends no next page", status=200)
        if idle == MAX_IDLE_PAGES:
            why = "the server sent %d pages that hold no new key" % idle
            raise unlisted(prefix, why, status=200)


def find_object(
    service: Service, url: str, *, key: str, owner: str | None
) -> tuple[str, float, float] | None:
    """(ETag, when it was written, S3's time now, both in seconds) of an object; None where there is
    none of this key. Works for objects that S3 does not let be read. FETCH_FAILED, ACCESS_DENIED.
    """
    # No other key that begins so is sorted before it.
    answer, page, space = list_page(service, url, prefix=key, owner=owner, values={"max-keys": "1"})
    for each in page.iter(space + "Contents"):
        if key_of(each, space) == key:
            written = time.strptime(
                each.findtext(space + "LastModified", "")[:19], "%Y-%m-%dT%H:%M:%S"
            )
            now = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            return each.findtext(space + "ETag", ""), calendar.timegm(written), now
    return None


def holds_objects(service: Service, url: str, *, prefix: str, owner: str | None) -> bool:
    """Whether the key of any object begins so. FETCH_FAILED, ACCESS_DENIED."""
    _, page, space = list_page(service, url, prefix=prefix, owner=owner, values={"max-keys": "1"})
    return page.find(space + "Contents") is not None


def list_page(
    service: Service, url: str, *, prefix: str, owner: str | None, values: Mapping[str, str]
) -> tuple[Answer, xml.etree.ElementTree.Element, str]:
    """(the answer, its document, what its tags begin with)."""
    answer = service.ask(
        "GET",
        with_query(url, {"list-type": "2", "prefix": prefix, "encoding-type": "url", **values}),
        headers={"x-amz-expected-bucket-owner": owner} if owner else {},
        limit=MAX_LISTING_BYTES,
    )
    if answer.status != 200:
        raise unlisted(prefix, answer.words, status=answer.status)
    try:
        page = xml.etree.ElementTree.fromstring(bytes(answer.body))
    except xml.etree.ElementTree.ParseError as error:
        raise unlisted(prefix, "the answer is no list: %s" % error, status=200)
    if page.tag.rpartition("}")[2] != "ListBucketResult":
        raise unlisted(prefix, "the answer is no list, but %s" % page.tag[:100], status=200)
    return answer, page, page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""


def unlisted(prefix: str, why: str, *, status: int) -> Failure:
    code = "ACCESS_DENIED" if status == 403 else "FETCH_FAILED"
    message = "the objects below %s can't be listed: %s" % (prefix, why)
    return Failure(code, message, what="list", status=status, aws=why)


def key_of(listed: xml.etree.ElementTree.Element, space: str) -> str:
    return urllib.parse.unquote_plus(listed.findtext(space + "Key", ""))


def with_query(url: str, values: Mapping[str, str]) -> str:
    return (
        url
        + "?"
        + "&".join(
            "%s=%s" % (encode(name), encode(value)) for name, value in sorted(values.items())
        )
    )
