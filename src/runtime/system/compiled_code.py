"""The runtime's compiled code, kept for the commands that come later: docs/reference/formats.md,
"Compiled code". What reads it is in the bootstrap.
"""

from __future__ import annotations

import marshal
import os
import sys
import time
from _frozen_importlib_external import MAGIC_NUMBER

from . import atomic_files, root_directory
from .digest import sha256_hex
from .errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Iterable, Protocol

    class Modules(Protocol):
        """The bootstrap's loader. `modules`: all names; `compiled`: what this process has had to
        compile.
        """

        modules: Iterable[str]
        compiled: dict[str, CodeType]

        def read_code(self, name: str) -> bytes | None: ...


SUFFIX = ".code"
# How many files stay, the newest ones: clients name different files.
NEWEST_KEPT = 16
# After this time, a file whose writer was killed is removed.
UNFINISHED_AGE_S = 3600


def keep(modules: Modules, runtime: str, root: str) -> str | None:
    """Writes down all code that this process had or has compiled. The name of it, which is a hash;
    None where it can't be kept.
    """
    try:
        directory = os.path.join(root_directory.prepare(root), "runtime")
        index, data = pack(modules, runtime)
        name = sha256_hex(index)
        path = os.path.join(directory, name + SUFFIX)
        data = len(index).to_bytes(8, "big") + index + data
        # If a crash truncates it, its hashes say so.
        atomic_files.write_atomically(path, data, mode=0o600, durable=False)
        prune(directory, time.time())
        return name
    except (OSError, ValueError, Failure):
        return None


def pack(modules: Modules, runtime: str) -> tuple[bytes, bytes]:
    """(index, code of all modules, one after another)"""
    compiled = dict(modules.compiled)
    code: dict[str, bytes] = {}
    for name in modules.modules:
        data = marshal.dumps(compiled[name]) if name in compiled else modules.read_code(name)
        if data is not None:
            code[name] = data
    places: dict[str, tuple[int, int, str] | None] = {}
    size = 0
    for name in modules.modules:
        places[name] = None
        if name in code:
            places[name] = (size, size + len(code[name]), sha256_hex(code[name]))
            size += len(code[name])
    index = marshal.dumps((runtime, (MAGIC_NUMBER, sys.version), places))
    return index, b"".join(code.values())


def prune(directory: str, now: float) -> None:
    """Removes all but the newest."""
    found: list[tuple[float, str]] = []
    for name in os.listdir(directory):
        stem, dot, number = name.partition(SUFFIX)
        if len(stem) != 64 or not dot:
            continue
        path = os.path.join(directory, name)
        try:
            changed = os.lstat(path).st_mtime
            if not number:
                found.append((changed, path))
            elif now - changed > UNFINISHED_AGE_S:
                os.unlink(path)
        except FileNotFoundError:
            pass
    for _, path in sorted(found)[:-NEWEST_KEPT]:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
