"""What the Makefile calls: execute the notebooks, render the book, keep addresses and notebooks in order.

Each module is run from the top of the repository as ``python -m tools.<name>``; all paths are relative to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


class Stop(Exception):
    """A mistake that the reader can mend; its text says what it is and what to do."""


def run_main(main: Callable[..., None], *arguments: object) -> None:
    """Run a tool's `main`; for a `Stop` print its text alone, without a traceback, and fail."""
    try:
        main(*arguments)
    except Stop as stop:
        sys.exit(str(stop))


# For jsonschema, which nbformat imports and which would import it: its grammars of addresses take two seconds
# to compile, in each process anew, and no notebook has an address to be checked.
SLOW = "rfc3987_syntax"
sys.modules.setdefault(SLOW, None)  # type: ignore[arg-type]
