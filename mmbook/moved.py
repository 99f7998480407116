"""Where public names are that stood elsewhere before version 0.2: an old import says the new place."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
# old place -> new place, of modules, classes and functions
NEW: dict[str, str] = {
    f"{old}.{name}": f"{new}.{name}"
    for old, places in _TABLE["names"].items()
    for new, names in places.items()
    for name in names.split()
} | _TABLE["renamed"]


def check(old: str) -> None:
    """Nothing, unless what is called `old` has moved.

    Raises:
        ImportError: it has; the message is the import to write instead.
    """
    if old in NEW:
        others = [f"; for {name}: {_line(new)}" for name, new in _TABLE["elsewhere"].get(old, {}).items()]
        raise ImportError(f"{old} has moved; write: {_line(NEW[old])}{''.join(others)}", name=NEW[old])


def _line(new: str) -> str:
    package, _, name = new.rpartition(".")
    return f"from {package} import {name}"


class Signpost(MetaPathFinder):
    """Finds no module; for one that has moved it says so, in place of "No module named ..."."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        check(fullname)


def put_up() -> None:
    """Have the signpost asked; once, however often mmbook is imported.

    It comes first: an update in place leaves folders without sources behind, which Python takes for packages.
    """
    if not any(isinstance(finder, Signpost) for finder in sys.meta_path):
        sys.meta_path.insert(0, Signpost())


def moved_names(package: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package, for names that left it.

    Raises:
        ImportError: from the function, for a name that has moved; it says where to.
        AttributeError: from the function, for any other.
    """

    def __getattr__(name: str) -> Any:
        check(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
