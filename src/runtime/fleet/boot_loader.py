"""Starts or resumes a run without a command from a client: docs/reference/formats.md, "Runs with a
fleet".

It comes with the user data, by whose hash it knows `boot.json`, by whose hash it knows the runtime:
what it does is fetch and check both by the instance's role, and hand over. The modules that it
needs come with it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.machinery
import json
import os
import sys
import time
import urllib.error
import urllib.request
import zlib
from email.utils import parsedate_to_datetime

from ..aws.credentials import Role
from ..aws.endpoints import bucket_url, encode
from ..aws.sigv4 import sign
from ..system.decrypt import unseal
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Callable, Mapping, TypedDict, TypeVar

    from ..system.documents import RunSpec, SyncSpecLimits

    T = TypeVar("T")

    class BootObject(TypedDict):
        """Where `boot.json` lies. `encryptionKey`: base64."""

        bucket: str
        region: str
        endpoint: str | None
        pathStyle: bool
        owner: str | None
        objectKey: str
        sha256: str
        encryptionKey: str

    class BootFleet(TypedDict):
        """`template`: the name of the launch template."""

        region: str
        endpoint: str | None
        template: str

    class BootDocument(TypedDict):
        """`boot.json`: what an instance starts its run from. `runtime`: its SHA-256."""

        runtime: str
        root: str | None
        user: str | None
        tree: str
        snapshot: str
        limits: SyncSpecLimits
        fleet: BootFleet
        run: RunSpec

    class Finish(TypedDict):
        success: float | None
        failure: float | None

    class WatchdogConfig(TypedDict):
        """The shutdown rules of an instance. In seconds; `deadline`: ms since the epoch."""

        root: str | None
        lifetime: float
        because: str
        deadline: float | None
        idle: float | None
        start: float | None
        finish: Finish | None
        boot: BootObject | None


PACKAGE = "nx_ec2_runtime"
# The pause after a failure: the first one, and the longest, as it doubles.
FIRST_RETRY_S, MAX_RETRY_S = 1, 60
# The largest object, as it is stored and inflated.
MAX_STORED_BYTES = 64 * 1024 * 1024
MAX_TEXT_BYTES = 256 * 1024 * 1024
TIMEOUT_S = 30


def start(config: WatchdogConfig, log: Callable[[str], object] = print) -> None:
    """Keeps the run active as long as it should be; returns when it needs this instance no
    more. In a process of its own.
    """
    retry_forever(lambda: load(config, log).run_to_completion(), log)


def finish(config: WatchdogConfig, log: Callable[[str], object] = print) -> None:
    """Ends the run and deletes its fleet, before the instance shuts down by itself. Runs in a
    process of its own, which may be killed.
    """
    retry_forever(lambda: load(config, log).close(), log)


def retry_forever(
    work: Callable[[], T],
    log: Callable[[str], object],
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Calls `work` until it succeeds: at boot, the network or the credentials may be missing at
    first.
    """
    pause, said = FIRST_RETRY_S, None
    while True:
        try:
            return work()
        except Exception as error:
            text = str(error) or repr(error)
            if text != said:
                log("the run can not be seen to yet: %s" % text)
            said = text
        sleep(pause)
        pause = min(MAX_RETRY_S, pause * 2)


def load(config: WatchdogConfig, log: Callable[[str], object] = print) -> Any:
    """The runtime's Fleet for the boot object that the configuration names, all of it checked.
    Takes the place of the modules that came with the user data.
    """
    boot_object = config["boot"]
    assert boot_object
    name, source = boot_object["objectKey"], Source(boot_object)
    data = source.get(name)
    if hash_of(data) != boot_object["sha256"]:
        raise Failure("PLAN_MISMATCH", "%s is not what the user data names" % name)
    if boot_object.get("encryptionKey"):
        unsealed = unseal(data, base64.b64decode(boot_object["encryptionKey"]))
        if unsealed is None:
            raise Failure("PLAN_MISMATCH", "%s is not sealed with the key of the user data" % name)
        data = inflate(unsealed, MAX_TEXT_BYTES)
    boot = json.loads(data)
    root = boot["root"] or config.get("root") or os.environ.get("NX_EC2_ROOT") or "/var/lib/nx-ec2"
    runtime = runtime_of(boot, root, source)
    modules = json.loads(inflate(runtime, MAX_STORED_BYTES))["modules"]
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    sys.meta_path[:] = [Modules(modules)] + [
        each for each in sys.meta_path if not isinstance(each, Modules)
    ]
    prepare = importlib.import_module(PACKAGE + ".system.root_directory").prepare
    root = prepare(root, (boot["runtime"], runtime))
    opener = importlib.import_module(PACKAGE + ".fleet.open_fleet")
    return opener.open_fleet(boot, config, root, log=log)


def runtime_of(boot: BootDocument, root: str, source: Source) -> bytes:
    """The runtime's bytes, kept below the root or fetched."""
    kept = os.path.join(root, "runtime", boot["runtime"])
    try:
        # Nothing says yet that only root can write there.
        with open(os.open(kept, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            data = file.read(MAX_STORED_BYTES) or b""
        if hash_of(data) == boot["runtime"]:
            return data
    except OSError:
        pass
    directory = source.boot_object["objectKey"].rpartition("/")[0]
    data = source.get(directory + "/" + boot["runtime"])
    if hash_of(data) != boot["runtime"]:
        raise Failure("RUNTIME_MISMATCH", "the runtime in the store is not what boot.json names")
    return data


def inflate(data: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(data, limit)
    if not unpacker.eof:
        raise ValueError("it is cut short, or holds more than %d inflated bytes" % limit)
    return data


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Source:
    """A bucket, read by the instance's role."""

    ahead = 0.0

    def __init__(self, boot_object: BootObject) -> None:
        self.boot_object, self.role = boot_object, Role()
        self.url = bucket_url(
            boot_object["bucket"],
            boot_object["region"],
            endpoint=boot_object["endpoint"],
            path_style=boot_object["pathStyle"],
        )

    def get(self, key: str) -> bytes:
        url = self.url + encode(key, "/")
        owner = self.boot_object["owner"]
        headers = sign(
            self.role.credentials(),
            service="s3",
            region=self.boot_object["region"],
            method="GET",
            url=url,
            headers={"x-amz-expected-bucket-owner": owner} if owner else {},
            digest=hash_of(b""),
            now=time.time() + Source.ahead,
        )
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
            ) as answer:
                data = answer.read(MAX_STORED_BYTES + 1)
        except urllib.error.HTTPError as error:
            self.learn(error.headers.get("Date"))
            aws = error.read(2000).decode("utf-8", "replace")
            raise Failure(
                "FETCH_FAILED",
                "%s could not be fetched: HTTP %d: %s" % (key, error.code, aws),
                status=error.code,
                aws=aws,
            )
        if len(data) > MAX_STORED_BYTES:
            raise Failure("LIMIT", "%s is larger than %d bytes" % (key, MAX_STORED_BYTES))
        return data

    def learn(self, date: str | None) -> None:
        """A clock that is not set yet signs what nobody believes."""
        try:
            Source.ahead = parsedate_to_datetime(date or "").timestamp() - time.time()
        except (TypeError, ValueError):
            pass


class Modules:
    """Imports the runtime's modules from its verified bytes."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.modules = {
            (PACKAGE + "/" + path)[:-3].replace("/__init__", "").replace("/", "."): source
            for path, source in modules.items()
        }
        self.packages = {name.rpartition(".")[0] for name in self.modules} | {PACKAGE}

    def find_spec(
        self, name: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name in self.modules:
            loader: Any = self
            return importlib.machinery.ModuleSpec(name, loader, is_package=name in self.packages)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def get_source(self, name: str) -> str:
        return self.modules[name]

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.modules[module.__name__], module.__name__, "exec"), module.__dict__)
