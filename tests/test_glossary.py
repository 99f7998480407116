"""The glossary: in order, each term once, and every Chinese term that a chapter gives is in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tools.pages import docname, notebooks

PAGE = (Path(__file__).resolve().parents[1] / "book/appendix/glossary.md").read_text(encoding="utf-8")
CHINESE = r"[\u4e00-\u9fff]+"


def test_terms_are_in_order_and_occur_once() -> None:
    """A reader looks a term up by the alphabet, whatever its capitals."""
    listed = PAGE.partition("```{glossary}\n")[2].partition("\n```")[0]
    terms = [line.lower() for line in listed.splitlines() if line and not line.startswith(" ")]
    assert len(terms) > 50
    assert terms == sorted(set(terms))


@pytest.mark.parametrize("notebook", notebooks(), ids=docname)
def test_chinese_terms_of_a_chapter_are_explained(notebook: Path) -> None:
    """Where a chapter gives a term in Chinese, in parentheses behind the English, the glossary has it too."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    given = set(re.findall(rf"\(({CHINESE})\)", prose))
    assert given - set(re.findall(CHINESE, PAGE)) == set()
