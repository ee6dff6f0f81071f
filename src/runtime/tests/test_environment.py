"""Environments: set up once for all runs with the same lock file; each run imports the code of its
own workspace.
"""

import functools
import http.server
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401  (puts the runtime on the path)
from workspace import package, wheel, write

from nx_ec2_runtime.python_env import (
    builders,
    cache_key,
    dependency_files,
    environment,
    package_index,
    requirements,
    setup_tools,
)
from nx_ec2_runtime.system import account as accounts
from nx_ec2_runtime.system import atomic_files, file_lock
from nx_ec2_runtime.system.file_hash import hash_file

UV = os.environ.get("NX_EC2_TEST_UV") or shutil.which("uv")
SHOW = "import dep, lib, sys; print(dep.WHAT, lib.WHAT, sys.prefix)\n"


class Stop(Exception):
    pass


class SetupTest(unittest.TestCase):
    manager, file, locked, installer = "pip", "requirements.txt", False, "pip"

    def setUp(self):
        self.root = os.path.realpath(tempfile.mkdtemp())
        os.chmod(self.root, 0o755)
        self.addCleanup(shutil.rmtree, self.root, True)
        self.index = os.path.join(self.root, "simple")
        wheel(
            self.index,
            "dep",
            "1.0",
            {"dep.py": "WHAT = 'dep'\ndef main():\n    import lib; print('script', lib.WHAT)\n"},
            "depscript = dep:main",
        )
        self.account = pwd.getpwuid(os.geteuid())
        self.setups, self.lines, self.count, self.binary = [], [], 0, {}
        self.more = {
            "PIP_NO_CACHE_DIR": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "UV_CACHE_DIR": os.path.join(self.root, "cache"),
            "UV_NO_CONFIG": "1",
        }

    def tearDown(self):
        for setup in self.setups:
            if setup.lock is not None:
                os.close(setup.lock)

    def workspace(self, code, **more):
        files = {"requirements.txt": "dep==1.0\n-e ./libs/lib\n", "train.py": SHOW}
        for path, text in package("lib", code, script="libscript", **more).items():
            files["libs/lib/" + path] = text
        return files

    def setup(self, files, **part):
        self.count += 1
        home = os.path.join(self.root, "runs", "run-%d-%d" % (os.getpid(), self.count))
        work = os.path.join(home, "work")
        write(work, files)
        for path, data in self.binary.items():
            os.makedirs(os.path.dirname(os.path.join(work, path)), exist_ok=True)
            with open(os.path.join(work, path), "wb") as file:
                file.write(data)
        for at, _, names in os.walk(work):
            for name in [at] + [os.path.join(at, name) for name in names]:
                accounts.own(name, self.account)
        part = dict(
            {
                "environment": {
                    "manager": self.manager,
                    "root": "",
                    "file": self.file,
                    "locked": self.locked,
                },
                "projectRoot": "",
                "packageIndex": "file://" + self.index,
                "setup": None,
                "script": "train.py",
                "command": None,
                "args": [],
                "env": {},
                "installer": self.installer,
            },
            **part,
        )
        variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "UV_", "VIRTUAL_ENV"))
        }
        if UV:
            variables["PATH"] += os.pathsep + os.path.dirname(UV)
        setup = environment.Setup(
            self.root,
            home,
            part,
            project=work,
            work=work,
            account=self.account,
            variables=dict(variables, **self.more),
        )
        self.setups.append(setup)
        return setup

    def process(self, line, variables, cwd, look):
        self.lines.append(line)
        with open(os.path.join(self.root, "log"), "ab") as log:
            program = shutil.which(line[0], path=variables["PATH"])
            child = subprocess.Popen(
                line,
                executable=program,
                env=variables,
                cwd=cwd,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=lambda: accounts.become(self.account),
                start_new_session=True,
            )
        while child.poll() is None:
            look()
            time.sleep(0.01)
        return child.returncode

    def say(self, text):
        with open(os.path.join(self.root, "log"), "a") as log:
            log.write(text + "\n")

    def log(self):
        with open(os.path.join(self.root, "log")) as log:
            return log.read()

    def made(self, setup):
        """How to run what was set up."""
        try:
            line, variables = setup.run(self.process, self.say, time.sleep)
        except builders.SetupFailed as failed:
            self.fail("%s\n%s" % (failed, self.log()))

        def run(*other):
            program = shutil.which((other or line)[0], path=variables["PATH"])
            done = subprocess.run(
                list(other) or line,
                executable=program,
                env=variables,
                cwd=setup.project,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: accounts.become(self.account),
            )
            return done.stdout.decode().strip()

        return run

    def envs(self):
        envs = os.path.join(self.root, "envs")
        return [os.path.join(envs, name) for name in os.listdir(envs)]

    def shown(self, setup, code):
        return "dep %s %s" % (code, setup.env)


class ToolsTest(SetupTest):
    """Real tools, an index on the disk."""

    @classmethod
    def setUpClass(cls):
        cls.tools = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.tools)
        if cls.manager == "pip":
            # `python3 -m venv` takes two seconds each time: this one copies what it made once.
            made = os.path.join(cls.tools, "made")
            subprocess.check_call(["python3", "-m", "venv", made])
            write(
                cls.tools,
                {
                    "python3": '#!/bin/sh\n[ "$# $1 $2 $3" = "4 -I -m venv" ] && exec cp -r %s "$4"\nexec %s "$@"\n'
                    % (made, sys.executable)
                },
            )
            os.chmod(os.path.join(cls.tools, "python3"), 0o755)

    def setUp(self):
        super().setUp()
        self.more["PATH"] = os.pathsep.join(
            [self.tools, os.environ["PATH"]] + ([os.path.dirname(UV)] if UV else [])
        )


class KeptTest(ToolsTest):
    """pip's `requirements.txt` here."""

    def test_the_same_lock_file_with_a_changed_library_is_set_up_once_and_each_run_imports_its_own(
        self,
    ):
        # With all that `python3 -m venv` does.
        self.more["PATH"] = self.more["PATH"].partition(os.pathsep)[2]
        first = self.setup(self.workspace("WHAT = 'one'\ndef main():\n    print('own', WHAT)\n"))
        run_first = self.made(first)
        self.assertEqual(run_first(), self.shown(first, "one"))
        ran = len(self.lines)
        second = self.setup(self.workspace("WHAT = 'two'\ndef main():\n    print('own', WHAT)\n"))
        run_second = self.made(second)
        self.assertEqual(len(self.lines), ran, "a set-up process ran")
        self.assertEqual(
            (run_second(), run_first()), (self.shown(second, "two"), self.shown(first, "one"))
        )
        # Scripts too, of the workspace and of packages, and the metadata.
        self.assertEqual((run_second("libscript"), run_first("libscript")), ("own two", "own one"))
        self.assertEqual(
            (run_second("depscript"), run_first("depscript")), ("script two", "script one")
        )
        version = "import importlib.metadata as m; print(m.version('lib'), m.version('dep'))"
        self.assertEqual(run_second("python", "-c", version), "1.0 1.0")

    def test_a_shared_environment_has_no_path_of_a_run(self):
        setup = self.setup(self.workspace("WHAT = 1"))
        self.made(setup)
        found = subprocess.run(
            ["grep", "-rlaF", setup.work, self.envs()[0], "--exclude=done.json"],
            stdout=subprocess.PIPE,
        ).stdout
        self.assertEqual(found, b"")

    def test_each_change_of_an_input_makes_another_environment(self):
        for change in (
            {},
            {"requirements.txt": "dep==1.0\n-e ./libs/lib\n# other\n"},
            {"libs/lib/src/other/__init__.py": ""},
            {".python-version": sys.version.split()[0]},
        ):
            self.made(self.setup(dict(self.workspace("WHAT = 1"), **change)))
        self.assertEqual(len(self.envs()), 4)

    def test_a_rebuilt_wheel_makes_another_environment(self):
        def name(wheel, **variables):
            text = "--find-links ./wheels\n--extra-index-url=file:simple\ndep==1.0\n"
            setup = self.setup(
                dict(self.workspace("WHAT = 1"), **dict({"requirements.txt": text}, **wheel))
            )
            gathered = dependency_files.read_dependency_files(
                setup.work, setup.spec, commit=None, account=self.account
            )
            return cache_key.key(
                setup.spec,
                gathered,
                variables=dict(os.environ, **variables),
                account=self.account,
                tools=["python3"],
            )

        built = {"wheels/dep-1.0-py3-none-any.whl": "one"}
        first = name(built)
        self.assertEqual(name(built), first)
        others = [
            name({"wheels/dep-1.0-py3-none-any.whl": "two"}),
            name(dict(built, **{"wheels/sub/other.tar.gz": ""})),
            name(dict(built, **{"simple/dep/dep-1.0.zip": ""})),
            name(dict(built, **{"more/x.whl": "1"}), PIP_FIND_LINKS="https://h/x more"),
            name(dict(built, **{"more/x.whl": "2"}), PIP_FIND_LINKS="https://h/x more"),
        ]
        self.assertEqual(len(set(others + [first])), 6)

    def test_another_build_backend_of_a_package_makes_another_environment(self):
        files = self.workspace("WHAT = 1")
        for comment in ("", "# other\n"):
            self.made(
                self.setup(
                    dict(files, **{"libs/lib/backend.py": files["libs/lib/backend.py"] + comment})
                )
            )
        self.assertEqual(len(self.envs()), 2)

    def test_a_file_that_is_no_input_makes_no_other_environment(self):
        for text in ("one", "two"):
            self.made(self.setup(dict(self.workspace("WHAT = '%s'" % text), readme=text)))
        self.assertEqual(len(self.envs()), 1)

    def test_code_that_was_copied_into_the_environment_is_linked_instead(self):
        files = dict(
            self.workspace("WHAT = 'one'"), **{"requirements.txt": "dep==1.0\n./libs/lib\n"}
        )
        first = self.setup(files)
        self.assertEqual(self.made(first)(), self.shown(first, "one"))
        second = self.setup(dict(files, **{"libs/lib/src/lib/__init__.py": "WHAT = 'two'"}))
        self.assertEqual(self.made(second)(), self.shown(second, "two"))
        self.assertEqual(len(self.envs()), 1)

    def test_a_package_that_compiles_code_is_not_shared(self):
        for code in ("one", "two"):
            setup = self.setup(
                self.workspace("WHAT = '%s'" % code, extra="open('src/lib/fast.so', 'w').close()")
            )
            self.assertEqual(
                self.made(setup)(), "dep %s %s" % (code, os.path.join(setup.env, "env"))
            )
            self.assertIsNone(setup.lock)
        self.assertIn(
            "not shared between runs: its set-up made libs/lib/src/lib/fast.so among the sources",
            self.log(),
        )

    def test_each_run_has_the_version_file_that_a_build_writes(self):
        for code in ("one", "two"):
            files = self.workspace(
                "from ._version import v\nWHAT = '%s' + v" % code,
                extra="open('src/lib/_version.py', 'w').write('v = \"1\"')",
            )
            setup = self.setup(files)
            self.assertEqual(self.made(setup)(), self.shown(setup, code + "1"))
        self.assertEqual(len(self.envs()), 1)

    def test_a_failed_set_up_is_not_kept(self):
        broken = dict(self.workspace("WHAT = 1"), **{"requirements.txt": "missing==1.0\n"})
        setup = self.setup(broken)
        with self.assertRaises(builders.SetupFailed) as raised:
            setup.run(self.process, self.say, time.sleep)
        self.assertEqual(raised.exception.code, 1)
        self.assertEqual(sorted(os.listdir(self.envs()[0])), ["lock"])
        self.assertFalse(file_lock.held(os.path.join(self.envs()[0], "lock")))

    def test_a_stop_in_the_middle_leaves_nothing(self):
        def stopped(*_, look):
            raise Stop()

        with self.assertRaises(Stop):
            self.setup(self.workspace("WHAT = 1")).run(stopped, self.say, time.sleep)
        self.assertEqual(sorted(os.listdir(self.envs()[0])), ["lock"])

    def test_two_runs_at_once_set_up_one_environment(self):
        children = []
        for code in ("one", "two"):
            setup = self.setup(self.workspace("WHAT = '%s'" % code))
            child = os.fork()
            if child == 0:
                try:
                    said = self.made(setup)()
                    write(
                        self.root,
                        {code: json.dumps([said == self.shown(setup, code), len(self.lines)])},
                    )
                finally:
                    os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        said = [atomic_files.read_json(os.path.join(self.root, code)) for code in ("one", "two")]
        self.assertEqual([right for right, _ in said], [True, True])
        self.assertEqual(sorted(count > 0 for _, count in said), [False, True])
        self.assertRegex(
            self.log(), r"waiting for run run-\d+-\d, which is preparing the same files"
        )

    def test_a_set_up_killed_in_the_middle_is_not_used(self):
        setup = self.setup(self.workspace("WHAT = 'one'"))
        child = os.fork()
        if child == 0:
            # Killed after the first step, with the environment half there.
            steps = []

            def process(*step, look):
                if steps:
                    os.kill(os.getpid(), signal.SIGKILL)
                steps.append(step)
                return self.process(*step, look=look)

            setup.run(process, self.say, time.sleep)
            os._exit(0)
        self.assertEqual(os.waitpid(child, 0)[1], signal.SIGKILL)
        left = [name for name in os.listdir(self.envs()[0]) if name.startswith("made-")]
        self.assertEqual(len(left), 1)
        second = self.setup(self.workspace("WHAT = 'two'"))
        self.assertEqual(self.made(second)(), self.shown(second, "two"))
        self.assertNotIn(left[0], os.listdir(self.envs()[0]))

    def test_an_environment_is_locked_as_long_as_its_run_lives(self):
        setup = self.setup(self.workspace("WHAT = 1"))
        self.made(setup)
        lock = os.path.join(self.envs()[0], "lock")
        self.assertTrue(file_lock.held(lock))
        self.assertTrue(os.path.exists(os.path.join(self.envs()[0], "used")))
        os.close(setup.lock)
        setup.lock = None
        self.assertFalse(file_lock.held(lock))

    def test_an_environment_whose_python_is_gone_is_made_again(self):
        setup = self.setup(self.workspace("WHAT = 'one'"))
        self.made(setup)
        with open(os.path.join(self.envs()[0], "done.json")) as file:
            python = os.path.join(json.load(file)["env"], "bin", "python")
        os.unlink(python)
        # In use by another run: nothing is taken from under it.
        beside = self.setup(self.workspace("WHAT = 'two'"))
        self.assertEqual(self.made(beside)(), "dep two %s" % os.path.join(beside.env, "env"))
        os.close(setup.lock)
        setup.lock = None
        anew = self.setup(self.workspace("WHAT = 'three'"))
        self.assertEqual(self.made(anew)(), self.shown(anew, "three"))

    def test_a_package_that_a_run_installs_is_not_in_the_shared_environment(self):
        wheel(self.index, "late", "1.0", {"late.py": ""})
        first, second = (
            self.setup(self.workspace("WHAT = 1")),
            self.setup(self.workspace("WHAT = 2")),
        )
        run, other = self.made(first), self.made(second)
        install = (
            ["uv", "pip", "install", "--default-index"]
            if self.manager == "uv"
            else ["python", "-m", "pip", "install", "-i"]
        )
        said = run(*install, "file://" + self.index, "late")
        self.assertEqual(run("python", "-c", "import late"), "", said)
        where = "import os, sysconfig as s; print(all(os.path.realpath(s.get_path(n)).startswith(%r) for n in ('purelib', 'platlib', 'scripts')))"
        self.assertEqual(run("python", "-c", where % (first.env + os.sep)), "True")
        self.assertIn("ModuleNotFoundError", other("python", "-c", "import late"))

    def test_credentials_of_the_index_are_never_logged_and_not_in_the_cache_key(self):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=self.index)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        for secret in ("s3cret", "0ther"):
            setup = self.setup(
                self.workspace("WHAT = 1"),
                packageIndex="http://u:%s@127.0.0.1:%d/" % (secret, server.server_port),
            )
            self.assertEqual(self.made(setup)(), self.shown(setup, "1"))
            self.assertNotIn(secret, self.log())
        self.assertEqual(len(self.envs()), 1)
        self.assertEqual(package_index.secrets("https://aws:a%2Fb@host/simple/"), ["a%2Fb", "a/b"])

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_the_training_user_can_not_change_a_shared_environment(self):
        try:
            self.account = pwd.getpwnam("nobody")
        except KeyError:
            self.skipTest("there is no user nobody")
        self.more["PATH"] = "/usr/bin:/bin" + (os.pathsep + os.path.dirname(UV) if UV else "")
        asked = subprocess.call(
            ["python3", "-c", "import ensurepip, venv"],
            env=dict(os.environ, **self.more),
            preexec_fn=lambda: accounts.become(self.account),
            stderr=subprocess.DEVNULL,
        )
        if self.manager == "pip" and asked != 0:
            self.skipTest("the system's Python makes no environments here")
        self.more["HOME"] = self.more["UV_CACHE_DIR"] = os.path.join(self.root, "nobody")
        os.mkdir(self.more["HOME"])
        accounts.own(self.more["HOME"], self.account)
        setup = self.setup(self.workspace("WHAT = 'one'"))
        run = self.made(setup)
        self.assertEqual(run(), self.shown(setup, "one"))
        with open(os.path.join(self.envs()[0], "done.json")) as file:
            env = json.load(file)["env"]
        spoil = (
            "import os, sys\nfor at, _, names in os.walk(%r):\n  for n in names + ['.']:\n    assert not os.access(os.path.join(at, n), os.W_OK), n"
            % env
        )
        self.assertEqual(run("python", "-c", spoil), "")
        self.assertEqual(
            run(
                "python",
                "-c",
                "import dep; print(dep.__cached__)"
                if sys.version_info < (3, 14)
                else "print('.pyc')",
            )[-4:],
            ".pyc",
        )


@unittest.skipUnless(UV, "uv is not installed: its path in NX_EC2_TEST_UV")
class UvTest(KeptTest):
    manager, file, locked = "uv", "pyproject.toml", True

    def workspace(self, code, **more):
        files = super().workspace(code, **more)
        del files["requirements.txt"]
        files["pyproject.toml"] = (
            '[project]\nname = "model"\nversion = "1.0"\nrequires-python = ">=3.8"\ndependencies = ["dep", "lib"]\n'
            '[tool.uv.sources]\nlib = { workspace = true }\n[tool.uv.workspace]\nmembers = ["libs/*"]\n'
        )
        return self.with_lock(files)

    def with_lock(self, files):
        at = tempfile.mkdtemp(dir=self.root)
        write(at, files)
        said = subprocess.run(
            [UV, "lock", "--default-index", "file://" + self.index],
            cwd=at,
            env=dict(
                os.environ, **dict(self.more, UV_CACHE_DIR=os.path.join(self.root, "locking"))
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.assertEqual(said.returncode, 0, said.stdout.decode())
        with open(os.path.join(at, "uv.lock")) as file:
            return dict(files, **{"uv.lock": file.read()})

    # Of requirements files.
    test_a_rebuilt_wheel_makes_another_environment = None

    def test_without_a_configured_index_the_one_of_the_lock_file_is_used(self):
        setup = self.setup(self.workspace("WHAT = 'one'"), packageIndex=None)
        self.assertEqual(self.made(setup)(), self.shown(setup, "one"))
        self.assertIn(["uv", "sync", "--frozen"], self.lines)

    def test_uv_run_in_the_command_uses_the_run_s_environment(self):
        setup = self.setup(
            self.workspace("WHAT = 'one'"), script=None, command=["uv", "run", "train.py"]
        )
        self.assertEqual(self.made(setup)(), self.shown(setup, "one"))

    def test_code_that_was_copied_into_the_environment_is_linked_instead(self):
        for code in ("one", "two"):
            files = self.workspace("WHAT = '%s'" % code)
            files["pyproject.toml"] = (
                files["pyproject.toml"]
                .replace("workspace = true", 'path = "libs/lib"')
                .partition("[tool.uv.workspace]")[0]
            )
            setup = self.setup(self.with_lock(files), packageIndex=None)
            self.assertEqual(self.made(setup)(), self.shown(setup, code))
        self.assertEqual(len(self.envs()), 1)

    def test_each_change_of_an_input_makes_another_environment(self):
        for change in (
            {},
            {"uv.lock": self.workspace("")["uv.lock"] + "# other\n"},
            {"libs/lib/src/other/__init__.py": ""},
        ):
            self.made(self.setup(dict(self.workspace("WHAT = 1"), **change)))
        self.assertEqual(len(self.envs()), 3)

    def test_a_failed_set_up_is_not_kept(self):
        files = self.workspace("WHAT = 1")
        shutil.rmtree(os.path.join(self.index, "dep"))
        self.more["UV_CACHE_DIR"] = os.path.join(self.root, "other")
        with self.assertRaises(builders.SetupFailed) as raised:
            self.setup(files).run(self.process, self.say, time.sleep)
        self.assertGreater(raised.exception.code, 0)
        self.assertEqual(sorted(os.listdir(self.envs()[0])), ["lock"])

    def test_without_a_lock_file_the_environment_is_not_shared(self):
        files = self.workspace("WHAT = 'one'")
        del files["uv.lock"]
        setup = self.setup(files)
        self.assertEqual(self.made(setup)(), "dep one %s" % os.path.join(setup.env, "env"))
        self.assertFalse(os.path.exists(os.path.join(self.root, "envs")))


@unittest.skipUnless(UV, "uv is not installed: its path in NX_EC2_TEST_UV")
class UvPipTest(ToolsTest):
    """A `requirements.txt` that uv installs."""

    installer = "uv"

    def test_each_run_imports_its_own_package_from_one_environment_editable_or_not(self):
        for how in ("-e ./libs/lib", "./libs/lib"):
            for code in ("one", "two"):
                setup = self.setup(
                    dict(
                        self.workspace("WHAT = '%s'" % code),
                        **{"requirements.txt": "dep==1.0\n%s\n" % how},
                    )
                )
                self.assertEqual(self.made(setup)(), self.shown(setup, code))
        self.assertEqual(len(self.envs()), 2)
        self.assertEqual(
            {os.path.basename(line[0]) for line in self.lines}, {"python3", "uv", "python"}
        )
        self.assertFalse(any("pip" in line for line in self.lines if line[0] != "uv"))

    def test_pip_is_in_the_environment_if_python_brings_one(self):
        for bundled, code in ((builders.bundled, 0), (lambda _: [], 1)):
            with mock.patch.object(builders, "bundled", bundled):
                run = self.made(
                    self.setup(
                        dict(
                            self.workspace("WHAT = 'one'"),
                            **{"requirements.txt": "dep==1.0\n-e ./libs/lib\n# %d\n" % code},
                        )
                    )
                )
            self.assertEqual(
                run(
                    "python",
                    "-c",
                    "import importlib.util as u; print(int(u.find_spec('pip') is None))",
                ),
                str(code),
            )
        self.assertIn("the environment has no pip", self.log())

    def test_uv_installs_the_packages_that_pip_installs(self):
        wheel(self.index, "two", "1.0", {"two.py": ""})
        wheel(self.index, "early", "1.0a1", {"early.py": ""})
        other = os.path.join(self.root, "other")
        wheel(other, "two", "1.5", {"two.py": ""})
        wheel(os.path.join(self.root, "links"), "linked", "1.0", {"linked.py": ""})
        wheel(os.path.join(self.root, "links"), "named", "1.0", {"named.py": ""})
        shared = dict(
            self.workspace("WHAT = 1"),
            **{
                "more/a.txt": "-c ../c.txt\n--find-links ../links\nlinked\n-e ./libs/lib\n",
                "c.txt": "two<2\n",
            },
        )
        for name in ("linked/linked", "named/named"):
            with open(
                os.path.join(self.root, "links", name + "-1.0-py3-none-any.whl"), "rb"
            ) as file:
                self.binary["links/%s-1.0-py3-none-any.whl" % name.partition("/")[0]] = file.read()
        hashed = "".join(
            "dep==1.0 --hash=sha256:%s\n"
            % hash_file(os.path.join(self.index, "dep", "dep-1.0-py3-none-any.whl"))
        )
        for text, variables in (
            (
                "-r more/a.txt\n--extra-index-url file://%s\ntwo\nearly\n./links/named-1.0-py3-none-any.whl\n"
                % other,
                {},
            ),
            (
                "--pre\n-r more/a.txt\ntwo\nearly\n",
                {"PIP_EXTRA_INDEX_URL": "file://" + other, "PIP_CONSTRAINT": "c.txt"},
            ),
            (
                "-i file://%s\ntwo\n" % other,
                {"PIP_CONFIG_FILE": os.path.join(self.root, "pip.conf")},
            ),
            (
                "two\nlinked\n",
                {"PIP_CONFIG_FILE": os.path.join(self.root, "pip.conf"), "PIP_NO_INDEX": "1"},
            ),
            (hashed, {}),
        ):
            write(
                self.root,
                {
                    "pip.conf": "[global]\nfind-links = %s %s\n"
                    % (os.path.join(self.root, "links/linked"), os.path.join(other, "two"))
                },
            )
            found = []
            for self.installer in ("pip", "uv"):
                self.more.update({"PIP_CONFIG_FILE": os.devnull}, **variables)
                found.append(self.installed(self.setup(dict(shared, **{"requirements.txt": text}))))
            self.assertEqual(found[1], found[0], text)
            self.assertNotEqual(found[0], [])
            for name in variables:
                del self.more[name]

    def test_if_one_requirement_has_a_hash_all_must_have_one_as_in_pip(self):
        wheel(self.index, "two", "1.0", {"two.py": ""})
        hashed = "dep==1.0 --hash=sha256:%s\n" % hash_file(
            os.path.join(self.index, "dep", "dep-1.0-py3-none-any.whl")
        )
        for text in (hashed + "two==1.0\n", hashed.replace(":" + hashed[-65:-1], ":" + "0" * 64)):
            with self.assertRaises(builders.SetupFailed):
                self.setup(dict(self.workspace("WHAT = 1"), **{"requirements.txt": text})).run(
                    self.process, self.say, time.sleep
                )

    def test_pip_installs_if_uv_fails_or_lacks_an_option_and_the_log_says_so(self):
        self.installer = "auto"
        self.more["WHICH"] = "dep"
        for text, said in (
            ("${WHICH}==1.0\n-e ./libs/lib\n", "uv did not install the packages: trying pip"),
            (
                "--prefer-binary\ndep==1.0\n-e ./libs/lib\n",
                "pip installs the packages, not uv: uv has no equivalent of --prefer-binary in requirements.txt",
            ),
        ):
            setup = self.setup(dict(self.workspace("WHAT = 'one'"), **{"requirements.txt": text}))
            self.assertEqual(self.made(setup)(), self.shown(setup, "one"))
            self.assertIn(said, self.log())

    def installed(self, setup):
        code = "import importlib.metadata as m; print(sorted('%s %s' % (d.metadata['Name'], d.version) for d in m.distributions()))"
        return self.made(setup)("python", "-c", code)


class FakeTest(SetupTest):
    """Tools that are too heavy to have here, as scripts that do what is documented of them."""

    def tool(self, name, script):
        tools = os.path.join(self.root, "tools")
        write(tools, {name: "#!/bin/sh\nset -e\n" + script})
        os.chmod(os.path.join(tools, name), 0o755)
        self.more["PATH"] = tools + os.pathsep + os.environ["PATH"]

    INSTALL = "%s -m pip install -q --no-index --no-deps --find-links %s -e ./libs/lib dep\n"

    def reused(self, manager, file, locked, files):
        self.manager, self.file, self.locked = manager, file, locked
        runs = []
        for code in ("one", "two"):
            setup = self.setup(
                dict(self.workspace("WHAT = '%s'" % code), **files), packageIndex=None
            )
            runs.append((setup, self.made(setup), code))
            if code == "one":
                ran = len(self.lines)
        self.assertEqual(len(self.lines), ran)
        for setup, run, code in runs:
            self.assertEqual(run(), self.shown(setup, code))

    def test_a_full_disk_is_reported_and_pip_does_not_try_again(self):
        self.installer = "auto"
        log = os.path.join(self.root, "runs", "run-%d-1" % os.getpid(), "log")
        said = "failed to write to file `x`: No space left on device (os error 28)"
        self.tool("uv", "case \"$*\" in *' -r '*) echo '%s' >> %s; exit 2;; esac\n" % (said, log))
        setup = self.setup(self.workspace("WHAT = 1"))
        with self.assertRaisesRegex(
            builders.SetupFailed,
            r"^uv exited with 2 after [\d.]+ s: the disk of .* was full, and has [\d.]+ GB free now$",
        ):
            setup.run(self.process, self.say, time.sleep)
        self.assertNotIn("trying pip", self.log())

    def test_runs_share_an_environment_of_poetry(self):
        self.tool(
            "poetry",
            '[ "$1" = --version ] && exit\nat=$POETRY_VIRTUALENVS_PATH/model-x-py3\n[ -z "$VIRTUAL_ENV" ]\npython3 -m venv $at\n'
            + self.INSTALL % ("$at/bin/python", os.path.join(self.index, "dep")),
        )
        self.reused(
            "poetry",
            "pyproject.toml",
            True,
            {
                "poetry.lock": '[package.source]\ntype = "directory"\nurl = "libs/lib"\n',
                "pyproject.toml": "[tool.poetry]\n",
            },
        )
        self.assertEqual(self.lines[0], ["poetry", "install", "--no-interaction"])

    @unittest.skipIf(shutil.which("poetry"), "poetry is installed")
    def test_uv_runs_a_missing_poetry_in_the_version_of_the_lock_file(self):
        self.tool(
            "uv",
            '[ "$1" = --version ] && exit\n[ "$7" = poetry==1.8.3 ]\nshift 8\n[ "$1" = install ] || exec "$@"\nat=$POETRY_VIRTUALENVS_PATH/model-x-py3\n[ -n "$UV_CACHE_DIR" ]\npython3 -m venv $at\n'
            + self.INSTALL % ("$at/bin/python", os.path.join(self.index, "dep")),
        )
        lock = '# This file is automatically @generated by Poetry 1.8.3 and should not be changed by hand.\n[package.source]\ntype = "directory"\nurl = "libs/lib"\n'
        del self.more["UV_CACHE_DIR"]
        self.reused(
            "poetry",
            "pyproject.toml",
            True,
            {"poetry.lock": lock, "pyproject.toml": "[tool.poetry]\n"},
        )
        uv = [
            "uv",
            "tool",
            "run",
            "--no-config",
            "--python",
            "python3",
            "--from",
            "poetry==1.8.3",
            "poetry",
        ]
        self.assertEqual(self.lines[0], uv + ["install", "--no-interaction"])
        setup = self.setup(
            dict(self.workspace("WHAT = 1"), **{"poetry.lock": lock}),
            packageIndex=None,
            script=None,
            command=["poetry", "run", "train"],
        )
        self.assertEqual(setup.run(self.process, self.say, time.sleep)[0], uv + ["run", "train"])
        # Nothing tells which version an unknown one would be.
        with self.assertRaisesRegex(setup_tools.ToolMissing, "pipx install poetry"):
            self.setup(dict(self.workspace("WHAT = 1"), **{"poetry.lock": ""})).run(
                self.process, self.say, time.sleep
            )

    def test_a_package_index_is_refused_for_poetry(self):
        self.tool("poetry", "")
        self.manager, self.locked = "poetry", True
        with self.assertRaisesRegex(builders.SetupFailed, "tool.poetry.source"):
            self.setup({"poetry.lock": "", "pyproject.toml": ""}).run(
                self.process, self.say, time.sleep
            )

    def test_runs_share_an_environment_of_conda(self):
        self.tool(
            "conda",
            'case "$1" in --version) ;; env) at=$5; python3 -m venv $at\n'
            + self.INSTALL % ("$at/bin/python", os.path.join(self.index, "dep"))
            + ';;\nrun) at=$4; shift 4; PATH=$at/bin:$PATH exec "$@" ;; esac\n',
        )
        self.reused(
            "conda",
            "environment.yml",
            False,
            {"environment.yml": "dependencies:\n- python\n- pip:\n  - -e ./libs/lib\n"},
        )
        self.assertEqual(self.lines[0][:4], ["conda", "env", "create", "--yes"])

    def test_the_configured_set_up_runs_for_each_run(self):
        for _ in range(2):
            setup = self.setup(
                self.workspace("WHAT = 1"),
                setup=[["sh", "-c", "echo $PIP_INDEX_URL >> setup"]],
                environment={"manager": "none", "root": "", "file": "", "locked": False},
            )
            self.made(setup)
            with open(os.path.join(setup.project, "setup")) as file:
                self.assertEqual(file.read(), "file://%s\n" % self.index)
        self.assertFalse(os.path.exists(os.path.join(self.root, "envs")))
        self.assertRegex(self.log(), r"\+ sh -c .*\nsh: done after \d+\.\d s\n")

    def test_a_package_gets_its_version_from_the_git_commit(self):
        files = self.workspace("WHAT = 1")
        files["libs/lib/pyproject.toml"] += "# setuptools-scm\n"
        said = self.setup(files, metadata={"git": {"commit": "0123456789abcdef"}})
        self.made(said)
        self.assertEqual(
            said.steps.variables["SETUPTOOLS_SCM_PRETEND_VERSION_FOR_LIB"], "0.0.0+0123456"
        )
        self.more["SETUPTOOLS_SCM_PRETEND_VERSION_FOR_LIB"] = "7"
        self.assertEqual(
            self.made(self.setup(files))
            and self.setups[-1].steps.variables["SETUPTOOLS_SCM_PRETEND_VERSION_FOR_LIB"],
            "7",
        )


class RequirementsTest(unittest.TestCase):
    def test_paths_and_package_names_are_distinguished(self):
        for line, path in (
            ("-e .", "."),
            ("--editable=./a[x]", "./a"),
            ("-e ./a  # c", "./a"),
            ("./a ; python_version > '3'", "./a"),
            ("../b", "../b"),
            ("a/b.whl", "a/b.whl"),
            ("lib @ file:///x/y%20z", "/x/y z"),
            ("-e git+https://h/r#egg=x", None),
            ("torch==2.0", None),
            ("lib @ https://h/a.whl", None),
            ("--index-url https://h/s", None),
            ("a[b]>=1,<2", None),
            ("--find-links ./wheels", None),
            ("torch --hash=sha256:aa/bb", None),
        ):
            self.assertEqual(
                [requirements.named_path(each) for each in requirements.lines(line)], [path], line
            )

    def test_archives_are_found_where_packages_are_looked_for(self):
        with tempfile.TemporaryDirectory() as at:
            write(
                at,
                {
                    "w h/a.whl": "",
                    "w h/sub/b.tar.gz": "",
                    "w h/readme": "",
                    "page/links.html": "",
                    "page/c.zip": "",
                },
            )
            for line, found in (
                ("--find-links './w h'", ["w h/a.whl", "w h/sub/b.tar.gz"]),
                ("-f file://%s/w%%20h" % at, ["w h/a.whl", "w h/sub/b.tar.gz"]),
                ("-i page/links.html", ["page/c.zip", "page/links.html"]),
                ("--index-url https://h/s", []),
                ("--find-links=./absent", []),
            ):
                write(at, {"requirements.txt": line})
                _, named = requirements.local(os.path.join(at, "requirements.txt"), at)
                self.assertEqual([os.path.relpath(each, at) for each in named], found, line)

    def test_included_requirements_files_are_read_once_each(self):
        with tempfile.TemporaryDirectory() as at:
            write(
                at,
                {
                    "requirements.txt": "-r more/a.txt\n-c c.txt\n",
                    "more/a.txt": "--requirement=b.txt\n-r ../requirements.txt\n",
                    "more/b.txt": "-e \\\n ./lib",
                    "c.txt": "",
                },
            )
            read, named = requirements.local(os.path.join(at, "requirements.txt"), at)
            self.assertEqual(
                sorted(os.path.relpath(each, at) for each in read),
                ["c.txt", "more/a.txt", "more/b.txt", "requirements.txt"],
            )
            self.assertEqual(named, [os.path.join(at, "lib")])


class MarkedTest(unittest.TestCase):
    def test_dependency_files_are_read_by_their_byte_order_mark(self):
        text = "-r more.txt\r\n./packages/a\r\n"
        with tempfile.TemporaryDirectory() as top:
            with open(os.path.join(top, "more.txt"), "wb") as file:
                file.write(b"\xef\xbb\xbf./b.whl\n")
            for data in (
                text.encode("utf-8-sig"),
                b"\xff\xfe" + text.encode("utf-16-le"),
                b"\xfe\xff" + text.encode("utf-16-be"),
                text.encode(),
            ):
                path = os.path.join(top, "requirements.txt")
                with open(path, "wb") as file:
                    file.write(data)
                read, named = requirements.local(path, top)
                self.assertEqual(
                    [os.path.basename(each) for each in read], ["requirements.txt", "more.txt"]
                )
                self.assertEqual(
                    [os.path.relpath(each, top) for each in named], ["b.whl", "packages/a"]
                )


if __name__ == "__main__":
    unittest.main()
