"""One module of the package as a syntax tree without what decides no result, and what it uses.

Left out are comments, docstrings, formatting, the order and place of imports, what only type checkers read,
and annotations of undecorated functions; those that a decorator or a class may read stay. The hash of a tree
is the same under all versions of Python.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

Chain = tuple[str, ...]  # a.b.c is ("a", "b", "c")
# Name -> full name of a module, and names to look up on it.
Bindings = dict[str, set[tuple[str, Chain]]]
# What is bound inside these is no name of the module.
OWN_NAMES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def hashed(*things: object) -> str:
    """16 hexadecimal digits that depend on all of the things, as `repr` shows them."""
    return hashlib.sha256(repr(things).encode()).hexdigest()[:16]


class Module:
    """One module as a syntax tree without what decides nothing.

    Args:
        name: dotted; "" for a piece of code that is no module.
        text: its source.
        file: where it lies, or None.

    Attributes:
        bound: what names are imported as at the top level.
        tables: name -> key -> the attribute chain that stands there, of each table at the top level.
    """

    def __init__(self, name: str, text: str, file: Path | None = None) -> None:
        self.name, self.file = name, file
        self.is_package = file is not None and file.name == "__init__.py"
        self.bound: Bindings = {}
        self._inside: dict[int, Bindings] = {}  # of the functions and classes at the top level
        self._uses_of: dict[str, Uses] = {}
        tree = _Plain().visit(ast.parse(text))
        self.body: list[ast.stmt] = tree.body
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for program in _programs(node.value):
                    self.body.extend(_Plain().visit(program).body)
        self._take_imports()
        self.tables = {
            target.id: dict(_entries(statement.value))
            for statement in self.body
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }

    def _take_imports(self) -> None:
        """Move imports out of the tree: where and in which order they stand does not matter."""
        package = self.name if self.is_package else self.name.rpartition(".")[0]
        for statement in self.body:
            apart = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            bound = self._inside.setdefault(id(statement), {}) if apart else self.bound
            for node in ast.walk(statement):
                for name, target in _imported(node, package):
                    bound.setdefault(name, set()).add(target)
        self.body = [s for s in self.body if not isinstance(s, ast.Import | ast.ImportFrom)]
        for statement in self.body:
            _DropImports().visit(statement)

    def _bound_in(self, statements: Iterable[ast.stmt]) -> Bindings:
        """What names mean in some statements: imports at the top level, and those inside of them."""
        found = {name: set(targets) for name, targets in self.bound.items()}
        for statement in statements:
            for name, targets in self._inside.get(id(statement), {}).items():
                found.setdefault(name, set()).update(targets)
        return found

    @cached_property
    def defined(self) -> dict[str, list[ast.stmt]]:
        """Name -> the statements at the top level that bind it."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self.body:
            for name in _binds(statement):
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def uses(self) -> Uses:
        """What the whole module uses."""
        return Uses(self.body, self._bound_in(self.body))

    def uses_of(self, name: str) -> Uses:
        """What the statements at the top level that bind a name use."""
        if name not in self._uses_of:
            self._uses_of[name] = Uses(self.defined[name], self._bound_in(self.defined[name]))
        return self._uses_of[name]

    @cached_property
    def hash(self) -> str:
        """Of the whole module."""
        return self.hash_of(self.body)

    def hash_of(self, statements: Iterable[ast.stmt], *more: object) -> str:
        """Of some statements, and of the imports whose names they use."""
        statements = list(statements)
        names = {node.id for s in statements for node in ast.walk(s) if isinstance(node, ast.Name)}
        bound = self._bound_in(statements)
        imports = sorted((name, *sorted(bound[name])) for name in names & bound.keys())
        return hashed(imports, [_text(statement) for statement in statements], *more)


class Uses:
    """Attribute chains and strings in some statements, and what names are imported as there."""

    def __init__(self, statements: Iterable[ast.AST], bound: Bindings) -> None:
        self.bound = bound
        self.chains: set[Chain] = set()
        self.strings: set[str] = set()
        stack = list(statements)
        while stack:
            node = stack.pop()
            if chain := _chain(node):
                self.chains.add(chain)
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                self.strings.add(node.value)
            stack.extend(ast.iter_child_nodes(node))


class _Plain(ast.NodeTransformer):
    """Drops docstrings, what only type checkers read, and annotations of undecorated functions."""

    in_class = False  # its annotations make fields

    def visit_Module(self, node: ast.Module) -> ast.Module:
        node.body = _without_docstring(node.body)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return self._inside(node, True)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        if not node.decorator_list:
            node.returns = None
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            for argument in [*every, arguments.vararg, arguments.kwarg]:
                if argument is not None:
                    argument.annotation = None
        return self._inside(node, False)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _inside(self, node: Any, in_class: bool) -> Any:
        outside, self.in_class = self.in_class, in_class
        node.body = _without_docstring(node.body)
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        self.in_class = outside
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if self.in_class:
            return node
        return ast.Assign([node.target], node.value) if node.value else ast.Pass()

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if _chain(node.test)[-1:] == ("TYPE_CHECKING",):
            return node.orelse
        return node


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0].value if body and isinstance(body[0], ast.Expr) else None
    return body[isinstance(first, ast.Constant) and isinstance(first.value, str) :]


class _DropImports(ast.NodeTransformer):
    """Imports inside functions and conditions go; a block that becomes empty passes."""

    def visit_Import(self, node: ast.AST) -> ast.AST:
        return ast.Pass()

    visit_ImportFrom = visit_Import


def _chain(node: ast.AST) -> Chain:
    """``("a", "b")`` for ``a.b``; empty for anything that does not start with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()


def _imported(node: ast.AST, package: str) -> Iterator[tuple[str, tuple[str, Chain]]]:
    """What an import binds; nothing for any other node."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            target = alias.name if alias.asname else alias.name.split(".")[0]
            yield alias.asname or target, (target, ())
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            yield alias.asname or alias.name, (source, () if alias.name == "*" else (alias.name,))


def _binds(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top level binds; "" if it is an expression, which binds none."""
    if isinstance(statement, ast.Expr):
        yield ""
    nodes: list[ast.AST] = [statement]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                yield node.id
        elif not isinstance(node, OWN_NAMES):
            nodes.extend(ast.iter_child_nodes(node))


def _entries(table: ast.Dict) -> Iterator[tuple[str, Chain]]:
    """Key and attribute chain of each entry of a table that has nothing else."""
    pairs = [
        (key.value, _chain(value))
        for key, value in zip(table.keys, table.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    ]
    if len(pairs) == len(table.keys) and all(chain for _, chain in pairs):
        yield from pairs


def strings_of(statement: ast.stmt) -> dict[str, tuple[str, ...]]:
    """String -> words, of a literal table that a statement assigns."""
    found = {}
    value = statement.value if isinstance(statement, ast.Assign) else None
    if isinstance(value, ast.Dict):
        for key, entry in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                texts = [node.value for node in ast.walk(entry) if isinstance(node, ast.Constant)]
                found[key.value] = tuple(w for text in texts if isinstance(text, str) for w in text.split())
    return found


def _programs(text: str) -> Iterator[ast.Module]:
    """The program that a string is, if it is one."""
    if "import" in text and "mmbook" in text:
        try:
            yield ast.parse(text)
        except SyntaxError:
            return


def _text(node: object) -> str:
    """A syntax tree as text, the same under all versions of Python: fields that are empty are left out."""
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={_text(value)}"
            for name, value in sorted(ast.iter_fields(node))
            if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
        )
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        # 3.12 writes an empty string into some f-strings
        return f"[{','.join(_text(n) for n in node if getattr(n, 'value', None) != '')}]"
    return ascii(node)
