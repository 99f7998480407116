"""The shape of every notebook: short cells, no outputs, the agreed first cell, the anatomy of a chapter."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from mmbook.extras import EXTRAS
from tools import repo
from tools.pages import docname, notebooks

# Headings of a chapter, in this order; others may stand between them.
ANATOMY = [
    "What you will be able to do",
    "What you need",
    "Summary",
    "Check yourself",
    "Exercises",
    "References",
    "Versions",
]
CHAPTERS = ("background", "concepts", "algorithms", "formulas", "code", "applications", "comparison")
MOST_LINES, MOST_WORDS, MOST_BYTES, FEWEST_EXERCISES = 15, 2500, 50 * 1024, 4
FORBIDDEN_TAGS = {"raises-exception", "skip-execution"}
INSTALL = f"""\
# Colab: installs mmbook and what the chapters need, only where it is missing, and never touches torch
import importlib.util, subprocess, sys
if not all(map(importlib.util.find_spec, ("mmbook", "hibari"))):
    source = "mmbook[chapters] @ git+{repo.current()}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)"""
PICTURE = re.compile(r"plt\.show\(|\.show\(\)|plot\.\w+\(|\.plot\(|\.imshow\(|plt\.subplots\(")

ALL = notebooks()
OF_CHAPTERS = [notebook for notebook in ALL if notebook.parent.name in CHAPTERS]
each = pytest.mark.parametrize("notebook", ALL, ids=docname)
each_chapter = pytest.mark.parametrize("notebook", OF_CHAPTERS, ids=docname)


def cells(notebook: Path, kind: str) -> list[nbformat.NotebookNode]:
    """The notebook's code or markdown cells."""
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == kind]


def prose(notebook: Path) -> str:
    """All markdown of a notebook."""
    return "\n\n".join(cell.source for cell in cells(notebook, "markdown"))


def headings(notebook: Path) -> list[str]:
    """The text of each heading, without its level."""
    return [title.strip() for title in re.findall(r"^#+ (.+)$", prose(notebook), re.MULTILINE)]


@each
def test_stripped(notebook: Path) -> None:
    """Outputs and counts are made by the build, never committed."""
    code = cells(notebook, "code")
    assert [i for i, cell in enumerate(code) if cell.outputs or cell.execution_count is not None] == []
    assert notebook.stat().st_size <= MOST_BYTES


@each
def test_cell_ids(notebook: Path) -> None:
    """Every cell has an id of its own, written down in the file."""
    ids = re.findall(r'^   "id": "([^"]+)"', notebook.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(ids) == len(set(ids)) == len(nbformat.read(notebook, as_version=4).cells)


@each
def test_short(notebook: Path) -> None:
    """A code cell is at most 15 lines, the prose at most 2,500 words; what opens a directive is no prose."""
    long = {cell.id: len(cell.source.splitlines()) for cell in cells(notebook, "code")}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}
    assert len(re.sub(r"^```.*$", "", prose(notebook), flags=re.MULTILINE).split()) <= MOST_WORDS


@each
def test_nothing_may_fail_or_be_left_out(notebook: Path) -> None:
    """No tag lets a cell fail or not run; a lesson about an error catches it by name."""
    read = nbformat.read(notebook, as_version=4)
    assert [cell.id for cell in read.cells if FORBIDDEN_TAGS & set(cell.metadata.get("tags", []))] == []
    assert not read.metadata.get("execution", {}).get("allow_errors", False)


@each
def test_first_cell_installs(notebook: Path) -> None:
    """The first code cell is the one that Colab needs, letter by letter, with its source folded away."""
    first = cells(notebook, "code")[0]
    assert first.source == INSTALL
    assert first.metadata.get("tags") == ["hide-input"]


@pytest.mark.parametrize("absent", [(), ("mmbook",), ("hibari",), ("mmbook", "hibari")], ids=str)
def test_first_cell_installs_what_is_missing(
    absent: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It installs where the package is missing, or its extra alone, and does nothing where both are there."""
    ran: list[list[str]] = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in absent else name)
    monkeypatch.setattr("subprocess.run", lambda command, check: ran.append(command))
    exec(INSTALL, {})
    assert "hibari" in EXTRAS["chapters"]
    assert [command[-1] for command in ran] == [f"mmbook[chapters] @ git+{repo.current()}"] * bool(absent)


@each
def test_plots_have_alt_text(notebook: Path) -> None:
    """A cell that draws says in words what there is to see."""
    drawing = [cell for cell in cells(notebook, "code") if PICTURE.search(cell.source)]
    silent = [
        cell.id
        for cell in drawing
        if not cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip()
    ]
    assert silent == []


@each_chapter
def test_anatomy(notebook: Path) -> None:
    """A chapter has the parts that every chapter has, in the same order, and its measured run time."""
    found = [title for title in headings(notebook) if title in ANATOMY]
    assert found == ANATOMY
    assert "{runtime}" in prose(notebook)


@each_chapter
def test_says_which_kept_results_it_starts_from(notebook: Path) -> None:
    """A page that imports a recipe says so in a line, with where the result comes from, and no other does."""
    code = "\n".join(cell.source for cell in cells(notebook, "code"))
    assert ("from mmbook.book.recipes" in code) == ("```{kept} " in prose(notebook))


@each_chapter
def test_exercises_have_solutions(notebook: Path) -> None:
    """At least four exercises, and one solution for each."""
    text = prose(notebook)
    exercises = re.findall(r"\{exercise(?:-start)?\}[^\n]*\n(?::\w+:[^\n]*\n)*?:label: (\S+)", text)
    solutions = re.findall(r"\{solution(?:-start)?\} (\S+)", text)
    assert len(exercises) >= FEWEST_EXERCISES
    assert sorted(exercises) == sorted(solutions)
