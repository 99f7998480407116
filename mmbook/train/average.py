"""A running average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmbook.train.accelerator import cut_as, whole


class RunningAverage:
    """``average = decay * average + (1 - decay) * weights`` after each step, forgetting faster while young.

    Late in training the weights circle around a good place; their mean is nearer to it than any of them. In
    step t at most ``(1 + t) / (10 + t)`` of the average stays, or it would remember the random start.

    Args:
        model: whose trained parameters are averaged; buffers, such as those of norms, are its own.
        decay: share that stays a step, in (0, 1).

    Source: Polyak and Juditsky (1992), https://doi.org/10.1137/0330046; with this start as in TensorFlow's
    ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.names, self.weights = zip(
            *((name, p) for name, p in model.named_parameters() if p.requires_grad), strict=True
        )
        self.average = [p.detach().clone() for p in self.weights]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.count += 1
        stays = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.average, list(self.weights), 1 - stays)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the average for its weights; afterwards it has its own again."""
        own = [p.detach().clone() for p in self.weights]
        self.put()
        try:
            yield
        finally:
            self._copy(own)

    def put(self) -> None:
        """Give the model the average for good."""
        self._copy(self.average)

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for weight, value in zip(self.weights, values, strict=True):
            weight.copy_(value)

    def state_dict(self) -> dict[str, Tensor | int]:
        return {"count": self.count, **dict(zip(self.names, map(whole, self.average), strict=True))}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Raises KeyError where the state is of another model."""
        self.count = int(state["count"])
        with torch.no_grad():
            for name, average in zip(self.names, self.average, strict=True):
                average.copy_(cut_as(state[name], average))  # type: ignore[arg-type]
