"""A ``{mermaid}`` directive, drawn in the browser by a script on disk.

    ```{mermaid}
    :alt: what the diagram says, for readers who cannot see it
    :caption: what to look at
    flowchart TD
      A[data] --> B[features]
    ```

The classic script is used, since a page opened from disk may not load an ES module, and only where there is a
diagram.
"""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class mermaid_diagram(nodes.General, nodes.Element):
    """A diagram's source (``code``) and its text alternative (``alt``)."""


class Mermaid(SphinxDirective):
    """The directive; its content is the diagram."""

    has_content = True
    option_spec: ClassVar = {
        "alt": directives.unchanged_required,
        "caption": directives.unchanged,
        "name": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """The diagram in a figure."""
        self.assert_has_content()
        if not self.options.get("alt"):
            raise self.error("a mermaid diagram needs `:alt:`, a text for readers who cannot see it")
        figure = nodes.figure("", mermaid_diagram(code="\n".join(self.content), alt=self.options["alt"]))
        figure["classes"].append("mermaid-figure")
        self.set_source_info(figure)
        if "caption" in self.options:
            text, messages = self.parse_inline(self.options["caption"])
            figure += [nodes.caption(self.options["caption"], "", *text), *messages]
        self.add_name(figure)
        return [figure]


def visit_html(translator: Any, node: mermaid_diagram) -> None:
    """The source, for the script to replace by a drawing."""
    alt, code = translator.attval(node["alt"]), translator.encode(node["code"])
    translator.body.append(f'<pre class="mermaid" role="img" aria-label="{alt}" tabindex="0">{code}</pre>\n')
    raise nodes.SkipNode


def add_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Load mermaid on the pages that have a diagram."""
    if doctree is not None and next(doctree.findall(mermaid_diagram), None) is not None:
        app.add_js_file("vendor/mermaid/mermaid.min.js", loading_method="defer")
        app.add_js_file("mermaid-draw.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_node(mermaid_diagram, html=(visit_html, None))
    app.add_directive("mermaid", Mermaid)
    app.connect("html-page-context", add_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
