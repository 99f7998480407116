"""A line for each epoch of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from mmbook.train.callbacks import Callback

if TYPE_CHECKING:
    from mmbook.train.trainer import Trainer


class EpochLines(Callback):
    """Prints the new row of the history: losses, the scores of the validation set, speed."""

    def on_epoch(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        shown = [f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "lr")]
        typer.echo(f"epoch {int(row['epoch'])}/{trainer.settings.epochs}  {'  '.join(shown)}")
