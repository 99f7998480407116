"""The output layer: from one fused vector to an answer and, given labels, a loss."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from mmbook.moved import moved_names
from mmbook.registry import register


class HeadOutput(NamedTuple):
    """What a head returns: an answer and, with labels, a loss as a sum and a count.

    Sums and counts add over the parts of a batch and over processes; means do not.

    Attributes:
        logits: ``(B, ...)``, the raw answer.
        total: scalar, the sum of the loss over all that counts; None without labels.
        num_items: how many that are, as `num_items` of the head says.
    """

    logits: Tensor
    total: Tensor | None = None
    num_items: int | Tensor | None = None

    @property
    def loss(self) -> Tensor | None:
        """Scalar mean, ``total / num_items``; None without labels."""
        return None if self.total is None or self.num_items is None else per_item(self.total, self.num_items)


def per_item(total: Tensor, num_items: int | Tensor) -> Tensor:
    """``total / num_items``; where nothing counts, the total, which is zero then, with its graph."""
    return total / (num_items.clamp(min=1) if isinstance(num_items, Tensor) else max(num_items, 1))


@register
class Classification(nn.Module):
    """One of `num_classes` classes: logits ``(B, num_classes)``, cross-entropy against labels ``(B,)`` long.

    Args:
        dim: width of the fused vector.
        num_classes: at least 2.
        hidden: width of one hidden layer (GELU) before the logits; None for a linear head.
        dropout: share of the head's input zeroed in training.
        linear: False for no layer at all: what comes in are the logits already, as from late fusion.

    Raises:
        ValueError: fewer than 2 classes; without a layer, a `dim` that is not `num_classes`, or `hidden` or
            `dropout`.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        hidden: int | None = None,
        dropout: float = 0.0,
        linear: bool = True,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes is {num_classes}; classification needs at least 2")
        self.num_classes = num_classes
        self.net = readout(dim, num_classes, hidden, dropout, linear)

    def forward(self, fused: Tensor, labels: Tensor | None = None) -> HeadOutput:
        logits = self.net(fused)  # (B, num_classes)
        if labels is None:
            return HeadOutput(logits)
        total = F.cross_entropy(logits.float(), labels.long(), reduction="sum")
        return HeadOutput(logits, total, self.num_items(labels))

    def num_items(self, labels: Tensor) -> int:
        """What the loss is a mean over: the samples."""
        return len(labels)


@register
class Regression(nn.Module):
    """`num_targets` numbers: ``(B, num_targets)``, mean squared error against labels ``(B, num_targets)``, or
    ``(B,)`` where there is one.

    Args: as in `Classification`.
    """

    def __init__(
        self,
        dim: int,
        num_targets: int = 1,
        hidden: int | None = None,
        dropout: float = 0.0,
        linear: bool = True,
    ) -> None:
        super().__init__()
        if num_targets < 1:
            raise ValueError(f"num_targets is {num_targets}; regression needs at least 1")
        self.num_targets = num_targets
        self.net = readout(dim, num_targets, hidden, dropout, linear)

    def forward(self, fused: Tensor, labels: Tensor | None = None) -> HeadOutput:
        values = self.net(fused)  # (B, num_targets)
        if labels is None:
            return HeadOutput(values)
        # reshape, or (B, 1) against (B,) would broadcast to (B, B) and train on nonsense
        total = F.mse_loss(values.float(), labels.float().reshape(values.shape), reduction="sum")
        return HeadOutput(values, total, self.num_items(labels))

    def num_items(self, labels: Tensor) -> int:
        """What the loss is a mean over: all numbers."""
        return labels.numel()


def readout(dim: int, out: int, hidden: int | None, dropout: float, linear: bool = True) -> nn.Module:
    if not linear:
        if dim != out or hidden is not None or dropout:
            raise ValueError(
                f"a head with linear=False passes on what comes in, so dim must be {out} (is {dim}), "
                f"hidden None (is {hidden}) and dropout 0 (is {dropout})"
            )
        return nn.Identity()
    if hidden is None:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, out))
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, out))


__getattr__ = moved_names(__name__)
