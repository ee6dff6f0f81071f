"""Records that are whole or not there: written beside, renamed in."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write_atomically(path: str, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    beside = "%s.%d" % (path, os.getpid())
    try:
        _write(beside, data, mode=mode, durable=durable)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(beside, data, mode=mode, durable=durable)
    os.replace(beside, path)


def _write(path: str, data: bytes, *, mode: int, durable: bool) -> None:
    with open(create(path, mode), "wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def create(path: str, mode: int) -> int:
    """The descriptor of a new file: what stands there already, a link too, is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        # A process of the same number has left it.
        os.unlink(path)
        return os.open(path, flags, mode)


def write_json(path: str, value: object, mode: int = 0o644) -> None:
    import json

    write_atomically(path, json.dumps(value).encode(), mode=mode)


def write_new_json(path: str, value: object) -> bool:
    """Writes a file that is not there yet; False where it is, and stays as it is."""
    import threading

    beside = "%s.new.%d.%d" % (path, os.getpid(), threading.get_ident())
    write_json(beside, value)
    try:
        os.link(beside, path)
        return True
    except FileExistsError:
        return False
    finally:
        os.unlink(beside)


def read_json(path: str) -> Any:
    import json

    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except (OSError, ValueError):
        return None


def read_object(path: str) -> dict[str, Any]:
    """The object of a JSON file; an empty one where it holds none."""
    found: dict[str, Any] | None = read_json(path)
    return found if isinstance(found, dict) else {}
