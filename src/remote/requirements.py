"""What a requirements file leads to: other such files, and packages and archives on the disk."""
import os
import re
from urllib.parse import unquote, urlsplit

INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s+|=|(?=[^\s-]))(.+)")
EDITABLE = re.compile(r"(?:-e|--editable)(?:\s+|=)(.+)")
# Variables, markers and options that may follow a path.
TRAILER = re.compile(r"\s+(?:;|--|#).*$|\[[^\]]*\]$|#egg=.*$")


def local(path, directory):
    """(files that are read, directories and archives that are named). Paths in them count from `directory`, those of
    included files from the file that includes them, as pip has it."""
    read, named, waiting = [], [], [path]
    while waiting:
        path = os.path.normpath(waiting.pop())
        if path in read or not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        read.append(path)
        for line in lines(text):
            include = INCLUDE.match(line)
            if include:
                waiting.append(os.path.join(os.path.dirname(path), include.group(1).strip("\"' ")))
                continue
            found = named_path(line)
            if found:
                named.append(os.path.normpath(os.path.join(directory, found)))
    return read, sorted(set(named))


def lines(text):
    """Logical lines without comments; of an environment.yml too, whose `pip:` list has the same lines as items."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line.startswith("- "):
            line = line[2:].strip().strip("\"'")
        if line:
            yield line


def named_path(line):
    """The path that a line names, or None where it names a package of an index or something elsewhere."""
    editable = EDITABLE.match(line)
    if line.startswith("-") and not editable:
        return None
    text = editable.group(1) if editable else line
    text = TRAILER.sub("", TRAILER.sub("", text.strip())).strip("\"' ")
    name, at, url = text.partition("@")
    if at and url.strip().startswith("file:"):
        text = url.strip()
    if text.startswith("file:"):
        return unquote(urlsplit(text).path) or None
    if "://" in text:
        return None
    if editable or text.startswith((".", "/")) or (os.sep in text and "@" not in text) or text.endswith((".whl", ".tar.gz", ".zip")):
        return text
    return None
