"""How much each task counts: from several losses to the terms of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbook.registry import register


@register
class FixedWeights(nn.Module):
    """``w_k L_k``, with weights that you choose.

    Args:
        weights: task -> weight, not negative; a task left out counts 1.

    Raises:
        ValueError: a negative weight.
    """

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        super().__init__()
        self.weights = dict(weights or {})
        for task, weight in self.weights.items():
            if weight < 0:
                raise ValueError(f"the weight of {task!r} is {weight}; it must be 0 or more")

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task -> scalar loss, to task -> scalar term; the loss of the model is the sum of the terms.

        Raises:
            ValueError: a weight for a task that is not there.
        """
        unknown = [task for task in self.weights if task not in losses]
        if unknown:
            raise ValueError(f"a weight is given for {unknown[0]!r}, but the tasks are {', '.join(losses)}")
        return {task: self.weights.get(task, 1.0) * loss for task, loss in losses.items()}


@register
class UncertaintyWeights(nn.Module):
    """``(exp(-s_k) L_k + s_k) / 2``, with a learned ``s_k`` for each task: the log of its noise variance.

    A task that stays hard is taken for noisy and counts less. Where ``L_k`` stands still, the best variance
    is ``exp(s_k) = L_k`` and the weight of its gradient ``1 / (2 L_k)``: gradients are those of ``log L_k``,
    so units do not matter. The paper has twice the first part for cross-entropy; the best weight is the same.
    The value may be negative. What it takes for noise may be lack of data, and it does not ask which task
    you care about.

    Args:
        tasks: their names.

    Source: Kendall, Gal and Cipolla (2018), *Multi-Task Learning Using Uncertainty to Weigh Losses*,
    https://arxiv.org/abs/1705.07115.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks)))

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task -> scalar loss, to task -> scalar term.

        Raises:
            ValueError: other tasks than those this was made for.
        """
        if set(losses) != set(self.tasks):
            raise ValueError(f"the tasks are {', '.join(losses)}; these weights are for {self.tasks}")
        pairs = zip(self.tasks, self.log_variance, strict=True)
        return {task: ((-s).exp() * losses[task] + s) / 2 for task, s in pairs}
