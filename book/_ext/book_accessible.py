"""Mend, in the finished HTML, what other extensions write and screen readers stumble over."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

MENDED = {
    # myst-nb labels every fold like this, which hides its visible name ("Show code cell source").
    '<summary aria-label="Toggle hidden content">': "<summary>",
    # pandas heads its index column with an empty heading; an empty cell says the same.
    "<th></th>": "<td></td>",
    # docutils marks references with a role that is deprecated and that its own list does not allow.
    'role="doc-biblioentry"': 'role="listitem"',
}


def mend(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Apply the replacements to the body of a page."""
    for wrong, right in MENDED.items():
        if "body" in context:
            context["body"] = context["body"].replace(wrong, right)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to every page."""
    app.connect("html-page-context", mend)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
