"""A ``{chapters}`` directive: a table of all chapters in reading order, with the question each answers.

The order is that of ``_toc.yml``. A chapter is a notebook, its question the line in italics under its title:

    # Why multimodal?

    *Why is one modality not enough, and when is it?*
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

QUESTION = re.compile(r"# [^\n]+\n\n\*([^*\n]+\?)\*\n\n")


def chapters(root: Path) -> list[Path]:
    """The notebooks that ``_toc.yml`` names in its parts, in reading order, relative to `root`."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry for part in toc.get("parts", ()) for entry in part["chapters"]]
    pages = [Path(f"{entry['file']}.ipynb") for entry in entries]
    return [page for page in pages if (root / page).is_file()]


def question(notebook: Path) -> str:
    """The question that a chapter answers.

    Raises:
        ValueError: its first cell is not a title with a question in italics under it.
    """
    first = json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]
    found = QUESTION.match("".join(first["source"]))
    if found is None or first["cell_type"] != "markdown":
        raise ValueError(
            f"{notebook} must begin with its title, an empty line, and *its question?* in italics"
        )
    return found[1]


class Chapters(SphinxDirective):
    """The directive; it has no content."""

    def run(self) -> list[nodes.Node]:
        """The table; an error names a chapter without a question."""
        root = Path(self.env.srcdir)
        here = root / self.env.docname
        rows = ["| chapter | the question it answers |", "|---|---|"]
        for page in [Path("_toc.yml"), *(pages := chapters(root))]:
            self.env.note_dependency(str(root / page))
        for page in pages:
            try:
                rows.append(f"| [](/{page.as_posix()}) | {question(root / page)} |")
            except ValueError as error:
                raise self.error(str(error)) from error
        table = nodes.container(classes=["chapters"])
        self.state.nested_parse(StringList(rows, str(here)), self.content_offset, table)
        return [table]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("chapters", Chapters)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
