"""A bucket that is a directory, with S3's conditions, for several processes."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import threading
import time

import package  # noqa: F401 (puts the runtime on the path)

from nx_ec2_runtime.aws.bucket import Object
from nx_ec2_runtime.aws.signed_requests import Unreadable
from nx_ec2_runtime.system import atomic_files
from nx_ec2_runtime.system.errors import Failure

# The content of an object that stands for one that S3 does not let be read.
REFUSED = b"archived"


class Store:
    """Its process is killed at the n-th request that counts, by turns before it and after it: each
    write, or with `reads` all.

    `denied`: what raises ACCESS_DENIED, "get" or "list"; `ahead`: seconds that S3's clock is ahead
    of what wrote the objects.
    """

    way = "role"

    def __init__(self, directory, kill=None, reads=False, denied=(), ahead=0):
        self.directory, self.kill, self.reads, self.denied, self.ahead = (
            directory,
            kill,
            reads,
            denied,
            ahead,
        )
        self.count, self.lock = 0, threading.RLock()

    def put(self, name, data, content_type=None, condition=None):
        with self.lock, open(os.path.join(self.directory, ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            dies = self._counts()
            there = self._object(name)
            if condition not in (
                None,
                {"If-None-Match": "*"} if there is None else {"If-Match": there.etag},
            ):
                raise Failure("CHANGED", "the condition does not hold")
            atomic_files.write_atomically(os.path.join(self.directory, name), data)
            with open(os.path.join(self.directory, ".writes"), "a") as file:
                file.write(name + "\n")
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            return self._object(name).etag

    def overwrite(self, name, data):
        """As a program writes that sets no condition: never between another's condition and its
        write.
        """
        with open(os.path.join(self.directory, ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            atomic_files.write_atomically(os.path.join(self.directory, name), data)

    def _counts(self):
        self.count += 1
        dies = self.kill is not None and self.count >= self.kill
        if dies and self.count % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return dies

    def _object(self, name):
        path = os.path.join(self.directory, name)
        try:
            with open(path, "rb") as file:
                data = file.read()
            modified = os.stat(path).st_mtime
        except FileNotFoundError:
            return None
        return Object(
            data,
            hashlib.sha256(data).hexdigest(),
            modified=int(modified * 1000),
            age=time.time() + self.ahead - modified,
        )

    def read(self, name, limit=None, cut=False):
        if self.reads and self._counts():
            os.kill(os.getpid(), signal.SIGKILL)
        found = self._object(name)
        if "get" not in self.denied:
            return found
        if "list" in self.denied:
            raise Failure("ACCESS_DENIED", "it may be there or not", status=403, aws="AccessDenied")
        words = "AccessDenied: Access Denied"
        return found and Object(
            b"", found.etag, modified=found.modified, age=found.age, refused=words
        )

    def get(self, name, span=None, limit=16 << 20):
        found = self.read(name)
        if found and found.data == REFUSED:
            raise Unreadable("FETCH_FAILED", "%s could not be fetched: InvalidObjectState" % name)
        if found and len(found.data) > limit:
            raise Unreadable("LIMIT", "%s is larger than %d bytes" % (name, limit))
        return found and found.data

    def copy(self, directory):
        """Another store that holds the same."""
        shutil.copytree(self.directory, directory)
        return Store(directory)

    def unlink(self, name):
        os.unlink(os.path.join(self.directory, name))

    def refuse(self, name):
        """Makes an object one that S3 does not let be read."""
        self.overwrite(name, REFUSED)

    def list(self, prefix=""):
        if "list" in self.denied:
            raise Failure(
                "ACCESS_DENIED", "not to be listed", status=403, aws="AccessDenied: Access Denied"
            )
        return [
            (name, len(data))
            for name, data in sorted(self.objects().items())
            if name.startswith(prefix)
        ]

    def objects(self):
        """{name: bytes} of what is whole."""
        found = {}
        for directory, _, names in os.walk(self.directory):
            for name in names:
                path = os.path.relpath(os.path.join(directory, name), self.directory)
                if not re.search(r"^\.|\.\d+$", name):
                    found[path] = self._object(path).data
        return found
