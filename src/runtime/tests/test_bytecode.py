"""Compiled modules of environments: each source is compiled once, and Python imports the result."""

import functools
import importlib.util
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bootstrap
import test_environment
import test_sync  # noqa: F401  (puts the runtime on the path)
from workspace import write

from nx_ec2_runtime.fleet import boot_loader
from nx_ec2_runtime.python_env import bytecode, environment_maker, setup_steps


class BytecodeTest(unittest.TestCase):
    def setUp(self):
        self.root = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root, True)
        self.store = os.path.join(self.root, "store")

    def compile(self, name, files, store=True):
        """(compiled, taken) as the command says it."""
        site = os.path.join(self.root, name)
        write(site, files)
        line = bytecode.command(sys.executable, site, self.store if store else None)
        words = subprocess.check_output(line).decode().split()
        return int(words[0]), int(words[3]) if len(words) > 3 else 0

    def kept(self):
        return [os.path.join(at, name) for at, _, names in os.walk(self.store) for name in names]

    def pyc(self, *path):
        return importlib.util.cache_from_source(os.path.join(self.root, *path))

    def imported(self, site, code):
        """(what code prints, the sources that Python compiles meanwhile)"""
        done = subprocess.run(
            [sys.executable, "-B", "-v", "-c", code],
            env={"PYTHONPATH": os.path.join(self.root, site)},
            capture_output=True,
            check=True,
        )
        said = done.stderr.decode()
        return done.stdout.decode().strip(), re.findall(
            r"^# code object from %s/(\S+)$" % self.root, said, re.MULTILINE
        )

    def test_a_module_that_was_compiled_before_is_taken_whatever_its_path_and_time(self):
        self.assertEqual(
            self.compile("one", {"a.py": "def f(): raise ValueError(1)", "p/b.py": "X = 1"}), (2, 0)
        )
        self.assertEqual(
            self.compile("two", {"q/a.py": "def f(): raise ValueError(1)", "b.py": "X = 2"}), (1, 1)
        )
        self.assertEqual(self.imported("one", "import a, p.b; print(p.b.X)"), ("1", []))
        trace = "import sys, traceback\nfrom q import a\ntry: a.f()\nexcept ValueError as e: print(traceback.extract_tb(e.__traceback__)[1].filename)"
        self.assertEqual(
            self.imported("two", trace), (os.path.join(self.root, "two", "q", "a.py"), [])
        )

    def test_a_changed_source_is_imported_instead_of_its_bytecode(self):
        self.compile("one", {"a.py": "X = 1"})
        write(os.path.join(self.root, "one"), {"a.py": "X = 'other'"})
        self.assertEqual(self.imported("one", "import a; print(a.X)"), ("other", ["one/a.py"]))

    def test_damaged_cached_bytecode_is_compiled_again(self):
        self.compile("one", {"a.py": "X = 1"})
        for damage in (
            lambda data: data[:-1],
            lambda data: b"",
            lambda data: data + b"x",
            lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        ):
            [path] = self.kept()
            with open(path, "rb") as file:
                data = file.read()
            with open(path, "wb") as file:
                file.write(damage(data))
            shutil.rmtree(os.path.join(self.root, "one"))
            self.assertEqual(self.compile("one", {"a.py": "X = 1"}), (1, 0))
            self.assertEqual(self.imported("one", "import a; print(a.X)"), ("1", []))

    def test_tests_and_modules_of_other_pythons_are_not_compiled(self):
        files = {
            "a.py": "print 1",
            "b.py": "\0",
            "c.py": "{{ name }} = }",
            "p/tests/d.py": "X = 1",
            "e.py": "# -*- coding: none -*-",
        }
        self.assertEqual(self.compile("one", files), (0, 0))
        self.assertEqual(self.kept(), [])
        self.assertFalse(os.path.exists(self.pyc("one", "p", "tests", "d.py")))

    def test_bytecode_that_a_package_brings_stays(self):
        os.makedirs(os.path.dirname(self.pyc("one", "a.py")))
        with open(self.pyc("one", "a.py"), "w") as file:
            file.write("own")
        self.assertEqual(self.compile("one", {"a.py": "X = 1"}), (0, 0))
        with open(self.pyc("one", "a.py")) as file:
            self.assertEqual(file.read(), "own")

    def test_without_a_cache_every_module_is_compiled(self):
        self.assertEqual(self.compile("one", {"a.py": "X = 1"}, store=False), (1, 0))
        self.assertEqual(self.imported("one", "import a; print(a.X)"), ("1", []))

    def test_a_file_that_cannot_be_written_fails_it_and_leaves_no_part(self):
        site = os.path.join(self.root, "one")
        write(site, {"a.py": "X = %r" % ("x" * 10000)})
        limited = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (5000, 5000))
        done = subprocess.run(
            bytecode.command(sys.executable, site, self.store),
            capture_output=True,
            preexec_fn=limited,
        )
        self.assertIn(b"not all modules were compiled", done.stderr)
        self.assertEqual(self.kept(), [])


class LoaderTest(unittest.TestCase):
    def test_the_text_is_known_where_the_runtime_is_imported_from_memory(self):
        text = bytecode.__loader__.get_source(bytecode.__name__)
        modules = {"python_env/bytecode.py": text}
        runtime = zlib.compress(json.dumps({"format": 1, "modules": modules}).encode())
        for loader in (boot_loader.Modules(modules), bootstrap.functions()["Modules"](runtime)):
            spec = loader.find_spec("nx_ec2_runtime.python_env.bytecode", None)
            loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
            self.assertEqual(
                loaded.command("python", "site", None), ["python", "-I", "-c", text, "site"]
            )


class SetupTest(test_environment.SetupTest):
    """What a set-up does with it, by a process that stands for it."""

    def compiled(self, code):
        setup = self.setup({})
        steps = setup_steps.Steps(
            setup.root,
            setup.run_dir,
            {},
            account=setup.account,
            process=lambda *_, **__: code,
            say=self.say,
        )
        maker = environment_maker.EnvironmentMaker(
            setup.spec,
            type("DependencyFiles", (), {"root": setup.work}),
            steps,
            tools=None,
            work=setup.work,
            account=setup.account,
            pause=None,
        )
        site = os.path.join(self.root, "env", "lib", "python3.11", "site-packages")
        os.makedirs(site, exist_ok=True)
        maker.compile(os.path.join(self.root, "env"), None)
        return self.log()

    def test_a_failed_compilation_is_logged_and_does_not_fail_the_set_up(self):
        self.assertIn("some modules are not compiled", self.compiled(1))

    def test_the_program_text_of_the_compilation_is_not_in_the_log(self):
        said = self.compiled(0)
        self.assertIn("+ compile the modules\ncompile the modules: done after ", said)
        self.assertNotIn("import", said)


if __name__ == "__main__":
    unittest.main()
