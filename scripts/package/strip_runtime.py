"""Copies the runtime without what only people and type checkers read.

    python3 scripts/package/strip_runtime.py src/runtime dist/runtime

Left out: annotations, `if TYPE_CHECKING:` blocks, `from __future__ import annotations`, docstrings,
comments. Every line keeps its number, so that a traceback names the line of the source. Only
ranges of the text are removed, so the result is the same bytes on every version of Python; it is
compared with the syntax tree before it is written.
"""

from __future__ import annotations

import ast
import io
import os
import sys
import tokenize
from typing import Iterator, Tuple, Union, cast

Edit = Tuple[int, int, str]
Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]

FLAG = "TYPE_CHECKING"


def main(source_root: str, target_root: str) -> None:
    for path in sorted(module_paths(source_root)):
        with open(os.path.join(source_root, path), encoding="utf-8") as file:
            source = file.read()
        try:
            write_if_changed(os.path.join(target_root, path), strip(source).encode())
        except (ValueError, SyntaxError) as error:
            raise SystemExit("%s: %s" % (path, error)) from error


def module_paths(root: str) -> Iterator[str]:
    for at, directories, names in os.walk(root):
        directories[:] = [name for name in directories if name not in ("tests", "__pycache__")]
        for name in names:
            if name.endswith(".py"):
                yield os.path.relpath(os.path.join(at, name), root)


def write_if_changed(path: str, data: bytes) -> None:
    """Replaces the file at once: another process may read it meanwhile."""
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = "%s.%d" % (path, os.getpid())
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def strip(source: str) -> str:
    """The source as it is shipped; ValueError or SyntaxError where it cannot be stripped."""
    stripped = without_comments(apply_edits(source, list(Edits(source).of_module())))
    wanted = Stripper().visit(ast.parse(source))
    if ast.dump(ast.parse(stripped)) != ast.dump(wanted):
        raise ValueError("the stripped module is not the module without its annotations")
    return stripped


def apply_edits(source: str, edits: list[Edit]) -> str:
    """The source with the outermost of the ranges replaced; their line ends stay."""
    parts: list[str] = []
    done = 0
    for begin, end, text in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if begin >= done:
            parts += [source[done:begin], text, "\n" * source.count("\n", begin, end)]
            done = end
    return "".join(parts) + source[done:]


def without_comments(source: str) -> str:
    # A line of a string stays as it is; elsewhere an edit can leave blanks at its end.
    inside = rows_inside_strings(source)
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return "".join(
        "%s\n" % (line if row in inside else line.rstrip()) for row, line in enumerate(lines, 1)
    )


def rows_inside_strings(source: str) -> list[int]:
    """The rows whose end lies inside of a string."""
    rows: list[int] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and node.end_lineno != node.lineno:
            rows.extend(range(node.lineno, node.end_lineno or node.lineno))
    return rows


def is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def is_for_type_checkers(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        found = isinstance(statement.test, ast.Name) and statement.test.id == FLAG
        if found and statement.orelse:
            raise ValueError("`if %s` has an `else`" % FLAG)
        return found
    if isinstance(statement, ast.Assign):
        target = statement.targets[0]
        return isinstance(target, ast.Name) and target.id == FLAG
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__" and [each.name for each in statement.names] == [
            "annotations"
        ]
    return False


def is_removed(statement: ast.stmt) -> bool:
    declaration = isinstance(statement, ast.AnnAssign) and statement.value is None
    return declaration or is_docstring(statement) or is_for_type_checkers(statement)


def all_arguments(function: Function) -> list[ast.arg]:
    arguments = function.args
    several = [each for each in (arguments.vararg, arguments.kwarg) if each]
    return arguments.posonlyargs + arguments.args + arguments.kwonlyargs + several


def block_of(node: ast.AST, name: str) -> list[ast.stmt]:
    """The statements of a field: none where the node lacks it, or has an expression there."""
    block: object = getattr(node, name, None)
    return cast("list[ast.stmt]", block) if isinstance(block, list) else []


class Stripper(ast.NodeTransformer):
    """The syntax tree that the stripped text must have."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name in ("body", "orelse", "finalbody"):
            block = block_of(node, name)
            if block:
                kept = [each for each in block if not is_removed(each)]
                setattr(node, name, kept or ([] if isinstance(node, ast.Module) else [ast.Pass()]))
        return super().generic_visit(node)

    def visit_FunctionDef(self, node: Function) -> ast.AST:
        node.returns = None
        for each in all_arguments(node):
            each.annotation = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            raise ValueError("a declaration without a value is still there")
        assign = ast.Assign(targets=[node.target], value=node.value, type_comment=None)
        return self.generic_visit(assign)


class Edits:
    """The ranges of a module's text that are removed, and what replaces them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = ast.parse(source)
        self.rows = [0]
        for line in source.splitlines(keepends=True):
            self.rows.append(self.rows[-1] + len(line))
        self.lines = source.splitlines(keepends=True)

    def offset(self, row: int, column: int) -> int:
        """The syntax tree counts bytes of UTF-8."""
        return self.rows[row - 1] + len(self.lines[row - 1].encode()[:column].decode())

    def begin(self, node: ast.stmt | ast.expr) -> int:
        return self.offset(node.lineno, node.col_offset)

    def end(self, node: ast.stmt | ast.expr) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.offset(node.end_lineno, node.end_col_offset)

    def of_module(self) -> Iterator[Edit]:
        yield from self.of_block(self.tree.body, required=False)
        for node in ast.walk(self.tree):
            if node is self.tree:
                continue
            for name in ("body", "orelse", "finalbody"):
                yield from self.of_block(block_of(node, name), required=True)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from self.of_signature(node)
            if isinstance(node, ast.AnnAssign) and node.value:
                yield self.end(node.target), self.end(node.annotation), ""

    def of_block(self, block: list[ast.stmt], required: bool) -> Iterator[Edit]:
        all_removed = all(is_removed(each) for each in block)
        for number, each in enumerate(block):
            if is_removed(each):
                text = "pass" if required and all_removed and number == 0 else ""
                yield self.begin(each), self.end(each), text

    def of_signature(self, function: Function) -> Iterator[Edit]:
        for each in all_arguments(function):
            if each.annotation:
                begin = self.offset(each.lineno, each.col_offset) + len(each.arg)
                yield begin, self.end(each.annotation), ""
        if function.returns:
            arrow = self.source.rindex("->", 0, self.begin(function.returns))
            yield len(self.source[:arrow].rstrip()), self.end(function.returns), ""


if __name__ == "__main__":
    main(*sys.argv[1:])
