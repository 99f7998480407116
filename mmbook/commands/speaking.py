"""How commands speak: on the main process alone, faults and warnings as plain lines."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer


def is_main() -> bool:
    """Whether this process is the one that prints: the first that torchrun or accelerate has started."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Print a line on the main process."""
    if is_main():
        typer.echo(text)


@contextmanager
def plainly() -> Iterator[None]:
    """Faults that the package has words for end the command with these and exit code 1, without a traceback.

    Files that were skipped are named as they are, without the place in the code that warned.
    """
    from mmbook.assets import AssetError
    from mmbook.data import FilesSkipped
    from mmbook.export import ExportError

    with warnings.catch_warnings():
        show = warnings.showwarning

        def shown(message: Any, category: type[Warning], *place: Any) -> None:
            if issubclass(category, FilesSkipped):
                if is_main():
                    typer.echo(f"warning: {message}", err=True)
            else:
                show(message, category, *place)

        warnings.simplefilter("always", FilesSkipped)
        warnings.showwarning = shown  # type: ignore[assignment]
        try:
            yield
        except (ValueError, OSError, ImportError, FloatingPointError, AssetError, ExportError) as error:
            if is_main():
                typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
