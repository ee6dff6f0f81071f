"""A bucket in memory that checks what a real one would, and that fails when it is told to."""

import hashlib
import threading

import package  # noqa: F401 (puts the runtime on the path)

from nx_ec2_runtime.system.errors import Failure


class Bucket:
    """`fail`: the n-th put (from 1 on) raises. `late`: it raises when the object is there, as if
    its answer was lost.
    """

    way = "role"

    def __init__(self, objects=None, fail=None, late=False):
        self.objects = {} if objects is None else objects
        self.puts, self.fail, self.late = [], fail, late
        self.at_once = self.most = 0
        self.lock = threading.Lock()
        self.before_put = None

    def put(self, name, data):
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            if self.before_put:
                self.before_put(name)
            with self.lock:
                self.puts.append(name)
                failing = self.fail is not None and len(self.puts) >= self.fail
                if name.startswith("part/") and name[5:] != hashlib.sha256(data).hexdigest():
                    raise AssertionError("a part under a name that is not its own")
                if not failing or self.late:
                    self.objects[name] = bytes(data)
                if failing:
                    raise Failure("UPLOAD_FAILED", "killed here", status=0)
        finally:
            with self.lock:
                self.at_once -= 1

    def get(self, name, span=None):
        return self.objects.get(name)

    def list(self, prefix):
        return [
            (name, len(data))
            for name, data in sorted(self.objects.items())
            if name.startswith(prefix)
        ]

    def part(self, sha256):
        return self.get("part/" + sha256)
