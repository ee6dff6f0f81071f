"""The sizes of the modules of the runtime and of their functions, with the limits that
eslint.config.mjs has for TypeScript: lines without blank ones, comments and docstrings.
"""

import ast
import io
import os
import tokenize
import unittest

import test_layers

MAX_MODULE = 300
MAX_FUNCTION = 60
# Made by scripts/generate/shared-schema.mjs.
GENERATED = {"system/documents"}
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source, tree):
    """The numbers of the lines that have code."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def too_large(name, source):
    """What is too large in a module, each with its number of lines."""
    tree = ast.parse(source)
    lines = code_lines(source, tree)
    if len(lines) > MAX_MODULE:
        yield "%s: %d lines" % (name, len(lines))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            count = sum(node.lineno <= line <= node.end_lineno for line in lines)
            if count > MAX_FUNCTION:
                yield "%s, %s(): %d lines" % (name, node.name, count)


class SizesTest(unittest.TestCase):
    def test_no_module_and_no_function_of_the_runtime_is_too_large(self):
        found, count = [], 0
        for module in sorted(set(test_layers.modules()) - GENERATED):
            with open(os.path.join(test_layers.RUNTIME, module + ".py")) as file:
                found += too_large(module, file.read())
            count += 1
        self.assertEqual(found, [])
        self.assertGreater(count, 100)

    def test_lines_without_code_do_not_count(self):
        def module(lines):
            return '"""Text\n\nof a module.\n"""\n\n# A comment.\n' + "a = 1\n\n" * lines

        self.assertEqual(list(too_large("a", module(300))), [])
        self.assertEqual(list(too_large("a", module(301))), ["a: 301 lines"])

    def test_a_function_has_its_signature_and_no_docstring(self):
        def function(lines):
            return 'def f(\n    a,\n):\n    """Text\n    of it.\n    """\n' + "    a = 1\n" * lines

        self.assertEqual(list(too_large("a", function(57))), [])
        self.assertEqual(list(too_large("a", function(58))), ["a, f(): 61 lines"])


if __name__ == "__main__":
    unittest.main()
