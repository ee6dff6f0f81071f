import sys

if sys.version_info < (3, 8):
    sys.exit(88)
import base64
import hashlib
import hmac
import importlib.machinery
import json
import os
import zlib

MAX_RUNTIME_BYTES = 256 * 1024 * 1024


def reply(value):
    print("NX-EC2 " + json.dumps(value, ensure_ascii=True, separators=(",", ":")), flush=True)
    sys.exit(0 if value["ok"] else 1)


def fail(code, message, **detail):
    reply({"v": 1, "ok": False, "error": {"code": code, "message": message, "detail": detail}})


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
    return hashlib.sha256(data).hexdigest()


def unseal(sealed, key):
    """What was sealed with the key; None where it was not, or was changed since."""

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


class Modules:
    def __init__(self, modules):
        self.modules = {
            ("nx_ec2_runtime/" + path)[:-3].replace("/__init__", "").replace("/", "."): source
            for path, source in modules.items()
        }
        self.packages = {name.rpartition(".")[0] for name in self.modules} | {"nx_ec2_runtime"}

    def find_spec(self, name, path, target=None):
        if name in self.modules:
            return importlib.machinery.ModuleSpec(name, self, is_package=name in self.packages)

    def create_module(self, spec):
        return None

    def get_source(self, name):
        return self.modules[name]

    def exec_module(self, module):
        exec(compile(self.modules[module.__name__], module.__name__, "exec"), module.__dict__)


os.umask(0o022)
request = json.loads(base64.b64decode(sys.stdin.readline()))
if "plan" in request:
    plan = inflate(base64.b64decode(request["plan"]))
else:
    plan = fetch("plan", request["fetch"]["url"])
    if sha256(plan) != request["fetch"]["sha256"]:
        fail("PLAN_MISMATCH", "the plan is not what the command names")
    if "encryptionKey" in request["fetch"]:
        plan = unseal(plan, base64.b64decode(request["fetch"]["encryptionKey"]))
        if plan is None:
            fail("PLAN_MISMATCH", "the plan is not sealed with the key that the command names")
        plan = inflate(plan)
plan = json.loads(plan)
plan["signingKey"] = request.get("signingKey")
root = plan.get("root") or os.environ.get("NX_EC2_ROOT") or "/var/lib/nx-ec2"
kept, fetched = os.path.join(root, "runtime", request["runtime"]), None
try:
    # Nothing says yet that only root can write there.
    with open(kept, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        runtime = file.read(MAX_RUNTIME_BYTES) or b""
except OSError:
    runtime = b""
if sha256(runtime) != request["runtime"]:
    runtime = fetch("runtime", plan["runtime"]["url"])
    if sha256(runtime) != request["runtime"]:
        fail("RUNTIME_MISMATCH", "the runtime in the store is not what the command names")
    fetched = runtime
try:
    sys.meta_path.insert(0, Modules(json.loads(inflate(runtime))["modules"]))
    from nx_ec2_runtime.main import run  # pyright: ignore[reportMissingImports]

    result = run(plan, root, fetched and (request["runtime"], fetched))
except Exception:
    import traceback

    fail("INTERNAL", "the runtime failed", trace=traceback.format_exc()[-4000:])
reply(result)
