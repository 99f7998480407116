"""Keep every page free of addresses on other machines.

sphinx-thebe, which the theme loads, puts an unpkg.com address and a script error on every page, used or not.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Take thebe's scripts and styles out of the page, in place: the lists are the builder's own."""
    for key in ("script_files", "css_files"):
        context[key][:] = [file for file in context[key] if not _is_thebe(file)]


def _is_thebe(file: Any) -> bool:
    body = getattr(file, "attributes", {}).get("body") or ""
    return "THEBE_JS_URL" in body or "sphinx-thebe" in str(getattr(file, "filename", file) or "")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect late, when the other extensions have added their files."""
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
