"""The numbers of each step: read when they are there, logged, and stopped at the first that is not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator
from torch import Tensor

from mmbook.train.checkpoint import CURVE, Progress


class Pending(NamedTuple):
    """A step whose numbers may still be under way on the device."""

    step: int
    lr: float
    norm: Tensor | float
    losses: list[Tensor]
    ids: Any
    total: int


class Journal:
    """Reads losses into the progress of a run, in order.

    Args:
        progress: of the run.
        engine: knows the device. On a GPU the newest step stays unread: to wait for its loss would leave the
            GPU idle, and one step later it costs nothing.
        folder: where the ids of a batch without a finite loss are written; None: nowhere.
        tell: called with the numbers of each step.
    """

    def __init__(
        self, progress: Progress, engine: Accelerator, folder: Path | None, tell: Callable[[Mapping], None]
    ) -> None:
        self.progress, self.folder, self.tell = progress, folder, tell
        self.lag, self.process = int(engine.device.type != "cpu"), engine.process_index
        self.scaled = engine.scaler is not None
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
        ids = "unknown (give the rows an 'id')" if done.ids is None else done.ids.tolist()
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
