"""A ``{kept}`` directive: says of results that a page starts from that they are kept, and since when.

    ```{kept} clip_ladder digit_listener
    ```

A name stands for the recipe of that name, and for those whose names begin with it and an underscore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from book_runtime import count
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mmbook.book.progress import duration

RESULTS = Path("mmbook/book/recipes/results")
Record = dict[str, Any]  # a pedigree, with the name of its result


class Kept(SphinxDirective):
    """The directive; its arguments are names of recipes."""

    required_arguments = 1
    optional_arguments = 20

    def run(self) -> list[nodes.Node]:
        """One paragraph; an error for a name without a result."""
        groups: dict[str, list[Record]] = {}
        for name in self.arguments:
            folder = Path(self.env.srcdir) / RESULTS
            files = sorted({*folder.glob(f"{name}.json"), *folder.glob(f"{name}_*.json")})
            if not files:
                raise self.error(f"no result is kept of {name!r}: make it with `make recipes`")
            for file in files:
                self.env.note_dependency(str(file))
            read = ((file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files)
            groups[name] = [{"name": stem, **record} for stem, record in read]
        text = sentences(groups)
        return [nodes.paragraph(text, text, classes=["runtime"])]


def sentences(groups: Mapping[str, Sequence[Record]]) -> str:
    """What a reader should know of some recipes and of their results' pedigrees."""
    kept = [record for group in groups.values() for record in group if record["kept"]]
    at_need = [record for group in groups.values() for record in group if not record["kept"]]
    found = []
    if kept:
        said = [
            some
            for name, group in groups.items()
            for some in ([name] if all(r["kept"] for r in group) else [r["name"] for r in group if r["kept"]])
        ]
        day = date.fromisoformat(max(record["date"] for record in kept))
        # what stands behind the hash: changes that were in no commit
        commits = sorted({r["commit"][:7] + r["commit"][40:] for r in kept if r["commit"]})
        machine = kept[-1]["processor"] or "a processor of unknown make"
        found.append(
            f"The results of {', '.join(said)} are kept, so this page does not wait for "
            f"{'them' if len(said) > 1 else 'it'}: they were made on {day.day} {day:%B %Y} in "
            f"{seconds(kept)}, with {count(kept[-1]['threads'], 'thread')} of {machine}"
            f"{', at commit ' + ' and '.join(commits) if commits else ''}."
        )
    if at_need:
        names, several = ", ".join(record["name"] for record in at_need), len(at_need) > 1
        found.append(
            f"{names} {'do' if several else 'does'} not come with the package and "
            f"{'are' if several else 'is'} made where first needed, in {seconds(at_need)}."
        )
    found.append(f"python -m mmbook.book.recipes {' '.join(groups)} makes them anew.")
    return " ".join(found)


def seconds(records: Sequence[Record]) -> str:
    """How long it took to make some results, one after the other."""
    return duration(sum(record["seconds"] for record in records))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("kept", Kept)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
