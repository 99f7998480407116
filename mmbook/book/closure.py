"""What a result is made by: the modules of the package whose names a piece of code uses, however far away.

A result that took long may be kept only as long as nothing that decides it has changed. What decides it is
found here by following imports through syntax trees, and not by a list that somebody has to remember:

- An import is followed to the module that has the *name*. ``from mmbook.encoders import Bert`` leads to
  ``encoders/bert.py`` and what that uses, not to all that ``encoders/__init__.py`` imports; nor does a name
  that is imported and not used lead anywhere. Imports inside functions count, and tables by which a package
  loads its names late (``_HOME``).
- Of a module named as a whole, ``from mmbook import evaluate``, the attributes in use are followed. One that
  is passed around as an object counts with all that it has.
- Of a table of classes by name, ``FUSIONS["concat"]``, those entries count whose key is written somewhere in
  the code that was followed. So one more fusion makes no result stale that does not name it.
- A string counts where it is a module's full name, names an asset (by its SHA-256) or a file beside the
  module (by its content), or is a program itself.

What an ``__init__`` does beside naming things does not count.
"""

from __future__ import annotations

import ast
import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path

from mmbook.book.syntax import Chain, Module, Uses, strings_of

ROOT = Path(__file__).resolve().parents[1]
# Modules that decide no result, and the names of each that are harmless (None: all). The hash of an asset
# stands for what `assets.path` returns; and how results are kept is not how they are made.
NEUTRAL: dict[str, set[str] | None] = {
    "assets": {"path", "cache_dir"},
    "moved": None,
    "book.closure": None,
    "book.kept": None,
    "book.pedigree": None,
    "book.progress": None,
    "book.syntax": None,
}

# Modules that are taken by the names in use, as every ``__init__`` is: of the command line, one command.
BY_NAME = {"app.cli"}
FILE_NAME = re.compile(r"[\w-]+(/[\w-]+)*\.(?!py$)\w+")

Closure = dict[str, str]  # part ("encoders/bert.py", "asset minilm") -> its hash


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """In words, what of a closure is another than before; empty if nothing is."""
    parts = [f"{part} changed" for part in now if part in before and before[part] != now[part]]
    parts += [f"{part} is used now" for part in now if part not in before]
    parts += [f"{part} is no longer used" for part in before if part not in now]
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return ", ".join(parts[:3]) + more


class Package:
    """All modules of a package, each read at most once.

    Args:
        root: its folder, whose name is the package's.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root, self.name = root, root.name
        self._modules: dict[str, Module | None] = {}
        self._lazy: dict[str, dict[str, str]] = {}

    def module(self, name: str) -> Module | None:
        """The module of that full name; None if the package has no such."""
        if name not in self._modules:
            first, *rest = name.split(".")
            place = self.root.joinpath(*rest)
            files = [place / "__init__.py", *([place.with_suffix(".py")] if rest else [])]
            found = next((file for file in files if file.is_file()), None) if first == self.name else None
            if found is None and first == self.name and place.is_dir() and any(place.glob("*.py")):
                self._modules[name] = Module(name, "", place / "__init__.py")  # a folder without an __init__
            elif found is None:
                self._modules[name] = None
            else:
                self._modules[name] = Module(name, found.read_text(encoding="utf-8"), found)
        return self._modules[name]

    def lazy(self, source: Module) -> dict[str, str]:
        """Name -> module, by the tables of a package that say where names live: by name, or by module."""
        if source.name in self._lazy:
            return self._lazy[source.name]
        found: dict[str, str] = {}
        for statement in source.body if "__getattr__" in source.defined else ():
            for key, entries in strings_of(statement).items():
                for home, names in [(key, entries), *((entry, (key,)) for entry in entries)]:
                    for module in (home, f"{source.name}.{home}"):
                        if module.startswith(f"{self.name}.") and self.module(module):
                            found |= dict.fromkeys(names, module)
        self._lazy[source.name] = found
        return found

    def under(self, name: str) -> list[str]:
        """Full names of all modules in a package, at any depth."""
        folder = self.root.joinpath(*name.split(".")[1:])
        files = (file.relative_to(self.root).with_suffix("") for file in sorted(folder.rglob("*.py")))
        return [".".join((self.name, *(p for p in file.parts if p != "__init__"))) for file in files]

    @cached_property
    def assets(self) -> dict[str, str]:
        """SHA-256 of each asset by name."""
        file = self.root / "assets.toml"
        table = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return {name: entry["sha256"] for name, entry in table.items()}

    def of_code(self, text: str) -> Closure:
        """The closure of a program or of a notebook's cells, which itself is no part of it."""
        walk = _Walk(self)
        code = Module("", text)
        walk.take(code, code.uses)
        return walk.finish()

    def of_names(self, module: str, names: Iterable[str]) -> Closure:
        """The closure of some functions of a module: of this one, only what they lead to is part of it.

        Raises:
            ValueError: no such module or name.
        """
        source = self.module(module)
        if source is None:
            raise ValueError(f"{module!r} is no module of {self.root}")
        walk = _Walk(self, by_name=module)
        # statements such as a switch of torch's, which no name leads to, stand under ""
        for name in [*names, *([""] if "" in source.defined else [])]:
            if name not in source.defined:
                raise ValueError(f"{module} has no top-level {name!r}; there are {', '.join(source.defined)}")
            walk.name(source, name)
        return walk.finish()

    def imports(self, module: str) -> set[str]:
        """Full names of the modules whose names one module uses itself, at once or later."""
        source, walk = self.module(module), _Walk(self, shallow=True)
        if source is not None:
            uses = Uses(source.body, source.uses.bound)
            uses.strings.clear()
            walk.take(source, uses)
        return (walk.whole.keys() | walk.names.keys()) - {module}

    def home(self, name: str) -> Path | None:
        """The file in which the thing with this full name is written down; None if it is none of ours."""
        walk = _Walk(self, shallow=True)
        walk.follow(self.name, tuple(name.split(".")[1:]))
        return walk.last


class _Walk:
    """One search for a closure.

    Args:
        package: where.
        by_name: a module that is taken by the names in use, as every ``__init__`` is.
        shallow: stop at the first module.
    """

    def __init__(self, package: Package, by_name: str = "", shallow: bool = False) -> None:
        self.package, self.by_name, self.shallow = package, by_name, shallow
        self.last: Path | None = None  # the file that was reached last
        self.whole: dict[str, Module] = {}
        self.names: dict[str, set[str]] = {}  # of each module that is taken by name
        self.keyed: set[tuple[str, str]] = set()  # tables (module, name) whose entries count by their keys
        self.strings: set[str] = set()
        self.files: dict[str, str] = {}
        self.assets = package.assets

    def take(self, module: Module, uses: Uses) -> None:
        """Follow what a piece of a module uses."""
        for chain in uses.chains:
            for source, path in uses.bound.get(chain[0], ()):
                self.follow(source, path + chain[1:])
            if self._taken_by_name(module) and chain[0] in module.defined:
                self.name(module, chain[0], inside=True)
        for source, path in uses.bound.get("*", ()):
            self.follow(source, path)
        for text in uses.strings:
            self._string(text, module.file.parent if module.file else None)
        self.strings |= uses.strings

    def _taken_by_name(self, module: Module) -> bool:
        inside = module.name.removeprefix(f"{self.package.name}.")
        return module.is_package or module.name == self.by_name or inside in BY_NAME

    def _string(self, text: str, folder: Path | None) -> None:
        own = re.escape(self.package.name)
        for name in re.findall(rf"^({own}(?:\.\w+)+)$|-m\s+({own}(?:\.\w+)+)\b", text):
            self.follow(self.package.name, tuple("".join(name).split(".")[1:]))
        if text in self.assets:
            self.files[f"asset {text}"] = self.assets[text][:16]
        if folder is not None and FILE_NAME.fullmatch(text) and (file := folder / text).is_file():
            part = file.relative_to(self.package.root).as_posix()
            self.files[part] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]

    def follow(self, module: str, path: Chain) -> None:
        """Take what an attribute chain on a module leads to."""
        source = self.package.module(module)
        if source is None:
            return
        inside = module.removeprefix(f"{self.package.name}.")
        if inside in NEUTRAL and not self.shallow:
            harmless = NEUTRAL[inside]
            if harmless is None or (path and path[0] in harmless):
                return
        if not path:
            for name in self.package.under(module) if source.is_package else [module]:
                self.module(name)
            return
        name, rest = path[0], path[1:]
        if name.startswith("__"):
            return
        if not self._taken_by_name(source):
            self.module(module)
        for target, more in source.bound.get(name, ()):
            self.follow(target, more + rest)
        if name in source.bound or not self._taken_by_name(source):
            return
        if name in source.defined:
            self.name(source, name)
        elif home := self.package.lazy(source).get(name):
            self.follow(home, (name, *rest))
        elif self.package.module(f"{module}.{name}"):
            self.follow(f"{module}.{name}", rest)
        elif not self.package.lazy(source) and any(
            isinstance(statement, ast.FunctionDef) for statement in source.defined.get("__getattr__", ())
        ):
            self.follow(module, ())  # it may return anything

    def module(self, name: str) -> None:
        """Take a module as a whole."""
        source = self.package.module(name)
        if source is None or name in self.whole:
            return
        self.last = source.file
        self.whole[name] = source
        if not self.shallow:
            self.take(source, source.uses)

    def name(self, module: Module, name: str, inside: bool = False) -> None:
        """Take one name of a module that is taken by name; `inside` where the module itself uses it."""
        self.last = module.file
        if inside and module.is_package and module.tables.get(name):
            self.keyed.add((module.name, name))
            return
        known = self.names.setdefault(module.name, set())
        if name in known or name.startswith("__"):
            return
        known.add(name)
        if not self.shallow:
            self.take(module, module.uses_of(name))

    def finish(self) -> Closure:
        """The closure, once the entries of all tables are followed."""
        done: set[tuple[str, str]] = set()  # module, name that stands in a table
        while new := {(m.name, entry[0]) for m, _, entry in self._entries()} - done:
            done |= new
            for name, entry in new:
                source = self.package.module(name)
                assert source is not None
                self.take(source, Uses([ast.Name(entry)], source.bound))
        parts = {self._part(source): source.hash for source in self.whole.values()}
        by_name = {name: sorted(names) for name, names in self.names.items()}
        for name in by_name.keys() | {name for name, _ in self.keyed}:
            source = self.package.module(name)
            if source is not None and name not in self.whole:
                statements = [s for one in by_name.get(name, ()) for s in source.defined[one]]
                keyed = sorted((key, entry) for module, key, entry in self._entries() if module is source)
                parts[self._part(source)] = source.hash_of(dict.fromkeys(statements), keyed)
        return dict(sorted((parts | self.files).items()))

    def _entries(self) -> Iterator[tuple[Module, str, Chain]]:
        """Module, key and value of each entry of a table whose key is written somewhere."""
        for name, table in self.keyed:
            source = self.package.module(name)
            assert source is not None
            for key, entry in source.tables[table].items():
                if key in self.strings:
                    yield source, key, entry

    def _part(self, source: Module) -> str:
        assert source.file is not None
        return source.file.relative_to(self.package.root).as_posix()


@cache
def package() -> Package:
    """The package this file belongs to, as it was at the first call."""
    return Package()
