"""`mmbook predict`: what a saved model says about files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmbook.commands.opening import opened
from mmbook.commands.speaking import plainly


def predict(
    model: Annotated[str, typer.Argument(help="Folder where the model is saved.")],
    source: Annotated[Path, typer.Argument(help="CSV of texts and paths; or a folder of files.")],
    out: Annotated[Path, typer.Option(help="CSV to write.")] = Path("predictions.csv"),
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a forward pass.")] = 32,
) -> None:
    """Write a table with the model's answer for each sample, and the reason where there is none."""
    with plainly():
        from mmbook.predict import predict_to_csv

        written = predict_to_csv(opened(model), source, out, batch_size)
        typer.echo(f"{written.rows - written.failed} of {written.rows} samples predicted: {written.file}")
