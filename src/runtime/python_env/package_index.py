"""A configured package index: how tools get it, and which parts of its URL are secret."""

from __future__ import annotations

import re
from urllib.parse import unquote

# A URL in a text, up to the next one; the end of a login, which a password's own "@" is not; a host
# with its port.
SCHEME = r"[a-z][a-z0-9+.-]{0,30}://"
URL = re.compile(r"(%s)((?:(?!%s)\S)+)" % (SCHEME, SCHEME), re.IGNORECASE)
LOGIN = re.compile(r".*(?:@|%40)", re.DOTALL)
HOST_AND_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::\d*)?")


def variables(url: str | None) -> dict[str, str]:
    """The variables by which pip and uv use the index instead of the public one."""
    # The last is what a uv before 0.4.23 knows.
    return {"PIP_INDEX_URL": url, "UV_DEFAULT_INDEX": url, "UV_INDEX_URL": url} if url else {}


def without_credentials(text: str) -> str:
    """A text without the logins of the URLs in it."""
    return URL.sub(lambda url: url.group(1) + url.group(2)[len(login_of(url.group(2))) :], text)


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
    """The secret in a URL: its password, or the token that stands in for a name, as written and as
    meant.
    """
    _, _, rest = (url or "").partition("://")
    name, _, password = re.sub("(@|%40)$", "", login_of(rest)).partition(":")
    found = password or name
    return sorted({found, unquote(found)}) if found else []
