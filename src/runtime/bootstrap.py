import sys

if sys.version_info < (3, 8):
    sys.exit(88)
import marshal
import os
import zlib
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER
from binascii import a2b_base64

MAX_RUNTIME_BYTES = 256 * 1024 * 1024


def reply(text, code):
    print("NX-EC2 " + text, flush=True)
    sys.stderr.flush()
    # To take the interpreter down in order takes as long as to compare 1,000 files.
    os._exit(code)


def fail(code, message, **detail):
    import json

    error = {"code": code, "message": message, "detail": detail}
    reply(json.dumps({"v": 1, "ok": False, "error": error}, separators=(",", ":")), 1)


def fetch(what, url):
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            data = answer.read(MAX_RUNTIME_BYTES + 1)
            if len(data) > MAX_RUNTIME_BYTES:
                raise ValueError("it has more than %d bytes" % MAX_RUNTIME_BYTES)
            return data
    except urllib.error.HTTPError as error:
        fail(
            "FETCH_FAILED",
            "the %s could not be fetched: HTTP %d" % (what, error.code),
            what=what,
            status=error.code,
            aws=error.read(2000).decode("utf-8", "replace"),
        )
    except Exception as error:
        fail("FETCH_FAILED", "the %s could not be fetched: %s" % (what, error), what=what, status=0)


def inflate(data):
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(data, MAX_RUNTIME_BYTES)
    if not unpacker.eof:
        raise ValueError("it is cut short, or has more than %d inflated bytes" % MAX_RUNTIME_BYTES)
    return data


def sha256(data):
    # OpenSSL, which hashlib loads, takes longer to load than this.
    try:
        if sys.version_info < (3, 12):
            from _sha256 import sha256 as digest
        else:
            from _sha2 import sha256 as digest
    except ImportError:
        from hashlib import sha256 as digest
    return digest(data).hexdigest()


class Options:
    strict, parse_float, parse_int, parse_constant = True, float, int, float
    object_hook = object_pairs_hook = None


def parse(data):
    # json takes long to import.
    try:
        from _json import make_scanner

        text = data.decode()
        value, end = make_scanner(Options)(text, 0)
        if end == len(text):
            return value
    except Exception:
        pass
    import json

    return json.loads(data)


def unseal(sealed, key):
    """What was sealed with the key; None where it was not, or was changed since."""
    import hmac

    def derive(purpose):
        return hmac.digest(key, b"nx-ec2 seal 1 " + purpose, "sha256")

    cipher, code = sealed[:-32], sealed[-32:]
    if (
        cipher[:4] != b"NXS1"
        or len(cipher) < 20
        or not hmac.compare_digest(hmac.digest(derive(b"authenticate"), cipher, "sha256"), code)
    ):
        return None
    nonce, data, key = cipher[4:20], cipher[20:], derive(b"encrypt")
    stream = b"".join(
        hmac.digest(key, nonce + block.to_bytes(8, "big"), "sha256")
        for block in range((len(data) + 31) // 32)
    )
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream[: len(data)], "big")).to_bytes(
        len(data), "big"
    )


def read(path):
    # A named pipe that somebody put there must not hold us up.
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        return file.read(MAX_RUNTIME_BYTES) or b""


def is_roots_alone(path, root):
    """Whether nobody but root, or the user that we are, can exchange or write to a file. Links are
    refused too: their mode is 777.
    """
    while True:
        status = os.lstat(path)
        # In a directory with the sticky bit others can create names, and rename none of ours.
        sticky = status.st_mode & 0o1000 and len(path) < len(root)
        if status.st_uid not in (0, os.geteuid()) or (status.st_mode & 0o022 and not sticky):
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def read_compiled(root, runtime, name):
    """(all bytes, where in them the code of each module is) of the compiled code that the command
    names: docs/reference/formats.md, "Compiled code". No module where it may not be used.
    """
    try:
        root = os.path.realpath(root)
        path = os.path.join(root, "runtime", name + ".code")
        data = read(path)
        size = 8 + int.from_bytes(data[:8], "big")
        index = data[8:size]
        if sha256(index) == name and is_roots_alone(path, root):
            of, python, modules = marshal.loads(index)
            if of == runtime and python == (MAGIC_NUMBER, sys.version):
                return data[size:], modules
    except Exception:
        pass
    return b"", {}


class Modules:
    """Imports the runtime: from compiled code where there is some, else from its source."""

    def __init__(self, runtime, data=b"", modules=None):
        self.runtime, self.data, self.sources = runtime, data, None
        self.modules = modules or dict.fromkeys(self.read_sources())
        self.packages = {name.rpartition(".")[0] for name in self.modules} | {"nx_ec2_runtime"}
        self.compiled = {}

    def read_sources(self):
        if self.sources is None:
            self.sources = {
                ("nx_ec2_runtime/" + path)[:-3].replace("/__init__", "").replace("/", "."): source
                for path, source in parse(inflate(self.runtime))["modules"].items()
            }
        return self.sources

    def find_spec(self, name, path, target=None):
        if name in self.modules:
            return ModuleSpec(name, self, is_package=name in self.packages)

    def create_module(self, spec):
        return None

    def get_source(self, name):
        return self.read_sources()[name]

    def read_code(self, name):
        """The marshalled code of a module; None where there is none that is whole."""
        if self.modules[name]:
            begin, end, digest = self.modules[name]
            if sha256(self.data[begin:end]) == digest:
                return self.data[begin:end]

    def exec_module(self, module):
        name = module.__name__
        data = self.read_code(name)
        if data is None:
            code = self.compiled[name] = compile(self.get_source(name), name, "exec")
        else:
            code = marshal.loads(data)
        exec(code, module.__dict__)


os.umask(0o022)
request = parse(a2b_base64(sys.stdin.readline()))
awaited = request.get("await")
if awaited:
    plan = b"{}"
elif "plan" in request:
    plan = inflate(a2b_base64(request["plan"]))
else:
    plan = fetch("plan", request["fetch"]["url"])
    if sha256(plan) != request["fetch"]["sha256"]:
        fail("PLAN_MISMATCH", "the plan is not what the command names")
    if "encryptionKey" in request["fetch"]:
        plan = unseal(plan, a2b_base64(request["fetch"]["encryptionKey"]))
        if plan is None:
            fail("PLAN_MISMATCH", "the plan is not sealed with the key that the command names")
        plan = inflate(plan)
plan = parse(plan)
plan["signingKey"] = request.get("signingKey")
root = (awaited or plan).get("root") or os.environ.get("NX_EC2_ROOT") or "/var/lib/nx-ec2"
kept, fetched = os.path.join(root, "runtime", request["runtime"]), None
try:
    # Nothing says yet that only root can write there.
    runtime = read(kept)
except OSError:
    runtime = b""
if sha256(runtime) != request["runtime"]:
    place = (awaited or plan).get("runtime")
    if not place:
        fail("NO_PLAN", "the runtime is not on the instance")
    runtime = fetch("runtime", place["url"])
    if sha256(runtime) != request["runtime"]:
        fail("RUNTIME_MISMATCH", "the runtime in the store is not what the command names")
    fetched = runtime
try:
    named = request.get("compiled")
    modules = Modules(runtime, *(read_compiled(root, request["runtime"], named) if named else ()))
    sys.meta_path.insert(0, modules)
    from nx_ec2_runtime.main import (  # pyright: ignore[reportMissingImports]
        run,
        run_awaited,
    )
    from nx_ec2_runtime.system.plain_json import dumps  # pyright: ignore[reportMissingImports]

    fetched = fetched and (request["runtime"], fetched)
    if awaited:
        result = run_awaited(awaited, request["runtime"], root, runtime=fetched)
    else:
        result = run(plan, root, fetched)
    if "compiled" in request and modules.compiled and result["ok"]:
        from nx_ec2_runtime.system import compiled_code  # pyright: ignore[reportMissingImports]

        result["compiled"] = compiled_code.keep(modules, request["runtime"], root)
    text = dumps(result)
except Exception:
    import traceback

    fail("INTERNAL", "the runtime failed", trace=traceback.format_exc()[-4000:])
reply(text, 0 if result["ok"] else 1)
