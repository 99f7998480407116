"""Several heads on one fused vector: what a task learns about the shared layers, the others get for free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbook.heads import Classification, HeadOutput
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


@register
class MultiTask(nn.Module):
    """A head made of heads, one a task; everything below it is shared (hard parameter sharing).

    It goes where any head goes: ``MultimodalModel(encoders, fusion, MultiTask({...}))`` is trained, saved and
    loaded as usual, and `mmbook.Trainer.evaluate` gives the scores of each task as ``<task>_accuracy`` etc.

    Labels are ``(B, K)``, a column a task in the order of `heads`. A label that is not known is NaN, or
    negative where all labels are integers; the row still teaches the other tasks. Each loss is the sum over
    its labelled rows, divided by B, so a batch cut into parts has the gradient of the whole, and a task
    labelled in a tenth of the rows counts a tenth: give it a weight where you want more.

    Args:
        heads: task -> `mmbook.heads.Classification`, or `mmbook.heads.Regression` of one number.
        weighting: from the losses to the terms of their sum, as `FixedWeights` (the default: all count 1) or
            `UncertaintyWeights`.

    Raises:
        ValueError: no heads, or one that wants more than one column of labels.

    Source: Caruana (1997), *Multitask Learning*, https://doi.org/10.1023/A:1007379606734.
    """

    def __init__(self, heads: dict[str, nn.Module], weighting: nn.Module | None = None) -> None:
        super().__init__()
        if not heads:
            raise ValueError("MultiTask got no heads; give at least one, as {'task': Classification(...)}")
        for task, head in heads.items():
            if not isinstance(head, Classification) and getattr(head, "num_targets", 0) != 1:
                raise ValueError(
                    f"the head of {task!r} is {type(head).__name__}; a task has one column of labels, so it "
                    f"must be Classification or a Regression with num_targets=1"
                )
        self.heads = nn.ModuleDict(heads)
        self.weighting = FixedWeights() if weighting is None else weighting

    def forward(self, fused: Tensor, labels: Tensor | None = None) -> HeadOutput:
        """Logits ``(B, sum of the heads' widths)``, and the sum of the weighted losses."""
        if labels is None:
            return HeadOutput(torch.cat([head(fused).logits for head in self.heads.values()], dim=1))
        logits, losses = self.losses(fused, labels)
        mean, items = torch.stack(list(self.weighting(losses).values())).sum(), self.num_items(labels)
        return HeadOutput(logits, mean * items, items)

    def num_items(self, labels: Tensor) -> int:
        """What the loss is a mean over: the samples, labelled or not."""
        return len(labels)

    def losses(self, fused: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(B, sum of widths)`` and, before weighting, task -> scalar loss.

        Raises:
            ValueError: labels that are not ``(B, K)``.
        """
        logits, losses = [], {}
        for (task, head), (column, known) in zip(self.heads.items(), self._columns(labels), strict=True):
            answer = head(fused).logits  # (B, width of this head)
            if known.any():
                losses[task] = head(fused[known], column[known]).total / len(labels)
            else:
                losses[task] = answer.sum() * 0  # its parameters still take part: DDP waits for them
            logits.append(answer)
        return torch.cat(logits, dim=1), losses

    def split(self, logits: Tensor) -> dict[str, Tensor]:
        """Logits ``(B, sum of widths)`` as task -> ``(B, width)``."""
        widths = [head.num_classes if isinstance(head, Classification) else 1 for head in self.heads.values()]
        return dict(zip(self.heads, logits.split(widths, dim=1), strict=True))

    def by_task(self, logits: Tensor, labels: Tensor) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Task -> its logits and labels, of the rows where the label is known; labels of classes are long."""
        found = {}
        for (task, own), (column, known) in zip(
            self.split(logits).items(), self._columns(labels), strict=True
        ):
            truth = column[known]
            classes = isinstance(self.heads[task], Classification)
            found[task] = own[known], truth.long() if classes else truth.float()
        return found

    def _columns(self, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """A column ``(B,)`` for each task, and ``(B,)`` bool: where it is known."""
        if labels.dim() != 2 or labels.shape[1] != len(self.heads):
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}; {len(self.heads)} tasks "
                f"({', '.join(self.heads)}) need (B, {len(self.heads)})"
            )
        known = ~labels.isnan() if labels.is_floating_point() else labels >= 0
        return list(zip(labels.unbind(1), known.unbind(1), strict=True))
