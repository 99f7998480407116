"""Imports point one way: the layers of pyproject.toml, for imports as such and for those by a string."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import grimp
import networkx
import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
][0]
# Strings of these load nothing of a layer's: one says where names have moved to, the other is the front door,
# which loads everything; who goes through it is tested below.
PASSED_OVER = {"mmbook.moved", "mmbook"}
# `import_module` of a name that the user gives, in a config or in a call: no dependency of ours.
THE_USERS_OWN = {"mmbook.registry"}
ABOVE_THE_LIBRARY = {"mmbook.app", "mmbook.book"}

# "mmbook.encoders.vit", "mmbook.encoders.vit.ViT" or "mmbook.encoders.vit:ViT".
PATH_OF_OURS = re.compile(r"mmbook(\.\w+)+(:\w+)?")

Graph = grimp.ImportGraph


def file_of(module: str) -> Path:
    """The source of a module of the package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def strings(tree: ast.AST) -> Iterator[str]:
    """All string constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def loaded_by_strings(module: str, tree: ast.Module, modules: set[str]) -> set[str]:
    """What the module imports by strings: by `import_module`, or by a table of dotted paths for later.

    Raises:
        ValueError: an `import_module` of something that cannot be read off the file.
    """
    dotted = {text.replace(":", ".") for text in strings(tree) if PATH_OF_OURS.fullmatch(text)}
    found = {path if path in modules else path.rpartition(".")[0] for path in dotted} & modules
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called not in ("import_module", "__import__"):
            continue
        match node.args[0]:
            case ast.Constant():
                continue  # is among the paths already
            case ast.JoinedStr(values=[ast.Constant(value=str(start)), ast.FormattedValue()]):
                entries = {f"{start}{text}" for text in strings(tree)} & modules
                if not entries:
                    raise ValueError(
                        f"{module} imports {start}... by a string, and no table in it says which"
                    )
                found |= entries
            case other:
                if module not in THE_USERS_OWN:
                    raise ValueError(
                        f"{module} imports {ast.unparse(other)}: nobody can read off what that is"
                    )
    return {
        name for name in found - {module} if not name.endswith(".__main__")
    }  # a program is run, not imported


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Every import of the package, lazy ones too, without those for annotations alone."""
    return grimp.build_graph("mmbook", exclude_type_checking_imports=True, cache_dir=None)


@pytest.fixture(scope="module")
def full(graph: Graph) -> Graph:
    """The same, and what strings load."""
    for module in sorted(graph.modules - PASSED_OVER):
        tree = ast.parse(file_of(module).read_text(encoding="utf-8"))
        for loaded in loaded_by_strings(module, tree, graph.modules):
            graph.add_import(importer=module, imported=loaded)
    return graph


def broken(graph: Graph) -> list[str]:
    """The imports that go against the contract of pyproject.toml, each as "importer -> imported"."""
    layers = []
    for line in CONTRACT["layers"]:
        names = [name.strip() for name in line.split("|")]
        layers.append(grimp.Layer(*names, independent=True))
    found = graph.find_illegal_dependencies_for_layers(layers=layers, containers={"mmbook"})
    routes = [
        f"{head} -> {tail}"
        for chain in found
        for route in chain.routes
        for head in route.heads
        for tail in ([*route.middle, *route.tails][:1])
    ]
    (excepted,) = CONTRACT["ignore_imports"]
    return sorted(route for route in set(routes) if not fnmatch(route, excepted))


def test_lint_imports_passes() -> None:
    """The command that `make lint` runs, alone."""
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_strings_keep_the_layers(full: Graph) -> None:
    """An import by a string counts as one that Python sees."""
    assert broken(full) == []


def test_no_cycle_of_files(full: Graph) -> None:
    """No two files import each other, over however many steps; an ``__init__`` is a file as well."""
    imports = [(a, b) for a in full.modules for b in full.find_modules_directly_imported_by(a)]
    cycles = networkx.strongly_connected_components(networkx.DiGraph(imports))
    assert [sorted(cycle) for cycle in cycles if len(cycle) > 1] == []


def test_the_library_does_not_go_through_the_front_door(full: Graph) -> None:
    """``import mmbook`` can load everything, so only what stands on the library may write it."""
    through = full.find_modules_that_directly_import("mmbook")
    assert [name for name in sorted(through) if ".".join(name.split(".")[:2]) not in ABOVE_THE_LIBRARY] == []


def test_wrong_ways_are_seen(graph: Graph) -> None:
    """Up, sideways and lazily: each of these would break the contract."""
    for a, b in [
        ("mmbook.data.arrays", "mmbook.book.film"),
        ("mmbook.app.cli", "mmbook.book"),
        ("mmbook.book", "mmbook.app.cli"),
        ("mmbook.encoders.vit", "mmbook.fusion.concat"),
        ("mmbook.modality", "mmbook.protocols"),
    ]:
        graph.add_import(importer=a, imported=b)
        assert f"{a} -> {b}" in broken(graph)
        graph.remove_import(importer=a, imported=b)


@pytest.mark.parametrize(
    "source",
    [
        "import importlib\n_HOME = {'Word2Vec': 'word2vec'}\n"
        "def __getattr__(name): return importlib.import_module(f'mmbook.encoders.{_HOME[name]}')",
        "from importlib import import_module\ndef late(): return import_module('mmbook.encoders.word2vec')",
        "HOMES = {'Word2Vec': 'mmbook.encoders.word2vec.Word2Vec'}",
        "HOMES = {'Word2Vec': 'mmbook.encoders.word2vec:Word2Vec'}",
    ],
    ids=["a table of names", "a constant", "a table of paths", "an entry point"],
)
def test_imports_by_strings_are_seen(source: str) -> None:
    modules = {"mmbook", "mmbook.encoders", "mmbook.encoders.word2vec", "mmbook.data"}
    assert loaded_by_strings("mmbook.data", ast.parse(source), modules) == {"mmbook.encoders.word2vec"}


def test_an_import_that_nobody_can_follow_is_refused() -> None:
    source = ast.parse("import importlib\ndef load(name): return importlib.import_module(name)")
    with pytest.raises(ValueError, match=r"mmbook\.data imports name"):
        loaded_by_strings("mmbook.data", source, {"mmbook.data"})
    with pytest.raises(ValueError, match="no table in it says which"):
        loaded_by_strings("mmbook.data", ast.parse("import_module(f'mmbook.{x}')"), {"mmbook.data"})
