"""The page of the package names things that exist, and leaves out no public name of the library."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import mmbook

PAGE = (Path(__file__).resolve().parents[1] / "book/appendix/api.md").read_text(encoding="utf-8")
DIRECTIVE = re.compile(r"^\.\. auto(\w+):: ([\w.]+)(.*)\n((?:   :.*\n)*)", re.MULTILINE)
DIRECTIVES = [found.groups() for found in DIRECTIVE.finditer(PAGE)]
HOUSES = ["The library", "The command line", "What only chapters use"]
# Packages whose `__all__` is public, and modules without one whose own names are.
LIBRARY = "preprocess data losses encoders fusion models generate train evaluate explain protocols heads plot"


def located(path: str) -> Any:
    """The class or function that a directive names, without what wraps it."""
    module, _, name = path.rpartition(".")
    return inspect.unwrap(getattr(importlib.import_module(module), name))


def public(module: Any) -> list[Any]:
    """What ``automodule`` shows of a module: its `__all__`, else the classes and functions defined in it."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    values = [inspect.unwrap(getattr(module, name)) for name in names]
    return [value for value in values if inspect.isclass(value) or inspect.isfunction(value)]


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, path, _, _ in DIRECTIVES])
def test_every_entry_exists(kind: str, path: str) -> None:
    """And is what its directive says."""
    found = importlib.import_module(path) if kind == "module" else located(path)
    assert {"module": inspect.ismodule, "class": inspect.isclass, "function": inspect.isfunction}[kind](found)


def test_every_public_name_of_the_library_has_an_entry() -> None:
    shown = {id(located(path)) for kind, path, _, _ in DIRECTIVES if kind != "module"}
    for kind, path, _, options in DIRECTIVES:
        if kind == "module" and ":members:\n" in options:
            shown |= {id(value) for value in public(importlib.import_module(path))}
    wanted = {f"mmbook.{value.__name__}": value for value in public(mmbook)}
    for name in LIBRARY.split():
        module = importlib.import_module(f"mmbook.{name}")
        wanted |= {f"mmbook.{name}.{value.__name__}": value for value in public(module)}
    assert [name for name, value in wanted.items() if id(value) not in shown] == []


def test_each_entry_stands_in_its_house() -> None:
    """What is in mmbook.app and mmbook.book is not shown as part of the library."""
    sections = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert list(found) == HOUSES
    for title, house in zip(HOUSES, (r"(?!app\.|book\.)", r"app\.", r"book\."), strict=True):
        paths = [path for _, path, _, _ in DIRECTIVE.findall(found[title])]
        assert [path for path in paths if not re.match(rf"mmbook\.{house}", path)] == []


def test_every_part_has_a_name_in_the_package() -> None:
    """``dir(mmbook)`` shows what there is, and each of it can be had."""
    assert set(LIBRARY.split()) | {"app", "book", "assets", "modality", "registry"} <= set(dir(mmbook))
    assert all(getattr(mmbook, name) is not None for name in dir(mmbook))
    assert not isinstance(mmbook.scale, type(mmbook)) and not isinstance(mmbook.versions, type(mmbook))
