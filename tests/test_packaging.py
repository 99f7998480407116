"""What an installation brings: the wheel's contents, and each extra's modules, asked for by name."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from mmbook import extras

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Kept results of recipes: weights or scores, and the pedigree beside them.
RESULTS = {"mmbook/book/recipes/results/trial.safetensors", "mmbook/book/recipes/results/trial.json"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel, built offline from a copy of the sources and two results."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-prose"):
        shutil.copy(ROOT / name, copy)
    for name in ("mmbook", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in RESULTS:
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(b"{}")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "-w", str(copy / "dist"), str(copy)], check=True, capture_output=True)
    (built,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_wheel_has_all_that_the_package_reads(wheel: set[str]) -> None:
    """Every source and table, the mark that the package has types, the registry, and the kept results."""
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mmbook").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"mmbook/py.typed", "mmbook/assets.toml"} <= sources
    assert sources | RESULTS <= wheel


def test_wheel_has_nothing_else(wheel: set[str]) -> None:
    """No tests, no tools, no book: the package and its metadata."""
    assert {name.split("/")[0] for name in wheel} == {"mmbook", f"mmbook-{PROJECT['version']}.dist-info"}


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_extras_name_the_modules_they_bring(extra: str) -> None:
    """Each requirement of the extra brings one of its modules, and each module comes from one of them."""
    wanted = {re.split(r"[>=]", line)[0].lower() for line in PROJECT["optional-dependencies"][extra]}
    brought = importlib.metadata.packages_distributions()
    of_modules = {brought[module][0].lower().replace("_", "-") for module in extras.EXTRAS[extra]}
    assert of_modules == wanted


def test_what_needs_an_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra a call says what is missing and how to install it; the library itself imports."""
    code = """
import sys
for name in ("emoji", "hibari", "IPython", "pycocotools", "resvg_py"):
    sys.modules[name] = None  # as if it were not installed
import torch
from mmbook import evaluate
for call in (
    lambda: evaluate.detection_metrics([], torch.zeros(0, 1, 5)),
    lambda: __import__("mmbook.book.datasets"),
):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    said = done.stdout.splitlines()
    assert len(said) == 2, done.stderr
    assert "detection_metrics needs pycocotools" in said[0] and "'mmbook[detection]'" in said[0]
    assert "mmbook.book needs emoji, hibari, IPython, pycocotools, resvg_py" in said[1]
    assert "'mmbook[chapters]'" in said[1]


def test_the_library_needs_no_extra() -> None:
    """Every module outside app and book imports with the required packages alone."""
    code = f"""
import sys, importlib, pathlib
for name in {sorted({module for names in extras.EXTRAS.values() for module in names})!r}:
    sys.modules[name] = None
root = pathlib.Path("mmbook")
for path in sorted(root.rglob("*.py")):
    parts = path.with_suffix("").parts
    if parts[1] not in ("app", "book") and parts[-1] != "__main__":
        importlib.import_module(".".join(parts).removesuffix(".__init__"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
