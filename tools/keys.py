"""What a notebook's results and the rendered pages depend on, as hashes: while these hold, so do the results.

A notebook's key is of its code, the closure of its imports (`mmbook.book.closure`), the benchmark files that
it names, the lock, the scale and the version of Python. The lock is part of it, unlike in the keys of kept
results, because a page shows what the installed versions print.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import nbformat

from mmbook.book.closure import Closure, Package
from mmbook.book.syntax import hashed as short
from tools import Stop

LOCK = Path("requirements/lock.txt")
PACKAGE = Path("mmbook")
BENCHMARKS = Path("benchmarks")
RESULTS = PACKAGE / "book/recipes/results"
SKIPPED = {"__pycache__", ".ipynb_checkpoints", "vendor"}
# A page that prints source text prints comments and docstrings, too.
READS_SOURCE = re.compile(r"getsource|__doc__|\bhelp\(|\w\?{1,2}$", re.MULTILINE)
# The package's own command, in a shell or as a process, and the word behind it, with its quote if it has one.
CLI = "mmbook.app.cli"
COMMAND = re.compile(
    r"""(?:^\s*!?\s*mmbook|["']mmbook["']\s*,|mmbook\.app\.cli["']?)[\s,]+(["']?)(\w[\w-]*)""", re.MULTILINE
)
AUTODOC = re.compile(r"^\s*\.\. auto\w+:: (mmbook[\w.]*)$", re.MULTILINE)


def package() -> Package:
    """The package in the folder where this runs, as it was at the first call there."""
    return read(PACKAGE.resolve())


@cache
def read(folder: Path) -> Package:
    """A package, read once."""
    return Package(folder)


def files_under(*folders: Path) -> list[Path]:
    """All files in the folders, sorted, without compiled and fetched ones."""
    found = (path for folder in folders for path in folder.rglob("*"))
    return sorted(path for path in found if path.is_file() and not SKIPPED & set(path.parts))


def digest(files: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of the files."""
    state = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        state.update(f"{path.as_posix()}\0{len(content)}\0".encode() + content)
    return state.hexdigest()


def settings() -> dict[str, str]:
    """Settings outside the files that change what a notebook computes."""
    return {
        "scale": os.environ.get("MMBOOK_SCALE", "laptop"),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }


def code(notebook: Path) -> list[str]:
    """The source of each code cell. Prose and cell tags are left out, since they do not change results."""
    cells = nbformat.read(notebook, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


def closure(notebook: Path) -> Closure:
    """The parts of the package that a notebook's code uses, each with a hash.

    Where the notebook prints source text, the hash is of the whole file.

    Raises:
        Stop: a cell is no Python.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    cells = code(notebook)
    program = "\n".join(TransformerManager().transform_cell(cell) for cell in cells)
    if named := commands("\n".join(cells)):
        program = program.replace(CLI, "the command line") + "\nimport mmbook\n" + "\n".join(named)
    try:
        found = package().of_code(program)
    except SyntaxError as error:
        raise Stop(f"{notebook} holds code that is no Python: {error}") from error
    if READS_SOURCE.search("\n".join(cells)):
        found = {part: digest([PACKAGE / part]) if part.endswith(".py") else h for part, h in found.items()}
    return found


def commands(code: str) -> list[str]:
    """The functions behind the package's commands that code calls: each is one of the command line's module.

    A quoted word that is no command calls none, as in ``("mmbook", "hibari")``. Where it is a variable, it
    may be any: all of the module counts.
    """
    cli = package().module(CLI)
    known = set() if cli is None else set(cli.defined)
    called = COMMAND.findall(code)
    if any(word not in known and not quote for quote, word in called):
        return [CLI]
    return [f"{CLI}.{word}" for word in sorted({word for _, word in called} & known)]


def notebook_key(notebook: Path) -> str:
    """Hash of all that a notebook's results depend on."""
    cells = code(notebook)
    named = [path for path in files_under(BENCHMARKS) if any(path.name in cell for cell in cells)]
    depends = [cells, closure(notebook), digest([*named, LOCK]), settings()]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()


def shown(pages: Iterable[Path]) -> dict[str, str]:
    """What the pages print of the package's sources: file -> hash of docstrings, signatures, constants.

    What functions do inside is on no page, so a change there renders none anew.
    """
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.suffix == ".md")
    files: set[Path] = set()
    for name in AUTODOC.findall(text):
        files |= {file for one in (name, *_members(name)) if (file := package().home(one))}
    return {file.relative_to(PACKAGE.resolve()).as_posix(): short(_outline(file)) for file in sorted(files)}


def _members(name: str) -> Iterator[str]:
    """Full names of what a package exports, which ``automodule`` shows."""
    module = package().module(name)
    if module is not None and module.is_package:
        yield from (f"{name}.{member}" for member in module.bound | module.defined)


def _outline(file: Path) -> str:
    """A module without the insides of its functions, docstrings apart."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Expr(ast.Constant(ast.get_docstring(node)))]
    return ast.unparse(ast.fix_missing_locations(tree))
