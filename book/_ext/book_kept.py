"""A ``{kept}`` directive: says of results that a page starts from that they are kept, and since when.

    ```{kept} clip_ladder digit_listener
    ```

A name stands for the recipe of that name, and for those whose names begin with it and an underscore.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from book_runtime import count, duration
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RESULTS = Path("mmbook/book/recipes/results")


class Kept(SphinxDirective):
    """The directive; its arguments are names of recipes."""

    required_arguments = 1
    optional_arguments = 20

    def run(self) -> list[nodes.Node]:
        """One paragraph; an error for a name without a result."""
        records = []
        for name in self.arguments:
            folder = Path(self.env.srcdir) / RESULTS
            files = sorted({*folder.glob(f"{name}.json"), *folder.glob(f"{name}_*.json")})
            if not files:
                raise self.error(f"no result is kept of {name!r}: make it with `make recipes`")
            for file in files:
                self.env.note_dependency(str(file))
                records.append(json.loads(file.read_text(encoding="utf-8")))
        text = sentence(self.arguments, records)
        return [nodes.paragraph(text, text, classes=["runtime"])]


def sentence(names: Sequence[str], records: Sequence[dict[str, Any]]) -> str:
    """What a reader should know of some recipes and the pedigrees of their results."""
    several = len(names) > 1
    day = date.fromisoformat(max(record["date"] for record in records))
    commits = sorted({record["commit"][:7] for record in records if record["commit"]})
    machine = records[-1]["processor"] or "a processor of unknown make"
    cost = duration(sum(record["seconds"] for record in records))
    return (
        f"The results of {', '.join(names)} are kept, so this page does not wait for "
        f"{'them' if several else 'it'}: they were made on {day.day} {day:%B %Y} in {cost}, with "
        f"{count(records[-1]['threads'], 'thread')} of {machine}"
        f"{', at commit ' + ', '.join(commits) if commits else ''}. "
        f"python -m mmbook.book.recipes {' '.join(names)} makes them anew."
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("kept", Kept)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
