"""What may watch a training run: logs, the progress bar, and whatever you add."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from mmbook.train.trainer import Trainer


class Callback:
    """Called as the run goes on; override what you need. Called on the main process alone.

    ``trainer.stop = True`` ends the run after the epoch (set it on all processes, or on none).
    """

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step, or the first after a resume; `trainer.progress` says where the run is."""

    def on_step(self, trainer: Trainer, values: Mapping[str, float]) -> None:
        """After a step: "step", "epoch", "lr", "gradient_norm", "loss" (on a GPU one step late)."""

    def on_epoch(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        """After an epoch and its evaluation: the new row of the history."""

    def on_end(self, trainer: Trainer) -> None:
        """At the end, also when an error ends it."""


class ProgressBar(Callback):
    """Epoch, loss and samples a second, on a terminal only."""

    def on_start(self, trainer: Trainer) -> None:
        self.bar = tqdm(
            total=trainer.steps, initial=trainer.progress.step, unit="step", disable=None, leave=False
        )

    def on_step(self, trainer: Trainer, values: Mapping[str, float]) -> None:
        self.bar.update()
        if not self.bar.disable:
            rate = (self.bar.format_dict["rate"] or 0) * trainer.settings.batch_size
            shown = f"{values['loss']:.3f}"
            self.bar.set_postfix(
                {"epoch": int(values["epoch"]), "loss": shown, "samples/s": f"{rate:.0f}"}, refresh=False
            )

    def on_end(self, trainer: Trainer) -> None:
        self.bar.close()


class CSVLog(Callback):
    """``steps.csv`` and ``epochs.csv``: a run that goes on takes off what it is about to do again.

    The epochs are few, and the columns of a later one may be others: their table is written anew each time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_start(self, trainer: Trainer) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.steps = _truncated(self.folder / "steps.csv", "step", trainer.progress.step)
        self._write_epochs(trainer)

    def on_step(self, trainer: Trainer, values: Mapping[str, float]) -> None:
        _append(self.steps, values)

    def on_epoch(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        self._write_epochs(trainer)
        self.steps.flush()

    def on_end(self, trainer: Trainer) -> None:
        self.steps.close()

    def _write_epochs(self, trainer: Trainer) -> None:
        if trainer.progress.rows:
            part = self.folder / ".epochs.csv.part"
            trainer.progress.history().to_csv(part, index=False)
            part.replace(self.folder / "epochs.csv")


def _truncated(path: Path, column: str, last: int) -> Any:
    """The file, open for more, without rows beyond `last` (and without half a row from a kill)."""
    kept: list[dict[str, str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if None in row or None in row.values() or int(row[column]) > last:
                    break
                kept.append(row)
    part = path.with_name(f".{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        for row in kept:
            _append(file, row)
    part.replace(path)
    return path.open("a", newline="", encoding="utf-8")


def _append(file: Any, row: Mapping[str, Any]) -> None:
    writer = csv.DictWriter(file, list(row))
    if file.tell() == 0:
        writer.writeheader()
    writer.writerow(row)


class TensorBoardLog(Callback):
    """Steps and epochs for TensorBoard, in ``tensorboard/``.

    Raises:
        ImportError: without the package tensorboard.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "logs has 'tensorboard', which needs its package: pip install tensorboard"
            ) from error
        self.make, self.folder = SummaryWriter, folder / "tensorboard"

    def on_start(self, trainer: Trainer) -> None:
        # rows of steps that are about to be done again are hidden
        self.writer = self.make(str(self.folder), purge_step=trainer.progress.step + 1)

    def on_step(self, trainer: Trainer, values: Mapping[str, float]) -> None:
        for name in ("loss", "lr", "gradient_norm"):
            self.writer.add_scalar(f"step/{name}", values[name], int(values["step"]))

    def on_epoch(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(f"epoch/{name}", value, trainer.progress.step)

    def on_end(self, trainer: Trainer) -> None:
        self.writer.close()


def chosen(logs: tuple[str, ...], folder: Path | None, progress: bool) -> list[Callback]:
    """The callbacks that the settings ask for."""
    made: list[Callback] = [ProgressBar()] if progress else []
    if folder is not None:
        kinds = {"csv": CSVLog, "tensorboard": TensorBoardLog}
        made += [kinds[log](folder) for log in logs]
    return made
