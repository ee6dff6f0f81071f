"""The loader in the user data: it verifies objects by hash, retries, and starts the runtime."""

import base64
import hashlib
import hmac
import json
import os
import shutil
import sys
import tempfile
import unittest
import zlib
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.aws import credentials, presign
from nx_ec2_runtime.fleet import boot_loader
from nx_ec2_runtime.system import errors
from nx_ec2_runtime.system.errors import Failure

BESIDE = "some/v2/projects/p/run/20260101-000000-p-aaaaaa/boot/"
KEY = BESIDE + "b" * 64
FLEET = """
import json, os
class open_fleet:
    def __init__(self, boot, config, root, *, log):
        self.path = os.path.join(root, "told")
    def run_to_completion(self):
        self.tell("attended")
    def close(self):
        self.tell("closed")
    def tell(self, text):
        with open(self.path, "a") as file:
            file.write(text + " ")
"""


SYSTEM = ("__init__", "errors", "atomic_files", "root_directory")


def source_of(name):
    with open(os.path.join(os.path.dirname(errors.__file__), name + ".py")) as file:
        return file.read()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def sealed(data, key):
    """docs/reference/formats.md, "Sealed plans", once more."""
    derive = lambda text: hmac.digest(key, b"nx-ec2 seal 1 " + text, "sha256")  # noqa: E731
    nonce, stream, block = os.urandom(16), b"", 0
    while len(stream) < len(data):
        stream += hmac.digest(derive(b"encrypt"), nonce + block.to_bytes(8, "big"), "sha256")
        block += 1
    cipher = b"NXS1" + nonce + bytes(a ^ b for a, b in zip(data, stream))
    return cipher + hmac.digest(derive(b"authenticate"), cipher, "sha256")


class BootTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        # The package's own modules are loaded again afterwards.
        modules = mock.patch.dict(sys.modules)
        modules.start()
        self.addCleanup(modules.stop)
        self.addCleanup(sys.meta_path.__setitem__, slice(None), list(sys.meta_path))
        self.runtime = zlib.compress(
            json.dumps({
                "format": 1,
                "modules": {
                    "__init__.py": "",
                    "fleet/__init__.py": "",
                    "fleet/open_fleet.py": FLEET,
                    **{"system/%s.py" % name: source_of(name) for name in SYSTEM},
                },
            }).encode()
        )
        self.objects = {BESIDE + sha256(self.runtime): self.runtime}
        self.asked = []
        patch = mock.patch.object(boot_loader.Source, "get", lambda source, key: self.get(key))
        patch.start()
        self.addCleanup(patch.stop)

    def get(self, key):
        self.asked.append(key)
        if key not in self.objects:
            raise Failure("FETCH_FAILED", "HTTP 403", status=403)
        return self.objects[key]

    def config(self, seal=None, **more):
        data = json.dumps(
            dict({"v": 1, "runtime": sha256(self.runtime), "root": self.root}, **more)
        ).encode()
        data = sealed(zlib.compress(data), seal) if seal else data
        self.objects[KEY] = data
        place = {
            "bucket": "b",
            "region": "eu-west-1",
            "endpoint": None,
            "pathStyle": False,
            "owner": None,
            "objectKey": KEY,
            "sha256": sha256(data),
        }
        return {
            "root": None,
            "boot": dict(place, encryptionKey=base64.b64encode(seal).decode() if seal else None),
        }

    def told(self):
        with open(os.path.join(self.root, "told")) as file:
            return file.read().split()

    def refused(self, config):
        with self.assertRaises(Failure) as raised:
            boot_loader.load(config)
        return raised.exception.code

    def test_fetches_the_boot_object_and_starts_the_run(self):
        boot_loader.start(self.config())
        self.assertEqual(self.told(), ["attended"])
        boot_loader.start(self.config(os.urandom(32)))
        # The runtime is kept.
        self.assertEqual(self.asked, [KEY, BESIDE + sha256(self.runtime), KEY])

    def test_finishes_the_run_of_its_boot_object(self):
        boot_loader.finish(self.config())
        self.assertEqual(self.told(), ["closed"])

    def test_refuses_objects_whose_hash_differs(self):
        config = self.config()
        self.objects[KEY] += b" "
        self.assertEqual(self.refused(config), "PLAN_MISMATCH")
        config = self.config(os.urandom(32))
        config["boot"]["encryptionKey"] = base64.b64encode(os.urandom(32)).decode()
        self.assertEqual(self.refused(config), "PLAN_MISMATCH")
        self.objects[BESIDE + sha256(self.runtime)] = self.runtime + b" "
        self.assertEqual(self.refused(self.config()), "RUNTIME_MISMATCH")

    def test_refuses_an_object_that_inflates_beyond_the_limit(self):
        with mock.patch.object(boot_loader, "MAX_TEXT_BYTES", 1 << 20), self.assertRaises(
            ValueError
        ) as raised:
            boot_loader.load(self.config(os.urandom(32), padding=" " * (2 << 20)))
        self.assertIn("1048576 inflated bytes", str(raised.exception))

    def test_a_cached_runtime_is_verified_too(self):
        os.mkdir(os.path.join(self.root, "runtime"))
        path = os.path.join(self.root, "runtime", sha256(self.runtime))
        with open(path, "wb") as file:
            file.write(self.runtime[:10])
        boot_loader.start(self.config())
        with open(path, "rb") as file:
            self.assertEqual(file.read(), self.runtime)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_waits_for_an_object_that_does_not_exist_yet(self):
        said, slept = [], []

        def work():
            if len(slept) < 9:
                raise Failure("NO_ROLE", "no role yet")
            return "done"

        self.assertEqual(boot_loader.retry_forever(work, said.append, slept.append), "done")
        self.assertEqual((len(said), slept), (1, [1, 2, 4, 8, 16, 32, 60, 60, 60]))


class PresignTest(unittest.TestCase):
    NOW = 1369353600
    KEYS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")

    def sign(self, region, url, token=None, more=()):
        role = credentials.Credentials(
            key=self.KEYS[0], secret=self.KEYS[1], token=token, expires=0
        )
        return presign.presign(role, region, url=url, seconds=86400, now=self.NOW, more=more)

    def test_signs_as_the_published_example(self):
        # AWS's page on signing by query parameters.
        url = self.sign("us-east-1", "https://examplebucket.s3.amazonaws.com/test.txt")
        self.assertEqual(
            url.rpartition("=")[2],
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        )

    def test_signs_a_roles_url_as_botocore_does(self):
        # Of botocore's S3SigV4QueryAuth.
        url = self.sign(
            "eu-west-1",
            "https://bucket.s3.eu-west-1.amazonaws.com/pre%20fix/v1/p%2540x/m/a~b-c_d.e",
            "to/ken+==",
        )
        self.assertEqual(
            url.rpartition("=")[2],
            "dec7d0938e8922a87aa74b2f2121bc55f6ad213a6192e5243d3d34cde686c605",
        )
        self.assertIn("X-Amz-Security-Token=to%2Fken%2B%3D%3D&", url)


if __name__ == "__main__":
    unittest.main()
