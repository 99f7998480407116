"""Gradient surgery: what one task's gradient takes back from another's is cut off before they are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmbook.modality import group
from mmbook.models.multimodal import MultimodalModel, MultimodalOutput
from mmbook.models.multitask import MultiTask


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
    usual gradient. So any loop trains it. It takes one backward pass a task. Over several devices, conflicts
    are those within each device's part of the batch.

    Args:
        model: with a `MultiTask` head; it is trained in place, and is what you save.

    Raises:
        ValueError: a model with another head.

    Source: Yu et al. (2020), *Gradient Surgery for Multi-Task Learning*, https://arxiv.org/abs/2001.06782.
    """

    accepts_loss_kwargs = False  # as of MultimodalModel

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        if not isinstance(model.head, MultiTask):
            raise ValueError(f"PCGrad needs a MultiTask head; this model has {type(model.head).__name__}")
        self.model = model

    @property
    def head(self) -> nn.Module:
        return self.model.head

    def forward(self, labels: Tensor | None = None, **batch: Any) -> MultimodalOutput:
        """As `MultimodalModel.forward`."""
        if labels is None or not torch.is_grad_enabled():
            return self.model(labels=labels, **batch)
        model, head = self.model, self.model.head
        assert isinstance(head, MultiTask)
        features = {n: model.encoders[n](m) for n, m in group(batch, list(model.encoders)).items()}
        fused, weights = model.fusion(features, return_weights=True)
        logits, losses = head.losses(fused, labels)
        terms = list(head.weighting(losses).values())
        shared = [p for part in (model.encoders, model.fusion) for p in part.parameters() if p.requires_grad]
        own = [p for p in head.parameters() if p.requires_grad]
        total = torch.stack(terms).sum()
        rows = torch.stack([torch.cat([g.flatten() for g in _gradients(term, shared)]) for term in terms])
        agreed = without_conflict(rows).sum(dim=0).split([p.numel() for p in shared])
        loss = with_gradients(total, [*shared, *own], [*agreed, *_gradients(total, own)])
        return MultimodalOutput(loss=loss, logits=logits.detach(), attentions=weights or None)


def with_gradients(value: Tensor, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar with this value whose backward pass leaves exactly these gradients in the parameters."""
    # the derivative of a sum of products p * g with respect to p is g, whatever the value of the sum
    products = [(p * g.view_as(p)).sum() for p, g in zip(parameters, gradients, strict=True)]
    inner = torch.stack(products).sum()
    return value.detach() + inner - inner.detach()


def _gradients(scalar: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
