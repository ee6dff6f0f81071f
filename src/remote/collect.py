"""Brings a run's artifacts to the store, by a process of its own that outlives the command."""
import fcntl
import hashlib
import io
import json
import os
import re
import stat
import time

from . import fetch, files, run as runs
from .detached import detached
from .failure import Failure
from .files import hash_file
from .held import held


def state(root, run_id):
    home = runs.directory(root, run_id)
    record = files.read_json(os.path.join(home, "collect.json"))
    if record and record["state"] == "uploading" and not held(os.path.join(home, "collect.lock")):
        record = files.read_json(os.path.join(home, "collect.json"))
        if record["state"] == "uploading":
            # The uploader was killed: whoever asks starts it again.
            return None
    return record


def start(plan, root):
    record = runs.state(root, plan["run"])
    if record["outcome"] is None:
        raise Failure("NOT_ENDED", "the run still goes on", run=plan["run"])
    home = runs.directory(root, plan["run"])
    descriptor = os.open(os.path.join(home, "collect.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            record = state(root, plan["run"])
            if record is not None:
                os.close(descriptor)
                return {"collect": record}
            # Another holds the lock, and is about to write its record, or has just ended.
            time.sleep(0.02)
    try:
        patterns = [re.compile(each, re.DOTALL) for each in plan["patterns"]]
    except re.error as error:
        os.close(descriptor)
        raise Failure("BAD_PLAN", "a glob can not be matched here: %s" % error)
    uploader = Uploader(plan, home, patterns)
    uploader.save(state="uploading")
    detached(uploader.run)
    os.close(descriptor)
    return {"collect": uploader.record}


class Uploader:
    def __init__(self, plan, home, patterns):
        self.plan, self.home, self.patterns = plan, home, patterns
        part = files.read_json(os.path.join(home, "plan.json"))
        self.project = os.path.join(home, "work", part["projectRoot"])
        self.output = part["outputDir"]
        self.record = {"state": "uploading", "files": 0, "bytes": 0, "uploaded": 0, "list": None, "error": None}

    def save(self, **changes):
        self.record.update(changes)
        files.write_json(os.path.join(self.home, "collect.json"), self.record)

    def run(self):
        try:
            self.upload()
        except Failure as failure:
            self.save(state="failed", error=failure.data())
        except Exception as error:
            self.save(state="failed", error=Failure("INTERNAL", "%s: %s" % (type(error).__name__, error)).data())

    def upload(self):
        found, skipped = [], []
        self.walk(self.output, found, skipped)
        total = sum(size for _, size, _ in found)
        limits = self.plan["limits"]
        if len(found) > limits["files"]:
            raise Failure("LIMIT", "%d files are more than can come back" % len(found), limit="files", value=len(found))
        if total > limits["bytes"]:
            largest = sorted(found, key=lambda each: -each[1])[:5]
            raise Failure("LIMIT", "%d bytes are more than the limit" % total, limit="bytes", value=total, largest=[{"path": path, "size": size} for path, size, _ in largest])
        self.save(files=len(found), bytes=total)
        done = set()
        artifacts = []
        for path, size, executable in found:
            digest, size = self.send(os.path.join(self.project, path), done)
            artifacts.append({"path": path, "size": size, "sha256": digest, "executable": executable})
            self.save(uploaded=self.record["uploaded"] + size)
        logs = {}
        for log in ("setup", "training"):
            path = os.path.join(self.home, log + ".log")
            logs[log] = None
            if os.path.exists(path):
                digest, size = self.send(path, done)
                logs[log] = {"size": size, "sha256": digest}
        data = json.dumps({"v": 1, "artifacts": artifacts, "logs": logs, "skipped": skipped}).encode()
        key = self.plan["prefix"] + "list.json"
        digest = hashlib.sha256(data).hexdigest()
        fetch.upload(self.plan["post"], key, io.BytesIO(data), len(data), digest)
        self.save(state="done", list={"key": key, "sha256": digest, "size": len(data)})

    def walk(self, relative, found, skipped):
        try:
            entries = sorted(os.scandir(os.path.join(self.project, relative)), key=lambda entry: entry.name)
        except NotADirectoryError:
            return
        for entry in entries:
            path = relative + "/" + entry.name
            mode = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(mode.st_mode):
                self.walk(path, found, skipped)
            elif not any(pattern.fullmatch(path) for pattern in self.patterns):
                continue
            elif not stat.S_ISREG(mode.st_mode):
                skipped.append({"path": path, "why": "a symbolic link" if stat.S_ISLNK(mode.st_mode) else "a special file"})
            else:
                try:
                    path.encode("utf-8")
                except UnicodeEncodeError:
                    skipped.append({"path": path.encode("utf-8", "replace").decode(), "why": "its name is not UTF-8"})
                    continue
                found.append((path, mode.st_size, bool(mode.st_mode & 0o100)))

    def send(self, path, done):
        digest = hash_file(path)
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
            size = os.fstat(file.fileno()).st_size
            if digest not in done:
                fetch.upload(self.plan["post"], self.plan["prefix"] + digest, file, size, digest)
                done.add(digest)
        return digest, size
