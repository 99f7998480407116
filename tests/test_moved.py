"""What readers of version 0.1 imported still works, or its error is the import to write instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmbook.moved import NEW

# A line for each module: its public names, and those that the chapters and the page of the package named.
SAVED = Path(__file__).parent / "saved/public_names_0.1.txt"
BEFORE = dict(line.split(":") for line in SAVED.read_text(encoding="utf-8").splitlines())


def imported(module: str, name: str) -> object:
    """What ``from module import name`` gives."""
    scope: dict[str, object] = {}
    exec(f"from {module} import {name} as found", scope)
    return scope["found"]


def follow(module: str, name: str) -> object:
    """``from module import name``; after an error that says another import, what that one gives."""
    try:
        return imported(module, name)
    except ImportError as error:
        said = re.fullmatch(r"(mmbook\.\S+) has moved; write: (from .+?)(; for .+)?", str(error))
        assert said is not None, error
        old, line, others = said.groups(default="")
        if other := re.search(rf"; for {name}: (from [^;]+)", others):
            line, old = other[1], f"{module}.{name}"
        package, found = line.removeprefix("from ").split(" import ")
        if f"{module}.{name}" == old:  # it is the name itself that moved
            return imported(package, found)
        # What moved is the name's module or package; `skip_gram` is a module and a function in it.
        new = package if package.endswith(f".{found}") else f"{package}.{found}"
        return imported(f"{new}{module.removeprefix(old)}", name)


@pytest.mark.parametrize("module", BEFORE)
def test_an_old_import_works_or_says_the_new_one(module: str) -> None:
    for name in BEFORE[module].split():
        assert follow(module, name) is not None
    parent, _, last = module.rpartition(".")
    assert not parent or follow(parent, last) is not None


@pytest.mark.parametrize("old", NEW)
def test_every_entry_leads_somewhere(old: str) -> None:
    """The old place has nothing under that name; the new place has, and is itself not moved."""
    package, _, name = old.rpartition(".")
    for line in (f"from {package} import {name}", f"import {old}"):
        with pytest.raises(ImportError, match=r"(write: from|No module named)"):
            exec(line)
    with pytest.raises(ImportError, match=f"{re.escape(old)} has moved"):
        exec(f"from {package} import {name}")
    assert NEW[old] not in NEW
    new, _, there = NEW[old].rpartition(".")
    assert follow(new, there) is not None


def test_what_never_was_is_no_name() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Clinics'"):
        exec("from mmbook.data import Clinics")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'mmbook\.clinics'"):
        exec("import mmbook.clinics")
