"""The pages that ``_toc.yml`` names, in reading order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tools import Stop

TOC = Path("_toc.yml")
SUFFIXES = (".ipynb", ".md")


def pages() -> list[Path]:
    """The file behind every entry of ``_toc.yml``, the landing page first.

    Raises:
        Stop: an entry without a file, with two, or named twice.
    """
    names = list(_names(yaml.safe_load(TOC.read_text(encoding="utf-8"))))
    found = []
    for name in names:
        files = [path for suffix in SUFFIXES if (path := Path(f"{name}{suffix}")).is_file()]
        if len(files) != 1:
            what = "and ".join(f"{path} " for path in files) or f"neither {name}.ipynb nor {name}.md "
            raise Stop(
                f"{TOC} names the page {name}: {what}exist{'' if files else 's'}; there must be exactly one"
            )
        found += files
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Stop(f"{TOC} names a page twice: {', '.join(twice)}")
    return found


def notebooks() -> list[Path]:
    """The pages that are notebooks."""
    return [page for page in pages() if page.suffix == ".ipynb"]


def docname(page: Path) -> str:
    """The name by which Sphinx knows a page: its path without the suffix."""
    return page.with_suffix("").as_posix()


def _names(node: Any) -> list[str]:
    """Every ``root`` and ``file`` of a table of contents, however deep, in reading order."""
    if isinstance(node, list):
        return [name for item in node for name in _names(item)]
    if not isinstance(node, dict):
        return []
    own = [node[key] for key in ("root", "file") if key in node]
    return own + [
        name
        for key in ("parts", "chapters", "sections", "subtrees", "entries")
        for name in _names(node.get(key))
    ]
