"""The optimiser and the learning rate's course."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}
SCHEDULES = ("constant", "cosine", "linear")


def build_optimizer(
    parameters: Iterable[nn.Parameter], name: str, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimiser over the parameters that are trained; only matrices decay.

    Biases and the gains of norms are vectors: pulling them to zero would change what the layer does, not how
    complicated it is.

    Raises:
        ValueError: an unknown name, or nothing to train.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; choose one of {', '.join(OPTIMIZERS)}")
    trained = [p for p in parameters if p.requires_grad]
    if not trained:
        raise ValueError(
            "no parameter has requires_grad=True; unfreeze some part of the model before training it"
        )
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    options: dict[str, Any] = {"lr": lr, "momentum": 0.9} if name == "sgd" else {"lr": lr}
    return OPTIMIZERS[name]([g for g in groups if g["params"]], **options)


def lr_factor(schedule: str, steps: int, warmup: float) -> Callable[[int], float]:
    """Step -> share of the peak learning rate: a linear rise over ``warmup * steps``, then the schedule.

    Raises:
        ValueError: an unknown schedule, or a warm-up outside [0, 1).
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is {warmup}; it is a share of all steps, from 0 to below 1")
    rise = int(warmup * steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        done = (step - rise) / max(1, steps - rise)
        return {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[schedule]

    return factor
