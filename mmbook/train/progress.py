"""Where a run is, what it has found, the numbers of each step; a stop at the first that is not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from accelerate import Accelerator
from torch import Tensor

CURVE = ("step", "epoch", "lr", "gradient_norm", "loss")  # what is known of each step


@dataclass
class Progress:
    """Where a run is, and what it has found.

    Attributes:
        epoch: that is under way, from 0.
        position: steps of it that are done (or passed over, where nothing could be read).
        step: optimiser steps in all.
        seen: samples in this epoch; `losses` the sum of their losses; `skipped` those not readable.
        rows: the history, one dict an epoch.
        best: epoch -> its value of `monitor`, for the best ones.
        stale: epochs since the best one.
        curve: one tuple a step, in the order of `CURVE`.
        settings: that decide the result.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    seen: int = 0
    losses: list[float] = field(default_factory=list)
    skipped: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[int, float] = field(default_factory=dict)
    stale: int = 0
    curve: list[tuple[float, ...]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def history(self) -> pd.DataFrame:
        """One row an epoch; an epoch in which all could be read has skipped none."""
        table = pd.DataFrame(self.rows)
        return table.fillna({"skipped": 0}).astype({"skipped": int}) if "skipped" in table else table


class Pending(NamedTuple):
    """A step whose numbers may still be under way on the device."""

    step: int
    lr: float
    norm: Tensor | float
    losses: list[Tensor]
    ids: Any
    total: int


class StepLog:
    """Reads losses into the progress of a run, in order.

    Args:
        progress: of the run.
        accelerator: knows the device. On a GPU the newest step stays unread: to wait for its loss would leave
            the GPU idle, and one step later it costs nothing.
        folder: where the ids of a batch without a finite loss are written; None: nowhere.
        tell: called with the numbers of each step.
    """

    def __init__(
        self,
        progress: Progress,
        accelerator: Accelerator,
        folder: Path | None,
        tell: Callable[[Mapping], None],
    ) -> None:
        self.progress, self.folder, self.tell = progress, folder, tell
        self.lag, self.process = int(accelerator.device.type != "cpu"), accelerator.process_index
        self.scaled = accelerator.scaler is not None
        self.pending: list[Pending] = []

    def write(self, step: Pending) -> None:
        """Note a step, and read those that are due."""
        self.pending.append(step)
        self.read(self.lag)

    def read(self, leave: int = 0) -> None:
        """Read the numbers of all pending steps but the newest `leave`.

        Raises:
            FloatingPointError: a loss or the gradient is not finite.
        """
        p = self.progress
        while len(self.pending) > leave:
            done = self.pending.pop(0)
            losses = [loss.item() for loss in done.losses]
            loss = sum(losses)
            if not self.sound(loss, done.norm):
                self._stop(done, loss)
            before = p.losses or [0.0] * len(losses)
            p.losses = [a + b * done.total for a, b in zip(before, losses, strict=True)]
            p.seen += done.total
            p.curve.append((done.step, p.epoch + 1, done.lr, float(done.norm), loss))
            self.tell(dict(zip(CURVE, p.curve[-1], strict=True)))

    def sound(self, loss: Tensor | float, norm: Tensor | float) -> bool:
        """Whether a step may be taken: loss and gradient are finite.

        Clipping spreads one NaN to the whole gradient. Beside a gradient scaler an infinite norm is usual;
        it leaves such a step out by itself. A norm that is no tensor was not measured.
        """
        unmeasured = self.scaled or not isinstance(norm, Tensor)
        return math.isfinite(loss) and (unmeasured or math.isfinite(norm))

    def _stop(self, done: Pending, loss: float) -> None:
        epoch, norm = self.progress.epoch + 1, float(done.norm)
        ids = "unknown (give the rows an 'id')" if done.ids is None else list(map(_plain, done.ids))
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            found = {"epoch": epoch, "step": done.step, "loss": str(loss), "gradient_norm": str(norm)}
            found |= {"lr": done.lr, "ids": ids}
            path = self.folder / f"not_finite-{done.step:08d}-{self.process}.json"
            path.write_text(json.dumps(found), encoding="utf-8")
        raise FloatingPointError(
            f"the loss is {loss} and the gradient's norm {norm} in epoch {epoch}, step {done.step}, in a "
            f"batch of {done.total} with ids {ids}; look at these samples, or lower lr or clip"
        )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value
