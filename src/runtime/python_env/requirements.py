"""What a requirements file leads to: other such files, and packages and archives on the disk."""

from __future__ import annotations

import codecs
import os
import re
from urllib.parse import unquote, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s+|=|(?=[^\s-]))(.+)")
# Where packages are looked for besides the index: a directory of archives, a page that links to
# them, an index on the disk.
LINKS = re.compile(r"(?:-f|--find-links|-i|--index-url|--extra-index-url)(?:\s+|=)(.+)")
ARCHIVE = re.compile(r".*\.(?:whl|egg|zip|tgz|tar(?:\.(?:gz|bz2|xz|Z))?)")
# So many archives are looked at in one place; a place with more is no part of a workspace.
MAX_ARCHIVES = 10000
EDITABLE = re.compile(r"(?:-e|--editable)(?:\s+|=)(.+)")
# Variables, markers and options that may follow a path.
TRAILER = re.compile(r"\s+(?:;|--|#).*$|\[[^\]]*\]$|#egg=.*$")
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read(path: str) -> str:
    """A file's text by its byte order mark, as pip reads it: some shells of Windows write
    requirements in UTF-16.
    """
    with open(path, "rb") as file:
        data = file.read()
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace").replace("\r\n", "\n")
    return data.decode("utf-8", "replace").replace("\r\n", "\n")


def local(path: str, directory: str) -> tuple[list[str], list[str]]:
    """(requirements files that are read, directories and archives on the disk that they name, or
    that lie where they have packages looked for). As in pip, paths in them count from `directory`,
    those of included files from the file that includes them.
    """
    listed: list[str] = []
    named: list[str] = []
    waiting = [path]
    while waiting:
        path = os.path.normpath(waiting.pop())
        if path in listed or not os.path.isfile(path):
            continue
        text = read(path)
        listed.append(path)
        for line in lines(text):
            include = INCLUDE.match(line)
            if include:
                included = include.group(1).strip("\"' ")
                waiting.append(os.path.join(os.path.dirname(path), included))
                continue
            links = LINKS.match(line)
            if links:
                named += archives(links.group(1), directory)
                continue
            found = named_path(line)
            if found:
                named.append(os.path.normpath(os.path.join(directory, found)))
    return listed, sorted(set(named))


def archives(place: str, directory: str) -> list[str]:
    """The archives on the disk that a place of packages has, a path or a file: URL; none where it
    is elsewhere.
    """
    place = TRAILER.sub("", place.strip()).strip("\"' ")
    if place.startswith("file:"):
        place = unquote(urlsplit(place).path)
    elif "://" in place or not place:
        return []
    place = os.path.normpath(os.path.join(directory, place))
    if os.path.isfile(place):
        # A page of links: what it links to lies beside it as a rule.
        return [place, *archives(os.path.dirname(place), directory)]
    found: list[str] = []
    for at, directories, names in os.walk(place):
        directories.sort()
        found += [os.path.join(at, name) for name in sorted(names) if ARCHIVE.fullmatch(name)]
        if len(found) > MAX_ARCHIVES:
            break
    return found[:MAX_ARCHIVES]


def lines(text: str) -> Iterator[str]:
    """Logical lines without comments; of an environment.yml too, whose `pip:` list has the same
    lines as items.
    """
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line.startswith("- "):
            line = line[2:].strip().strip("\"'")
        if line:
            yield line


def named_path(line: str) -> str | None:
    """The path that a line names, or None where it names a package of an index or something
    elsewhere.
    """
    editable = EDITABLE.match(line)
    if line.startswith("-") and not editable:
        return None
    text = editable.group(1) if editable else line
    text = TRAILER.sub("", TRAILER.sub("", text.strip())).strip("\"' ")
    _, at, url = text.partition("@")
    if at and url.strip().startswith("file:"):
        text = url.strip()
    if text.startswith("file:"):
        return unquote(urlsplit(text).path) or None
    if "://" in text:
        return None
    is_path = (
        editable
        or text.startswith((".", "/"))
        or (os.sep in text and "@" not in text)
        or text.endswith((".whl", ".tar.gz", ".zip"))
    )
    return text if is_path else None
