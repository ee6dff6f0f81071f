"""The build ships the modules without annotations, docstrings and comments: they do the same, and
never load `typing`.
"""

import ast
import os
import subprocess
import sys
import tempfile
import unittest

RUNTIME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(RUNTIME)), "scripts", "package")
sys.path.insert(0, SCRIPTS)
import strip_runtime  # noqa: E402

SOURCE = '''\
"""A docstring."""
from __future__ import annotations

import os  # a comment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

    def known(name: str) -> None: ...


LIMIT: int = 4
BLANK = """  # no comment

  end """


class Both:
    """A docstring."""

    name: str

    def __init__(self, name: str, *rest: int, at: "Dict[str, str]" = {}, **more: object) -> None:
        self.name: str = name

    async def nothing(
        self,
        of: int = 1,  # one
    ) -> list[str] | None:
        """A docstring alone."""


class Empty(Exception):
    """A docstring alone."""


def closed(f=lambda x: x, /, é: str = "->", *, b: int) -> "tuple[()]":
    x: int
    return f, "# é"
'''
STRIPPED = '''\



import os








LIMIT = 4
BLANK = """  # no comment

  end """


class Both:




    def __init__(self, name, *rest, at = {}, **more):
        self.name = name

    async def nothing(
        self,
        of = 1,
    ):
        pass


class Empty(Exception):
    pass


def closed(f=lambda x: x, /, é = "->", *, b):

    return f, "# é"
'''
IMPORT_ALL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
for name in sys.argv[2:]:
    importlib.import_module(name)
print("\\n".join(set(sys.modules) - before))
"""


def sources(root):
    for path in strip_runtime.module_paths(root):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            yield path, file.read()


def annotations(tree):
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.AnnAssign)
            or getattr(node, "annotation", None)
            or getattr(node, "returns", None)
        ):
            yield node


class StrippedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.TemporaryDirectory()
        cls.root = os.path.join(cls.home.name, "nx_ec2_runtime")
        strip_runtime.main(RUNTIME, cls.root)
        cls.modules = dict(sources(cls.root))

    @classmethod
    def tearDownClass(cls):
        cls.home.cleanup()

    def test_only_comments_docstrings_and_annotations_are_removed(self):
        self.assertEqual(strip_runtime.strip(SOURCE), STRIPPED)

    def test_a_module_that_would_mean_something_else_is_refused(self):
        for source in ("(x): int = 1\n", "if TYPE_CHECKING:\n    import a\nelse:\n    import b\n"):
            with self.assertRaises((ValueError, SyntaxError)):
                strip_runtime.strip(source)

    def test_every_module_is_shipped_with_the_lines_of_its_source_and_no_annotation(self):
        self.assertGreater(len(self.modules), 100)
        self.assertEqual(set(self.modules), {path for path, _ in sources(RUNTIME)})
        for path, source in sources(RUNTIME):
            self.assertEqual(self.modules[path].count("\n"), source.count("\n"), path)
            self.assertEqual(list(annotations(ast.parse(self.modules[path]))), [], path)

    def test_stripping_twice_changes_nothing(self):
        again = {path: strip_runtime.strip(source) for path, source in self.modules.items()}
        self.assertEqual(again, self.modules)

    def test_no_module_needs_typing(self):
        for path, source in self.modules.items():
            for node in ast.walk(ast.parse(source)):
                names = (
                    [each.name for each in getattr(node, "names", ())]
                    if isinstance(node, ast.Import)
                    else []
                )
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                self.assertFalse({"typing", "__future__", "dataclasses"} & set(names), path)

    def test_the_source_loads_the_same_modules_as_what_is_shipped(self):
        names = sorted(
            ("nx_ec2_runtime/" + path)[:-3].replace("/__init__", "").replace("/", ".")
            for path in self.modules
            if path != "bootstrap.py"
        )
        loaded = []
        for root in (RUNTIME, self.root):
            with tempfile.TemporaryDirectory() as home:
                os.symlink(root, os.path.join(home, "nx_ec2_runtime"))
                output = subprocess.check_output(
                    [sys.executable, "-I", "-S", "-B", "-c", IMPORT_ALL, home] + names
                )
                loaded.append(set(output.decode().split()))
        self.assertEqual(loaded[0] - {"__future__"}, loaded[1] - {"__future__"})
        self.assertGreater(loaded[1], set(names))


if __name__ == "__main__":
    unittest.main()
