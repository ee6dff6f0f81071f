"""Records that are whole or not there: written beside, renamed in. And the hash of a file."""
import hashlib
import json
import os

BLOCK = 1024 * 1024


def write_atomically(path, data, mode=0o644, durable=True):
    beside = "%s.%d" % (path, os.getpid())
    try:
        _write(beside, data, mode, durable)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(beside, data, mode, durable)
    os.replace(beside, path)


def _write(path, data, mode, durable):
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def write_json(path, value, mode=0o644):
    write_atomically(path, json.dumps(value).encode(), mode)


def read_json(path):
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except (OSError, ValueError):
        return None


def hash_file(path):
    """The SHA-256 of a file, by its path or its descriptor, which stays open."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0, closefd=not isinstance(path, int)) as file:
        block = file.read(BLOCK)
        while block:
            digest.update(block)
            block = file.read(BLOCK)
    return digest.hexdigest()
