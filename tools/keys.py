"""What a notebook's results depend on, as one hash: while it is unchanged, what was executed still holds."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat

LOCK = Path("requirements/lock.txt")
PACKAGE = Path("mmbook")
BENCHMARKS = Path("benchmarks")
SKIPPED = {"__pycache__", ".ipynb_checkpoints", "vendor"}


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


def notebook_key(notebook: Path, shared: str) -> str:
    """Hash of the notebook's code, the benchmark files it names, and `shared` (see `shared_key`)."""
    cells = code(notebook)
    named = [path for path in files_under(BENCHMARKS) if any(path.name in cell for cell in cells)]
    return hashlib.sha256(json.dumps([cells, digest(named), shared]).encode()).hexdigest()


def shared_key() -> str:
    """Hash of what every notebook depends on: the package, the lock and the settings."""
    return hashlib.sha256(
        json.dumps([digest([*files_under(PACKAGE), LOCK]), settings()]).encode()
    ).hexdigest()
