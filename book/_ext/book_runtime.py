"""Tell readers how long a page runs, as measured when it was built.

The directive ``{runtime}`` is a sentence about its page. The role gives a duration inside a sentence:
``{runtime}`this``` for its own page, ``{runtime}`all``` for all notebooks, one after the other.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from mmbook.book.progress import duration

RUNTIMES = Path(".exec/runtimes.json")


def count(number: int, noun: str) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class RuntimeSentence(SphinxDirective):
    """``{runtime}`` as a directive."""

    def run(self) -> list[nodes.Node]:
        """One paragraph; an error if the page was not executed."""
        record = records(self.env).get(self.env.docname)
        if record is None:
            raise self.error(
                f"{self.env.docname} has no measured run: only an executed notebook can use `runtime`"
            )
        day = date.fromisoformat(record["date"])
        # Two notebooks at a time share the cores, so each is a little slower than alone.
        beside = ", while another notebook ran beside it" if record["jobs"] > 1 else ""
        cost = f"{duration(record['seconds'])} and held at most {record['memory_mb'] / 1000:.1f} GB of memory"
        machine = (
            f"{count(record['threads'], 'thread')} of a machine with {count(record['cpus'], 'CPU core')}"
        )
        when = f"measured on {day.day} {day:%B %Y}, when this page was built"
        text = f"This notebook ran in {cost}, on {machine}{beside} ({when})."
        return [nodes.paragraph(text, text, classes=["runtime"])]


class RuntimeRole(SphinxRole):
    """``{runtime}`` as a role."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The duration as text; an error for anything but a measured page."""
        known = records(self.env)
        if self.text == "all":
            seconds = sum(record["seconds"] for record in known.values())
        elif self.text == "this" and self.env.docname in known:
            seconds = known[self.env.docname]["seconds"]
        else:
            message = self.inliner.reporter.error(
                f"no run time of {self.text!r} on {self.env.docname}: write `this` on a notebook, or `all`",
                line=self.lineno,
            )
            return [], [message]
        return [nodes.Text(duration(seconds))], []


def records(env: Any) -> dict[str, Any]:
    """What tools/execute.py measured, by page name."""
    path = Path(env.srcdir) / RUNTIMES
    env.note_dependency(str(path))
    return json.loads(path.read_text()) if path.is_file() else {}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the role."""
    app.add_directive("runtime", RuntimeSentence)
    app.add_role("runtime", RuntimeRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
