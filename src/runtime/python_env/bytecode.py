"""Compiles the modules of an environment, each content once: what was compiled before is reused.

The Python of the environment runs this text (`python -I -c TEXT DIRECTORY [STORE]`), so it imports
nothing of the runtime.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import marshal
import os
import sys
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

# In the store, a file holds this much of its code's SHA-256 before the code: a crash may have
# truncated it.
CHECK_BYTES = 16
SUFFIX = ".nx-ec2-part"


def command(python: str, directory: str, store: str | None) -> list[str]:
    """The command line that compiles the modules below a directory."""
    loader: Any = __loader__
    text: str = loader.get_source(__name__)
    return [python, "-I", "-c", text, directory] + ([store] if store else [])


def compile_all(directory: str, store: str | None, processes: int) -> tuple[int, int]:
    """Compiles the modules below a directory. Returns how many were (compiled, taken from the
    store).
    """
    warnings.simplefilter("ignore")
    if store:
        # Each version of Python has its own code.
        version = "%s-%s" % (sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER.hex())
        store = os.path.join(store, version)
    paths = sorted(modules(directory))
    children = [compile_in_child(paths[index::processes], store) for index in range(processes)]
    compiled, taken, failed = 0, 0, False
    for child, reader in children:
        with open(reader) as file:
            counts = [int(each) for each in file.read().split()]
        os.waitpid(child, 0)
        if counts:
            compiled, taken = compiled + counts[0], taken + counts[1]
        else:
            failed = True
    if failed:
        raise OSError("not all modules were compiled")
    return compiled, taken


def compile_in_child(paths: list[str], store: str | None) -> tuple[int, int]:
    """Starts a process that compiles some modules. Returns its number and a descriptor, from which
    the two counts can be read when it has succeeded.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            counts = [compile_file(path, store) for path in paths]
            compiled, taken = counts.count("compiled"), counts.count("taken")
            os.write(writer, ("%d %d" % (compiled, taken)).encode())
            status = 0
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    os.close(writer)
    return child, reader


def modules(directory: str) -> Iterator[str]:
    for at, directories, names in os.walk(directory):
        # A third of the code of common packages, which no training imports.
        directories[:] = [name for name in directories if name != "tests"]
        yield from (os.path.join(at, name) for name in names if name.endswith(".py"))


def compile_file(path: str, store: str | None) -> str | None:
    """Writes the bytecode of a module. Returns "compiled" or "taken" (from the store), or None
    where there is nothing to do.
    """
    target = importlib.util.cache_from_source(path)
    if os.path.exists(target) or not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        source, status = file.read(), os.fstat(file.fileno())
    stored = None
    if store:
        digest = hashlib.sha256(source).hexdigest()
        stored = os.path.join(store, digest[:2], digest[2:])
    code, how = read(stored), "taken"
    if code is None:
        try:
            # An import puts the module's own path in place of this one, so the code serves other
            # environments.
            loader = importlib.machinery.SourceFileLoader("module", path)
            code, how = marshal.dumps(loader.source_to_code(source, path)), "compiled"
        except Exception:
            # Not for this Python, as templates and other files that nothing imports.
            return None
        if stored:
            write(stored, check(code) + code)
    # As import writes it: valid while the source has this time and size.
    numbers = (0, int(status.st_mtime), status.st_size)
    header = b"".join((each & 0xFFFFFFFF).to_bytes(4, "little") for each in numbers)
    write(target, importlib.util.MAGIC_NUMBER + header + code)
    return how


def check(code: bytes) -> bytes:
    return hashlib.sha256(code).digest()[:CHECK_BYTES]


def read(path: str | None) -> bytes | None:
    """The code of a file in the store; None where it is missing or damaged."""
    try:
        with open(path or "", "rb") as file:
            data = file.read()
    except OSError:
        return None
    code = data[CHECK_BYTES:]
    return code if data[:CHECK_BYTES] == check(code) else None


def write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = "%s.%d%s" % (path, os.getpid(), SUFFIX)
    try:
        with open(part, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except OSError:
        if os.path.lexists(part):
            os.unlink(part)
        raise


def main(directory: str, store: str | None = None) -> None:
    compiled, taken = compile_all(directory, store, len(os.sched_getaffinity(0)))
    reused = ", %d were compiled before" % taken if taken else ""
    print("%d modules compiled%s" % (compiled, reused))


if __name__ == "__main__":
    main(*sys.argv[1:])
