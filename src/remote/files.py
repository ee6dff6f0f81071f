"""Records that are whole or not there: written beside, renamed in."""
import json
import os


def write_atomically(path, data, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = "%s.%d" % (path, os.getpid())
    with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def write_json(path, value, mode=0o644):
    write_atomically(path, json.dumps(value).encode(), mode)


def read_json(path):
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except (OSError, ValueError):
        return None
