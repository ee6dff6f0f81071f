"""uv is fetched as a wheel from the package indexes, verified, and only then run."""

import functools
import hashlib
import http.server
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zipfile
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401  (puts the runtime on the path)
from workspace import write

from nx_ec2_runtime import doctor
from nx_ec2_runtime.python_env import pip_settings, tools, uv_pip, uv_tool
from nx_ec2_runtime.system import account as accounts

NAME = "uv-%s-py3-none-any.whl" % uv_tool.VERSION
NONE = {"index": [], "trusted": [], "hashed": False, "pre": False, "foreign": None}


class Stop(Exception):
    pass


class Index(http.server.SimpleHTTPRequestHandler):
    asked = []

    def do_GET(self):
        Index.asked.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/private") and not self.headers.get("Authorization"):
            self.send_error(401)
        elif self.path.startswith("/slow"):
            time.sleep(30)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


class FetchTest(unittest.TestCase):
    def setUp(self):
        self.root = os.path.realpath(tempfile.mkdtemp())
        os.chmod(self.root, 0o755)
        self.addCleanup(shutil.rmtree, self.root, True)
        self.index = os.path.join(self.root, "simple")
        os.makedirs(os.path.join(self.index, "uv"))
        with zipfile.ZipFile(os.path.join(self.index, "uv", NAME), "w") as archive:
            for program in uv_tool.PROGRAMS:
                archive.writestr(
                    "uv-%s.data/scripts/%s" % (uv_tool.VERSION, program),
                    "#!/bin/sh\necho the %s\n" % program,
                )
        write(
            self.index,
            {
                "uv/index.html": '<a href="other.whl">other</a> <A data-x="1" HREF="%s#sha256=x">uv</a>'
                % NAME
            },
        )
        with open(os.path.join(self.index, "uv", NAME), "rb") as file:
            self.sha256 = hashlib.sha256(file.read()).hexdigest()
        self.variables = {"PIP_CONFIG_FILE": os.devnull, "HOME": self.root, "PATH": "/usr/bin:/bin"}
        self.said = []

    def ensure(self, sha256=None, indexes=(), pause=time.sleep, account=None, **variables):
        with mock.patch.object(uv_tool, "wheel", lambda: (NAME, sha256 or self.sha256)):
            return uv_tool.ensure(
                self.root,
                dict(self.variables, **variables),
                account=account or pwd.getpwuid(os.geteuid()),
                indexes=indexes,
                say=self.said.append,
                pause=pause,
            )

    def serve(self):
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Index, directory=self.root)
        )
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        Index.asked = []
        return "127.0.0.1:%d" % server.server_port

    def check(self, directory):
        for program in uv_tool.PROGRAMS:
            self.assertEqual(
                subprocess.check_output([os.path.join(directory, program)]),
                b"the %s\n" % program.encode(),
            )
        self.assertEqual(
            os.listdir(os.path.join(self.root, "tools")), [os.path.basename(directory)]
        )

    def test_uv_is_fetched_from_an_index_and_kept(self):
        directory = self.ensure(PIP_INDEX_URL="file://" + self.index)
        self.check(directory)
        shutil.rmtree(self.index)
        self.assertEqual(self.ensure(PIP_INDEX_URL="file://" + self.index), directory)
        self.assertEqual(len(self.said), 1)
        self.assertIn("uv %s from file://" % uv_tool.VERSION, self.said[0])

    def test_uv_is_fetched_from_the_indexes_of_the_project(self):
        place = "file://" + self.index
        links = os.path.join(self.index, "uv")
        write(
            self.root,
            {
                "pip.conf": "[install]\nindex-url = %s\n" % place,
                "home/.config/pip/pip.conf": "[global]\nfind-links = %s\n" % links,
            },
        )
        for variables in (
            {"UV_DEFAULT_INDEX": place},
            {"UV_INDEX_URL": place + "/"},
            {"PIP_CONFIG_FILE": os.path.join(self.root, "pip.conf")},
            {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": links},
            {"PIP_INDEX_URL": "file:///absent", "PIP_FIND_LINKS": "/absent file://" + links},
            {
                "PIP_CONFIG_FILE": "",
                "HOME": os.path.join(self.root, "home"),
                "PIP_NO_INDEX": "true",
            },
        ):
            self.check(self.ensure(**variables))
            shutil.rmtree(os.path.join(self.root, "tools"))
        self.check(self.ensure(indexes=[place], UV_DEFAULT_INDEX="file:///absent"))

    def test_the_public_index_is_used_only_if_no_other_is_configured(self):
        self.assertEqual(uv_tool.places(self.variables, []), ([uv_tool.PUBLIC_INDEX], []))
        self.assertEqual(
            uv_tool.places(self.variables, ["https://own/simple"]), (["https://own/simple"], [])
        )
        self.assertEqual(
            uv_tool.places(dict(self.variables, PIP_INDEX_URL="https://own"), []),
            (["https://own"], []),
        )
        self.assertEqual(
            uv_tool.places(dict(self.variables, PIP_NO_INDEX="1", PIP_FIND_LINKS="a b"), []),
            ([], ["a", "b"]),
        )

    def test_credentials_of_the_url_and_of_netrc_are_sent_and_never_logged(self):
        host = self.serve()
        os.symlink("simple", os.path.join(self.root, "private"))
        self.check(self.ensure(PIP_INDEX_URL="http://me:s%2Fcret@" + host + "/private"))
        self.assertEqual({login for _, login in Index.asked}, {"Basic bWU6cy9jcmV0"})
        shutil.rmtree(os.path.join(self.root, "tools"))
        write(self.root, {".netrc": "machine 127.0.0.1 login me password s/cret\n"})
        os.chmod(os.path.join(self.root, ".netrc"), 0o600)
        self.check(self.ensure(PIP_INDEX_URL="http://" + host + "/private"))
        shutil.rmtree(os.path.join(self.root, "tools"))
        with self.assertRaises(uv_tool.Unavailable) as raised:
            self.ensure(PIP_INDEX_URL="http://me:s%2Fcret@" + host + "/absent")
        self.assertIn("http://%s/absent" % host, str(raised.exception))
        self.assertNotIn("cret", str(raised.exception) + "".join(self.said))

    def test_a_wheel_with_another_hash_is_refused_and_removed(self):
        with self.assertRaisesRegex(uv_tool.Unavailable, "does not have the SHA-256 00"):
            self.ensure(sha256="0" * 64, PIP_INDEX_URL="file://" + self.index)
        self.assertEqual(os.listdir(os.path.join(self.root, "tools")), [])

    def test_an_index_without_uv_is_reported(self):
        with self.assertRaisesRegex(uv_tool.Unavailable, "file:///absent"):
            self.ensure(PIP_INDEX_URL="file:///absent")
        os.unlink(os.path.join(self.index, "uv", NAME))
        write(self.index, {"uv/index.html": "<a href='other.whl'>other</a>"})
        with self.assertRaisesRegex(uv_tool.Unavailable, "simple does not have uv-"):
            self.ensure(PIP_INDEX_URL="file://" + self.index)

    def test_a_stop_ends_the_fetch_at_once(self):
        host, began = self.serve(), time.monotonic()

        def pause(seconds):
            if Index.asked:
                raise Stop()
            time.sleep(seconds)

        with self.assertRaises(Stop):
            self.ensure(PIP_INDEX_URL="http://" + host + "/slow", pause=pause)
        self.assertLess(time.monotonic() - began, 25)
        self.assertEqual(os.listdir(os.path.join(self.root, "tools")), [])

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_uv_is_fetched_as_the_training_user_and_belongs_to_root(self):
        try:
            account = pwd.getpwnam("nobody")
        except KeyError:
            self.skipTest("there is no user nobody")
        os.mkdir(os.path.join(self.index, "secret"), 0o700)
        directory = self.ensure(account=account, PIP_INDEX_URL="file://" + self.index)
        self.check(directory)
        for at in (directory, os.path.join(directory, "uv")):
            self.assertEqual((os.stat(at).st_uid, os.stat(at).st_mode & 0o777), (0, 0o755))
        shutil.rmtree(directory)
        os.rename(os.path.join(self.index, "uv"), os.path.join(self.index, "secret", "uv"))
        with self.assertRaisesRegex(uv_tool.Unavailable, "Permission denied"):
            self.ensure(
                account=account, PIP_INDEX_URL="file://" + os.path.join(self.index, "secret")
            )

    def test_the_doctor_tells_whether_the_project_s_tool_is_there_or_can_be_fetched(self):
        def check(part, **variables):
            said = []
            with mock.patch.object(uv_tool, "wheel", lambda: (NAME, self.sha256)):
                doctor.check_environment(
                    part,
                    self.root,
                    account=pwd.getpwuid(os.geteuid()),
                    variables=dict(self.variables, **variables),
                    add=lambda *each, **_: said.append(each[:2]),
                )
            return said

        def of(manager, installer="auto", locked=True, packageIndex=None, packageIndexes=()):
            return {
                "manager": manager,
                "installer": installer,
                "locked": locked,
                "packageIndex": packageIndex,
                "packageIndexes": list(packageIndexes),
            }

        absent = {"PIP_INDEX_URL": "file:///absent"}
        for part, expected in (
            (None, []),
            (of("none"), []),
            (of("pip", "pip"), []),
            (of("conda"), [("the project's conda", False)]),
            (of("poetry"), [("the project's uv", False)]),
            (of("poetry", locked=False), [("the project's poetry", False)]),
            (of("uv"), [("the project's uv", False)]),
            (of("pip"), [("the project's uv", None)]),
            (of("pip", "uv"), [("the project's uv", False)]),
            (of("uv", packageIndex="file://" + self.index), [("the project's uv", True)]),
            (
                of("pip", "uv", packageIndexes=["file://" + self.index]),
                [("the project's uv", True)],
            ),
        ):
            self.assertEqual(check(part, PATH="/absent", **absent), expected, part)
        write(self.root, {"bin/conda": ""})
        os.chmod(os.path.join(self.root, "bin/conda"), 0o755)
        self.assertEqual(
            check(of("conda"), PATH=os.path.join(self.root, "bin")), [("the project's conda", True)]
        )
        self.assertEqual(
            check(of("uv"), PATH="/absent", PIP_INDEX_URL="file://" + self.index),
            [("the project's uv", True)],
        )

    def test_a_training_asks_for_its_tool_and_the_free_space_before_its_files_are_sent(self):
        def ask(**part):
            environment = dict(
                {
                    "manager": "uv",
                    "installer": "auto",
                    "locked": True,
                    "packageIndex": None,
                    "packageIndexes": [],
                },
                **part,
            )
            with mock.patch.object(
                accounts,
                "login_environment",
                lambda _: dict(self.variables, PATH="/absent", PIP_INDEX_URL="file:///absent"),
            ):
                with mock.patch.object(uv_tool, "wheel", lambda: (NAME, self.sha256)):
                    return tools.ready({"environment": environment}, self.root)

        self.assertEqual(ask()["missing"]["tool"], "uv")
        self.assertRegex(
            ask()["missing"]["why"],
            "^not on the PATH of .*, and can't be fetched: file:///absent: .*No such file",
        )
        self.assertIn("astral.sh/uv/install.sh", ask()["missing"]["fix"])
        self.assertEqual([ask(manager=each)["missing"] for each in ("pip", "none")], [None, None])
        # An index of a requirements file is where a set-up finds uv; one among the files that are
        # sent later can't be asked.
        by_uv = {"manager": "pip", "installer": "uv"}
        self.assertRegex(
            ask(packageIndexes=["http://127.0.0.1:9/simple"], **by_uv)["missing"]["why"],
            "http://127.0.0.1:9/simple: ",
        )
        self.assertIsNone(ask(packageIndexes=["./wheels"], **by_uv)["missing"])
        self.assertFalse(
            os.path.exists(
                os.path.join(self.root, "tools", "uv-%s-%s" % (uv_tool.VERSION, self.sha256[:16]))
            )
        )
        self.assertIsNone(ask(packageIndex="file://" + self.index)["missing"])
        self.assertGreater(ask()["free"], 0)

    def test_each_machine_has_a_pinned_wheel(self):
        for machine, libc, tag in (
            ("x86_64", "glibc", "manylinux_2_17_x86_64"),
            ("x86_64", "", "musllinux_1_1_x86_64"),
            ("aarch64", "", "musllinux_1_1_aarch64"),
            ("aarch64", "glibc", "manylinux_2_17_aarch64"),
        ):
            with mock.patch("platform.machine", lambda: machine), mock.patch(
                "platform.libc_ver", lambda: (libc, "")
            ), mock.patch("platform.system", lambda: "Linux"):
                name, sha256 = uv_tool.wheel()
            self.assertRegex(
                name, r"^uv-%s-py3-none-.*%s" % (uv_tool.VERSION.replace(".", r"\."), tag)
            )
            self.assertRegex(sha256, "^[0-9a-f]{64}$")
        with mock.patch("platform.machine", lambda: "riscv64"), self.assertRaisesRegex(
            uv_tool.Unavailable, "riscv64"
        ):
            uv_tool.wheel()


class DriverTest(unittest.TestCase):
    def test_gpus_without_a_driver_are_found(self):
        with tempfile.TemporaryDirectory() as at:
            write(
                at,
                {
                    "0/vendor": "0x10de\n",
                    "0/class": "0x030200\n",
                    "1/vendor": "0x10de\n",
                    "1/class": "0x040300\n",
                    "2/vendor": "0x1d0f\n",
                    "2/class": "0x030000\n",
                    "3/class": "",
                },
            )
            said = []
            for has_driver in (True, False):
                doctor.check_driver(has_driver, lambda *each, **_: said.append(each[:3]), at)
            self.assertEqual(
                said,
                [
                    ("NVIDIA driver", True, "1 GPU of NVIDIA"),
                    ("NVIDIA driver", False, "1 GPU of NVIDIA, and no nvidia-smi"),
                ],
            )
            shutil.rmtree(os.path.join(at, "0"))
            doctor.check_driver(False, self.fail, at)


class SettingsTest(unittest.TestCase):
    def test_files_and_variables_override_each_other_as_in_pip(self):
        with tempfile.TemporaryDirectory() as home:
            write(
                home,
                {
                    ".pip/pip.conf": "[global]\nindex-url = a\ntimeout = 1\n[install]\nindex_url = b\n",
                    ".config/pip/pip.conf": "[global]\nindex-url = c\nextra-index-url =\n    d\n    e\n[list]\npre = 1\n",
                    "own": "[global]\ntimeout = 2\n",
                },
            )
            read = pip_settings.read({
                "HOME": home,
                "PIP_CONFIG_FILE": os.path.join(home, "own"),
                "XDG_CONFIG_DIRS": home,
                "PIP_NO_INPUT": "1",
                "PIP_CERT": "",
            })
            self.assertEqual(
                {
                    name: read.get(name)
                    for name in ("index-url", "timeout", "no-input", "cert", "pre")
                },
                {
                    "index-url": "b",
                    "timeout": "2",
                    "no-input": "1",
                    "cert": read.get("cert"),
                    "pre": None,
                },
            )
            self.assertEqual(pip_settings.places(read["extra-index-url"]), ["d", "e"])
            write(home, {"own": "no section\n"})
            self.assertEqual(
                pip_settings.read({"HOME": home, "PIP_CONFIG_FILE": os.path.join(home, "own")})[
                    "index-url"
                ],
                "b",
            )
            self.assertEqual(
                pip_settings.read({
                    "HOME": home,
                    "PIP_CONFIG_FILE": os.devnull,
                    "PIP_INDEX_URL": "x",
                }),
                {"index-url": "x"},
            )


class TranslateTest(unittest.TestCase):
    def test_settings_of_pip_in_the_words_of_uv(self):
        for settings, arguments, variables in (
            ({"index-url": "u"}, [], {"UV_DEFAULT_INDEX": "u"}),
            ({"extra-index-url": "a\n b"}, [], {"UV_EXTRA_INDEX_URL": "a b"}),
            ({"find-links": "a b"}, [], {"UV_FIND_LINKS": "a,b"}),
            ({"no-index": "1"}, ["--no-index"], {}),
            ({"no-index": "false"}, [], {}),
            ({"pre": "yes"}, ["--prerelease", "allow"], {}),
            ({"constraint": "c.txt"}, [], {"UV_CONSTRAINT": "c.txt"}),
            ({"trusted-host": "h"}, [], {"UV_INSECURE_HOST": "h"}),
            ({"cert": "/c"}, [], {"SSL_CERT_FILE": "/c"}),
            ({"no-binary": "a,b"}, ["--no-binary", "a", "--no-binary", "b"], {}),
            ({"only-binary": ":all:"}, ["--only-binary", ":all:"], {}),
            ({"keyring-provider": "subprocess"}, ["--keyring-provider", "subprocess"], {}),
            (
                {"default-timeout": "9", "quiet": "1", "cache-dir": "x"},
                [],
                {"UV_HTTP_TIMEOUT": "9"},
            ),
        ):
            said, more = uv_pip.translate(settings, NONE, {})
            self.assertEqual((said[4:], more), (arguments, variables), settings)

    def test_pip_installs_if_uv_has_no_equivalent_of_a_setting(self):
        for settings in (
            {"prefer-binary": "1"},
            {"target": "x"},
            {"user": "1"},
            {"keyring-provider": "import"},
            {"use-feature": "x"},
        ):
            with self.assertRaisesRegex(uv_pip.Unfit, list(settings)[0]):
                uv_pip.translate(settings, NONE, {})
        with self.assertRaisesRegex(uv_pip.Unfit, "--global-option in r.txt"):
            uv_pip.translate({}, dict(NONE, foreign="--global-option in r.txt"), {})

    def test_a_requirements_file_overrides_the_configured_index_and_adds_to_the_rest(self):
        options = dict(NONE, index=["u"], trusted=["b"], hashed=True, pre=True)
        arguments, more = uv_pip.translate(
            {"index-url": "x", "trusted-host": "a", "require-hashes": "1"}, options, {}
        )
        self.assertEqual(arguments[4:], ["--require-hashes", "--prerelease", "allow"])
        self.assertEqual(
            more, {"UV_DEFAULT_INDEX": None, "UV_INDEX_URL": None, "UV_INSECURE_HOST": "a b"}
        )

    def test_an_index_that_is_set_for_uv_stays(self):
        self.assertEqual(
            uv_pip.translate({"index-url": "x"}, NONE, {"UV_DEFAULT_INDEX": "y"})[1], {}
        )

    def test_options_of_requirements_files(self):
        for line, found in (
            ("torch==2.0  # --pre", {}),
            ("-e ./a", {}),
            ("-r b.txt", {}),
            ("--requirement=b.txt", {}),
            ("-c c.txt", {}),
            ("-f ./w", {}),
            ("--find-links=./w", {}),
            ("--no-index", {}),
            ("--only-binary :all:", {}),
            ("--require-hashes", {}),
            ("--extra-index-url https://h", {}),
            ("--index-url 'https://h'", {"index": ["https://h"]}),
            ("-i https://h", {"index": ["https://h"]}),
            ("--trusted-host=h", {"trusted": ["h"]}),
            ("--pre", {"pre": True}),
            ("a==1 \\\n    --hash=sha256:00", {"hashed": True}),
            ("--prefer-binary", {"foreign": "--prefer-binary in r.txt"}),
            ("--use-feature=x", {"foreign": "--use-feature in r.txt"}),
            ("a --config-settings=x=y", {"foreign": "--config-settings in r.txt"}),
            (
                "a==1 --hash=sha256:0 --global-option=x",
                {"hashed": True, "foreign": "--global-option in r.txt"},
            ),
            ("--index https://h", {"foreign": "--index in r.txt"}),
            ("--no-deps", {"foreign": "--no-deps in r.txt"}),
            ("-rb.txt", {"foreign": "-rb.txt in r.txt"}),
        ):
            with tempfile.TemporaryDirectory() as at:
                write(at, {"r.txt": line + "\n"})
                self.assertEqual(
                    uv_pip.options_of([os.path.join(at, "r.txt")], at), dict(NONE, **found), line
                )


if __name__ == "__main__":
    unittest.main()
