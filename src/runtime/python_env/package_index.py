"""A package index of one's own: how tools are told of it, and what of its URL is secret."""
import re
from urllib.parse import unquote, urlsplit

CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def variables(url):
    """The variables by which pip and uv take the index in the public one's place."""
    # The last is what a uv before 0.4.23 knows.
    return {"PIP_INDEX_URL": url, "UV_DEFAULT_INDEX": url, "UV_INDEX_URL": url} if url else {}


def without_credentials(text):
    return CREDENTIALS.sub("", text)


def secrets(url):
    """What must not be seen of a URL: its password, or the token that stands in for a name, as written and as meant."""
    try:
        parts = urlsplit(url or "")
        name, password = parts.username, parts.password
    except ValueError:
        return []
    found = password or name
    return sorted({found, unquote(found)}) if found else []
