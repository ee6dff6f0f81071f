"""A configured package index: how tools get it, and which parts of its URL are secret."""

from __future__ import annotations

import re
from urllib.parse import unquote

# A URL in a text, up to the next one; the end of a login, which a password's own "@" is not; a host
# with its port.
SCHEME = r"[a-z][a-z0-9+.-]{0,30}://"
URL = re.compile(r"(%s)((?:(?!%s)\S)+)" % (SCHEME, SCHEME), re.IGNORECASE)
LOGIN = re.compile(r".*(?:@|%40)", re.DOTALL)
QUERY = re.compile(r"[?#][^\s\"'<>()]*")
# A shorter value of a query, as "main", is masked with its name only: alone it can be any word.
MIN_QUERY_VALUE_LENGTH = 8
HOST_AND_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::\d*)?")


def variables(url: str | None) -> dict[str, str]:
    """The variables by which pip and uv use the index instead of the public one."""
    # The last is what a uv before 0.4.23 knows.
    return {"PIP_INDEX_URL": url, "UV_DEFAULT_INDEX": url, "UV_INDEX_URL": url} if url else {}


def without_credentials(text: str) -> str:
    """A text without the logins of the URLs in it."""
    return URL.sub(lambda url: url.group(1) + url.group(2)[len(login_of(url.group(2))) :], text)


def for_log(text: str) -> str:
    """A text without the logins, queries and fragments of the URLs in it: each may hold a token."""
    return URL.sub(
        lambda url: url.group(1) + QUERY.sub("", url.group(2)), without_credentials(text)
    )


def login_of(rest: str) -> str:
    """The login in a URL without its scheme: up to the last "@" of the authority. A password with a
    "/", "?" or "#" leaves something that is no host with a port: then it is up to the last "@" of
    all.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    found = LOGIN.match(authority)
    if not HOST_AND_PORT.fullmatch(authority[found.end() if found else 0 :]):
        found = LOGIN.match(rest) or found
    return found.group() if found else ""


def secrets(url: str | None) -> list[str]:
    """The secrets in a URL, as written and as meant: its password, or the token that stands in for
    a name, and what its query has.
    """
    _, _, rest = (url or "").partition("://")
    login = login_of(rest)
    name, _, password = re.sub("(@|%40)$", "", login).partition(":")
    found = [password or name]
    query = rest[len(login) :].partition("#")[0].partition("?")[2]
    for pair in query.split("&"):
        value = pair.partition("=")[2]
        found += [pair, value] if len(value) >= MIN_QUERY_VALUE_LENGTH else [pair]
    return sorted({each for text in found if text for each in (text, unquote(text))})
