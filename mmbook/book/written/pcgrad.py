"""Gradient surgery: what one task's gradient takes back from another's is cut off before they are added."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmbook.models.multimodal import MultimodalModel, MultimodalOutput
from mmbook.models.multitask import MultiTask
from mmbook.train.between import BETWEEN


def without_conflict(gradients: Tensor) -> Tensor:
    """Each task's gradient without what points against another's.

    Where two gradients have a negative product, one is projected onto the plane at right angles to the other:
    ``g_i - (g_i . g_j / |g_j|^2) g_j``. For each i the others come in random order (torch's generator).

    Args:
        gradients: ``(K, P)``, one row a task.

    Returns:
        ``(K, P)``; with two tasks each row is at right angles to the other's old gradient, or as it was. With
        more, a later projection may bring back a little of an earlier conflict.
    """
    projected = gradients.clone()
    for i in range(len(gradients)):
        for j in torch.randperm(len(gradients)).tolist():
            against = projected[i] @ gradients[j]
            if j != i and against < 0:
                projected[i] -= against / gradients[j].square().sum() * gradients[j]
    return projected


class PCGrad(nn.Module):
    """Train a model with a `MultiTask` head by PCGrad: ``Trainer(PCGrad(model), ...)``.

    The loss it returns has the value of the usual one; going back through it leaves in the shared parameters
    (of encoders and fusion) the sum of the tasks' gradients `without_conflict`, and in the heads' own the
    usual gradient. So any loop trains it, at one backward pass a task. Where `mmbook.Trainer` cuts a batch
    into parts or shares it among processes, it asks for one of `objectives` at a time, and `combine` puts
    their gradients over the whole batch together.

    Args:
        model: with a `MultiTask` head; it is trained in place, and is what you save.

    Raises:
        ValueError: a model with another head.

    Source: Yu et al. (2020), *Gradient Surgery for Multi-Task Learning*, https://arxiv.org/abs/2001.06782.
    """

    accepts_loss_kwargs = False  # transformers counts labels; see MultimodalModel

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        if not isinstance(model.head, MultiTask):
            raise ValueError(f"PCGrad needs a MultiTask head; this model has {type(model.head).__name__}")
        self.model = model

    @property
    def head(self) -> MultiTask:
        """Of the model inside."""
        return cast(MultiTask, self.model.head)

    @property
    def objectives(self) -> list[str]:
        """The tasks, and `BETWEEN` where the fusion compares samples with each other."""
        tasks = list(self.head.heads)
        return [*tasks, BETWEEN] if self.contrast is not None else tasks

    @property
    def contrast(self) -> Callable[[Mapping[str, Tensor]], Tensor] | None:
        """Of the model inside."""
        return self.model.contrast

    def num_items(self, labels: Tensor | None = None, **batch: Any) -> int | Tensor:
        """As of the model inside."""
        return self.model.num_items(labels)

    def forward(
        self,
        labels: Tensor | None = None,
        num_items_in_batch: int | Tensor | None = None,
        objective: str | None = None,
        **batch: Any,
    ) -> MultimodalOutput:
        """As `MultimodalModel.forward`; with one of `objectives`, the loss is its term alone."""
        if labels is None or (objective is None and not torch.is_grad_enabled()):
            return self.model(labels=labels, num_items_in_batch=num_items_in_batch, **batch)
        model, between = self.model, cast(Any, self.model.fusion)
        features = model.features(batch)
        fused, weights = model.fusion(features, return_weights=True)
        logits, losses = self.head.losses(fused, labels)
        own = self.num_items(labels)
        share = 1 if num_items_in_batch is None else own / num_items_in_batch
        terms = {task: term * share for task, term in self.head.weighting(losses).items()}
        embeddings = None
        if self.training and self.contrast is not None and objective in (None, BETWEEN):
            embeddings = between.embeddings(features)
        if objective is not None:
            loss = terms.get(objective, 0 * torch.stack(list(terms.values())).sum())
        else:
            beside = [] if embeddings is None else [between.contrast(embeddings)]
            loss = self._whole([*terms.values(), *beside])
        return MultimodalOutput(loss, logits.detach(), weights or None, embeddings)

    def combine(self, gradients: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The gradient to step by, from that of each of `objectives`; each is name of a parameter -> tensor.

        A parameter that an objective does not reach is absent from it, or zero.
        """
        tasks, beside = gradients[: len(self.head.heads)], gradients[len(self.head.heads) :]
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        shared = {name: p for name, p in trained.items() if not name.startswith("model.head.")}

        def flat(found: Mapping[str, Tensor]) -> Tensor:
            return torch.cat([found.get(n, torch.zeros_like(p)).flatten() for n, p in shared.items()])

        agreed = without_conflict(torch.stack([flat(found) for found in tasks])).sum(dim=0)
        agreed = agreed + sum(flat(found) for found in beside)
        sizes = [p.numel() for p in shared.values()]
        parts = zip(shared.items(), agreed.split(sizes), strict=True)
        own = {n: sum(f[n] for f in gradients if n in f) for n in trained if n not in shared}
        return {n: part.view_as(p) for (n, p), part in parts} | own

    def _whole(self, losses: list[Tensor]) -> Tensor:
        """A loss with the usual value, whose backward pass leaves the combined gradient."""
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        rows = [dict(zip(trained, _gradients(x, list(trained.values())), strict=True)) for x in losses]
        found = self.combine(rows)
        total = torch.stack(losses).sum()
        return with_gradients(total, list(trained.values()), [found[name] for name in trained])


def with_gradients(value: Tensor, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar with this value whose backward pass leaves exactly these gradients in the parameters."""
    # the derivative of a sum of products p * g with respect to p is g, whatever the value of the sum
    products = [(p * g.view_as(p)).sum() for p, g in zip(parameters, gradients, strict=True)]
    inner = torch.stack(products).sum()
    return value.detach() + inner - inner.detach()


def _gradients(scalar: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
