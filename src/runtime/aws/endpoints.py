"""Where a service is: the endpoint that the plan names, or AWS's own for a region."""

from __future__ import annotations

import re
import urllib.parse

from ..system.errors import Failure

SUFFIXES = (
    ("cn-", "amazonaws.com.cn"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("us-iso-", "c2s.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
)


REGION = re.compile(r"[a-z0-9-]{1,40}")


def is_region(text: str) -> bool:
    """Whether it can be the id of a region. One from a plan, an ARN or an answer becomes part of a
    host's name, to which requests go that are signed by the instance's role.
    """
    return REGION.fullmatch(text) is not None


def suffix(region: str) -> str:
    """The DNS suffix of the region's partition."""
    return next((suffix for start, suffix in SUFFIXES if region.startswith(start)), "amazonaws.com")


def service_url(service: str, region: str, endpoint: str | None = None) -> str:
    if endpoint:
        return endpoint.rstrip("/") + "/"
    if not is_region(region):
        raise Failure("BAD_PLAN", "%r is not the id of a region" % region)
    return "https://%s.%s.%s/" % (service, region, suffix(region))


def bucket_url(
    bucket: str, region: str, *, endpoint: str | None = None, path_style: bool = False
) -> str:
    """A bucket's URL, ending in a slash. A name with dots has no certificate as a host, and comes
    into the path.
    """
    scheme, _, place = service_url("s3", region, endpoint).partition("://")
    if path_style or "." in bucket:
        return "%s://%s%s/" % (scheme, place, bucket)
    return "%s://%s.%s" % (scheme, bucket, place)


def encode(text: str, keep: str = "") -> str:
    """As SigV4 wants it in paths and queries."""
    return urllib.parse.quote(text, safe="-._~" + keep)
