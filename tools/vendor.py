"""Copy what the pages load in the browser from node_modules into an ignored folder: MathJax and mermaid."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools import run_main

NODE = Path("node_modules")
VENDOR = Path("book/_static/vendor")
# Each folder or file of a package, and where it goes. MathJax falls back to wrong glyphs without its fonts,
# and loads its TeX extensions when a formula first needs one.
COPIES = {
    "mathjax/es5/tex-mml-chtml.js": "mathjax/tex-mml-chtml.js",
    "mathjax/es5/output/chtml/fonts": "mathjax/output/chtml/fonts",
    "mathjax/es5/input/tex/extensions": "mathjax/input/tex/extensions",
    "mathjax/LICENSE": "mathjax/LICENSE",
    "mermaid/dist/mermaid.min.js": "mermaid/mermaid.min.js",
    "mermaid/LICENSE": "mermaid/LICENSE",
}


def main() -> None:
    """Copy everything anew, so that nothing of an older version stays."""
    shutil.rmtree(VENDOR, ignore_errors=True)
    for source, target in COPIES.items():
        goal = VENDOR / target
        goal.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (NODE / source).is_dir() else shutil.copyfile)(NODE / source, goal)


if __name__ == "__main__":
    run_main(main)
