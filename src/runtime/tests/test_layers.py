"""The packages of the runtime by layers: a package imports from itself and from the layers below
it.
"""

import ast
import os
import re
import unittest

RUNTIME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The highest first; "" is the runtime's own directory. Packages on one layer do not import each
# other.
LAYERS = [
    ["watchdog"],
    ["fleet"],
    [""],
    ["run"],
    ["report"],
    ["checkpoints"],
    ["datasets", "python_env"],
    ["disk"],
    ["run_dir"],
    ["sync"],
    ["aws"],
    ["system"],
]


def modules():
    """The paths of all modules, relative to the runtime, without `.py`."""
    for at, directories, names in os.walk(RUNTIME):
        directories[:] = [name for name in directories if name not in ("tests", "__pycache__")]
        for name in names:
            if name.endswith(".py") and name != "__init__.py":
                yield os.path.relpath(os.path.join(at, name), RUNTIME)[:-3]


def imports(module):
    """The modules of the runtime that one imports, also inside its functions."""
    with open(os.path.join(RUNTIME, module + ".py")) as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        path = module.split("/")[: -node.level] + (node.module.split(".") if node.module else [])
        for name in node.names:
            below = "/".join(path + [name.name])
            yield below if os.path.exists(os.path.join(RUNTIME, below + ".py")) else "/".join(path)


class LayersTest(unittest.TestCase):
    def setUp(self):
        self.imports = {module: set(imports(module)) for module in modules()}

    def test_every_import_is_of_a_module_that_exists(self):
        self.assertGreater(len(self.imports), 50)
        self.assertEqual(
            {
                (module, each)
                for module, all_of in self.imports.items()
                for each in all_of
                if each not in self.imports
            },
            set(),
        )

    def test_every_operation_is_of_a_module_that_exists(self):
        with open(os.path.join(RUNTIME, "main.py")) as file:
            named = re.findall(r'operation\("([\w.]+)", "\w+"\)', file.read())
        self.assertGreater(len(named), 5)
        self.assertEqual([name for name in named if name.replace(".", "/") not in self.imports], [])

    def test_every_package_has_one_layer(self):
        self.assertEqual(
            {os.path.dirname(module) for module in self.imports},
            {package for layer in LAYERS for package in layer},
        )

    def test_a_package_imports_from_the_layers_below_it(self):
        layer_of = {package: number for number, layer in enumerate(LAYERS) for package in layer}
        wrong = [
            "%s imports %s" % (module, each)
            for module, all_of in self.imports.items()
            for each in all_of
            if os.path.dirname(module) != os.path.dirname(each)
            and layer_of[os.path.dirname(each)] <= layer_of[os.path.dirname(module)]
        ]
        self.assertEqual(wrong, [])

    def test_no_modules_import_each_other_in_a_circle(self):
        done = set()

        def visit(module, way):
            self.assertNotIn(module, way, " -> ".join(way + (module,)))
            if module not in done:
                for each in self.imports[module]:
                    visit(each, way + (module,))
                done.add(module)

        for module in self.imports:
            visit(module, ())


if __name__ == "__main__":
    unittest.main()
