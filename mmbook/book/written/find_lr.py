"""A sweep of the learning rate: how the loss answers to ever larger steps."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import Dataset

from mmbook.train.callbacks import Callback
from mmbook.train.trainer import Trainer

SMOOTH = 0.9  # share that the running mean of the loss keeps a step
BURST = 4.0  # the sweep ends where the smoothed loss is so many times its lowest
FIXED = ("epochs", "lr", "groups", "schedule", "warmup", "output_dir")  # the sweep decides these


class _Enough(Exception):
    pass


class _Sweep(Callback):
    def __init__(self, steps: int) -> None:
        self.steps, self.mean, self.lowest = steps, 0.0, math.inf
        self.rows: list[tuple[float, float, float]] = []

    def on_step(self, trainer: Trainer, values: Mapping[str, float]) -> None:
        self.mean = SMOOTH * self.mean + (1 - SMOOTH) * values["loss"]
        smoothed = self.mean / (1 - SMOOTH ** (len(self.rows) + 1))
        self.rows.append((values["lr"], values["loss"], smoothed))
        self.lowest = min(self.lowest, smoothed)
        if len(self.rows) == self.steps or smoothed > BURST * self.lowest:
            raise _Enough


def find_lr(
    model: nn.Module,
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    lowest: float = 1e-5,
    highest: float = 10.0,
    steps: int = 100,
    **settings: Any,
) -> pd.DataFrame:
    """Train for a few steps while the learning rate grows by a constant factor; then undo it.

    Weights, buffers, mode and random states are put back. The sweep ends early where the smoothed loss is
    four times its lowest, or no longer finite.

    Args:
        model, dataset: as for `Trainer`.
        batch_size, seed: of the sweep.
        lowest, highest: learning rates of the first and the last step.
        steps: at most so many; the data are gone over as often as that needs.
        settings: other options of the trainer, such as ``optimizer``; not those that the sweep decides.

    Returns:
        One row a step: "lr"; "loss" of the batch before the step; "smoothed", its running mean, corrected
        for the start.

    Raises:
        ValueError: rates or steps that make no sweep.
        TypeError: an option that the sweep decides.

    Source: Smith (2017), *Cyclical Learning Rates for Training Neural Networks*,
    https://doi.org/10.1109/WACV.2017.58.
    """
    if not 0 < lowest < highest:
        raise ValueError(f"lowest is {lowest} and highest {highest}; take 0 < lowest < highest")
    if steps < 2:
        raise ValueError(f"steps is {steps}; a sweep needs at least 2")
    if fixed := [name for name in FIXED if name in settings]:
        raise TypeError(f"the sweep decides {', '.join(fixed)} itself; leave it out")
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    modes = [(module, module.training) for module in model.modules()]
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    sweep, passes = _Sweep(steps), -(-steps * batch_size // len(dataset))  # type: ignore[arg-type]
    with torch.random.fork_rng():
        try:
            options: dict[str, Any] = {"epochs": passes, "batch_size": batch_size, "lr": lowest, "seed": seed}
            trainer = Trainer(model, dataset, callbacks=[sweep], **options, **settings)
            trainer.lr_factor = lambda step: (highest / lowest) ** (step / (steps - 1))
            trainer.fit()
        except (_Enough, FloatingPointError):
            pass
        finally:
            model.load_state_dict(weights)
            for module, mode in modes:
                module.training = mode
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002
    return pd.DataFrame(sweep.rows, columns=["lr", "loss", "smoothed"])
