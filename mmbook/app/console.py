"""How commands speak: on the main process alone, faults and warnings as plain lines."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from mmbook.models import MultimodalModel


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
    from mmbook.app.export import ExportError
    from mmbook.assets import AssetError
    from mmbook.data import FilesSkipped

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


def opened(folder: str) -> MultimodalModel:
    """The model saved in a folder, on the GPU where there is one.

    Raises:
        FileNotFoundError: no model is saved there.
        ValueError: it cannot read files.
    """
    import torch

    from mmbook.app.saved import saved_model

    return saved_model(folder).to("cuda" if torch.cuda.is_available() else "cpu")
