"""What is below a directory that others write to: reached from its descriptor, never through a symbolic link."""
import errno
import os
import stat

from .failure import Failure

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A named pipe that somebody put there must not hold us up.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
DEPTH = 200


def open_file(base, path):
    """The descriptor of a file by its path below a directory; OSError of GONE where it can not be reached so."""
    parent, _, name = path.rpartition("/")
    directory = open_directory(base, parent)
    try:
        return os.open(name, FILE, dir_fd=directory)
    finally:
        os.close(directory)


def open_directory(base, path):
    descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in path.split("/") if path else []:
        try:
            inner = os.open(name, DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def walk(base, path=""):
    """(path, lstat) of all below a directory, by name, a directory before what is in it. What goes meanwhile is left out."""
    try:
        descriptor = open_directory(base, path)
    except OSError as error:
        if error.errno in GONE:
            return
        raise
    try:
        yield from _below(descriptor, path, DEPTH)
    finally:
        os.close(descriptor)


def _below(descriptor, path, depth):
    for name in sorted(os.listdir(descriptor)):
        inner = path + "/" + name if path else name
        try:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield inner, found
        if not stat.S_ISDIR(found.st_mode):
            continue
        if not depth:
            raise Failure("LIMIT", "directories are nested too deep in %s" % shown(path), limit="depth", value=DEPTH)
        try:
            below = os.open(name, DIRECTORY, dir_fd=descriptor)
        except OSError as error:
            if error.errno in GONE:
                continue
            raise
        try:
            yield from _below(below, inner, depth - 1)
        finally:
            os.close(below)


def what_else(path, found):
    """Why something that is no directory can not be kept under its name; None where it can."""
    if stat.S_ISLNK(found.st_mode):
        return "a symbolic link"
    if not stat.S_ISREG(found.st_mode):
        return "a special file"
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return None


def shown(path):
    """A path as a text that is UTF-8."""
    return path.encode("utf-8", "replace").decode()
