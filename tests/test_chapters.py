"""The landing page's table: all chapters in the order of ``_toc.yml``, with the question each page asks."""

from __future__ import annotations

import html
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tools.pages import docname, notebooks
from tools.render import HTML

ROOT = Path(__file__).resolve().parents[1]
LANDING, *CHAPTERS = notebooks()


def extension() -> ModuleType:
    """book/_ext/book_chapters.py, which Sphinx finds by the path in _config.yml."""
    path = ROOT / "book/_ext/book_chapters.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


book_chapters = extension()


def test_every_notebook_is_in_the_table() -> None:
    """The table's pages are those that are built, in reading order, without the landing page itself."""
    assert book_chapters.chapters(ROOT) == CHAPTERS


def test_every_chapter_asks_a_question_of_its_own() -> None:
    asked = {docname(page): book_chapters.question(page) for page in CHAPTERS}
    assert len(set(asked.values())) == len(CHAPTERS)


def test_landing_page_lists_no_chapter_by_hand() -> None:
    """One directive, and no row of a table beside it that could fall behind."""
    prose = "\n".join(
        "".join(cell["source"]) for cell in json.loads(LANDING.read_text(encoding="utf-8"))["cells"]
    )
    assert prose.count("```{chapters}") == 1
    assert re.findall(r"^\|.*\.ipynb", prose, re.MULTILINE) == []


@pytest.mark.parametrize(
    "source",
    [
        "# A title\n\nNo question.",
        "# A title\n*Is it near?*\n\nText",
        "# A title\n\n*No question mark*\n\n",
        "",
    ],
)
def test_a_chapter_without_a_question_is_named(tmp_path: Path, source: str) -> None:
    page = tmp_path / "silent.ipynb"
    page.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": [source]}]}))
    with pytest.raises(ValueError, match=r"silent\.ipynb must begin"):
        book_chapters.question(page)


@pytest.mark.site
def test_rendered_table_says_what_the_pages_say() -> None:
    """Each row of the built page links a chapter and repeats the line under its title."""
    page = HTML / f"{docname(LANDING)}.html"
    assert page.is_file(), f"{page} is missing; run `make book` first"
    table = page.read_text(encoding="utf-8").partition('class="chapters')[2].partition("</table>")[0]
    rows = re.findall(
        r'<td><p><a class="reference internal" href="(.*?)".*?<td><p>(.*?)</p>', table, re.DOTALL
    )
    folder = Path(docname(LANDING)).parent
    found = {(folder / link).with_suffix(""): html.unescape(text) for link, text in rows}
    assert list(found) == [page.with_suffix("") for page in CHAPTERS]
    assert list(found.values()) == [book_chapters.question(page) for page in CHAPTERS]
