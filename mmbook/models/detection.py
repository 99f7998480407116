"""Heads that say what is where: one object a sample, or a set of any number of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbook.heads import HeadOutput, readout
from mmbook.losses.boxes import corners, generalized_iou
from mmbook.registry import register


@register
class Detection(nn.Module):
    """What and where, for one object a sample: a class and a box.

    Logits ``(B, num_classes + 4)``: the class logits, then the box's centre x, centre y, width and height as
    shares of the picture, before a sigmoid. Labels ``(B, 5)``: class, then the box in [0, 1]. The loss is
    cross-entropy plus `box_weight` times the mean absolute error of the box.

    Args: as in `Classification`.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        hidden: int | None = None,
        dropout: float = 0.0,
        box_weight: float = 5.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.box_weight = num_classes, box_weight
        self.net = readout(dim, num_classes + 4, hidden, dropout)

    def forward(self, fused: Tensor, labels: Tensor | None = None) -> HeadOutput:
        logits = self.net(fused)
        if labels is None:
            return HeadOutput(logits)
        kind, box = self.split(logits.float())
        what = F.cross_entropy(kind, labels[:, 0].long(), reduction="sum")
        where = F.l1_loss(box, labels[:, 1:].float(), reduction="none").mean(dim=1).sum()
        return HeadOutput(logits, what + self.box_weight * where, self.num_items(labels))

    def num_items(self, labels: Tensor) -> int:
        """What the loss is a mean over: the samples."""
        return len(labels)

    def split(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits ``(B, num_classes)`` and boxes ``(B, 4)`` in [0, 1]."""
        return logits[:, : self.num_classes], logits[:, self.num_classes :].sigmoid()


@register
class SetDetection(nn.Module):
    """Up to `queries` objects a sample, in no order; each query answers with one object or with none.

    A query reads the fused vector through a matrix of its own, and all share what follows. In training the
    objects of a sample are dealt to the queries so that the total cost is least (Hungarian matching); all
    other queries should say "no object". So no two queries are rewarded for the same object, and no rule is
    needed that removes doubles.

    Logits ``(B, queries, num_classes + 1 + 4)``: classes, "no object", then centre x, centre y, width and
    height of the box before a sigmoid, as shares of the picture. Labels ``(B, K, 5)``: class and box; a row
    of class -1 is padding. The loss of a sample is the cross-entropy over its queries, plus `box_weight`
    times the mean absolute error and `iou_weight` times one minus the generalised IoU of its matched boxes;
    that of a batch is the mean over its samples.

    Args:
        dim: width of the fused vector.
        num_classes: without "no object".
        queries: at least as many as a sample has objects.
        width: of what a query reads.
        no_object: weight of the cross-entropy where no object is matched; most queries are without.
        box_weight, iou_weight: see above; in the matching, too.

    Raises:
        ValueError: fewer than one class or query; labels with more objects than queries, of another shape,
            or with a class that does not exist.

    Source: Carion et al. (2020), *End-to-End Object Detection with Transformers*,
    https://arxiv.org/abs/2005.12872. There, queries attend to the picture's tokens, and the losses are means
    over all objects of a batch.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        queries: int = 8,
        width: int = 64,
        no_object: float = 0.2,
        box_weight: float = 5.0,
        iou_weight: float = 2.0,
    ) -> None:
        super().__init__()
        if num_classes < 1 or queries < 1:
            raise ValueError(f"num_classes is {num_classes} and queries {queries}; give at least 1 of each")
        self.num_classes, self.queries, self.no_object = num_classes, queries, no_object
        self.box_weight, self.iou_weight = box_weight, iou_weight
        self.read = nn.Linear(dim, queries * width)
        self.hidden = nn.Linear(width, width)
        self.answer = nn.Linear(width, num_classes + 5)
        self.start = nn.Parameter(torch.cat([torch.zeros(queries, num_classes + 1), spread(queries)], dim=1))

    def forward(self, fused: Tensor, labels: Tensor | None = None) -> HeadOutput:
        slots = self.read(F.gelu(fused)).unflatten(-1, (self.queries, -1))  # (B, queries, width)
        logits = self.answer(F.gelu(self.hidden(F.gelu(slots)))) + self.start
        if labels is None:
            return HeadOutput(logits)
        items = self.num_items(labels)
        return HeadOutput(logits, self.loss(logits.float(), labels.float()) * items, items)

    def num_items(self, labels: Tensor) -> int:
        """What the loss is a mean over: the samples."""
        return len(labels)

    def split(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits ``(B, queries, num_classes + 1)`` and boxes ``(B, queries, 4)`` in [0, 1]."""
        return logits[..., : self.num_classes + 1], logits[..., self.num_classes + 1 :].sigmoid()

    @torch.no_grad()
    def match(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Which object each query is to find: ``(B, queries)`` places in the labels, -1 for none.

        The cost of a pair is minus the probability of the object's class, plus the two box terms of the loss.
        """
        from scipy.optimize import linear_sum_assignment

        kind, boxes = self.split(logits)
        real = labels[..., 0] >= 0  # (B, K)
        classes = labels[..., 0].long().clamp(min=0)[:, None].expand(-1, self.queries, -1)
        likely = kind.softmax(dim=-1).gather(2, classes)  # (B, queries, K)
        apart = (boxes[:, :, None] - labels[:, None, :, 1:]).abs().mean(dim=-1)
        overlap = generalized_iou(corners(boxes), corners(labels[..., 1:]))
        costs = (self.box_weight * apart - self.iou_weight * overlap - likely).cpu().numpy()
        matched = torch.full(kind.shape[:2], -1)
        for row, (cost, objects) in enumerate(zip(costs, real.cpu(), strict=True)):
            places = objects.nonzero()[:, 0]
            queries, chosen = linear_sum_assignment(cost[:, places.numpy()])
            matched[row, queries] = places[chosen]
        return matched.to(logits.device)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar; the matching is found first, and taken as given."""
        self._check(logits, labels)
        # a padded row's box may be anything, and zero times the gradient of NaN would be NaN
        labels = torch.cat([labels[..., :1], labels[..., 1:].masked_fill(labels[..., :1] < 0, 0.5)], dim=-1)
        kind, boxes = self.split(logits)
        matched = self.match(logits, labels)
        found = matched >= 0  # (B, queries)
        target = labels.gather(1, matched.clamp(min=0)[..., None].expand(-1, -1, 5))  # (B, queries, 5)
        classes = target[..., 0].long().where(found, self.num_classes)
        weight = torch.where(found, 1.0, self.no_object)
        what = weight * F.cross_entropy(kind.transpose(1, 2), classes, reduction="none")
        what = what.sum(dim=1) / weight.sum(dim=1)  # (B,)
        # pair by pair: one box of each side at a time
        overlap = generalized_iou(corners(boxes)[..., None, :], corners(target[..., 1:])[..., None, :])
        apart = (boxes - target[..., 1:]).abs().mean(dim=-1)
        where = self.box_weight * apart + self.iou_weight * (1 - overlap[..., 0, 0])  # (B, queries)
        where = where.masked_fill(~found, 0).sum(dim=1) / found.sum(dim=1).clamp(min=1)
        return (what + where).mean()

    @torch.no_grad()
    def answers(self, logits: Tensor, threshold: float = 0.0) -> list[dict[str, Tensor]]:
        """One dict a sample, best first, as torchmetrics takes them.

        Args:
            logits: ``(B, queries, num_classes + 5)``.
            threshold: leave out what is less probable.

        Returns:
            ``{"boxes": (K, 4) left, top, right, bottom in [0, 1], "scores": (K,), "labels": (K,)}``.
        """
        kind, boxes = self.split(logits.float())
        scores, labels = kind.softmax(dim=-1)[..., :-1].max(dim=-1)
        found = []
        for i in range(len(logits)):
            order = scores[i].argsort(descending=True)
            order = order[scores[i, order] >= threshold]
            found.append(
                {"boxes": corners(boxes[i, order]), "scores": scores[i, order], "labels": labels[i, order]}
            )
        return found

    def _check(self, logits: Tensor, labels: Tensor) -> None:
        if labels.dim() != 3 or labels.shape[-1] != 5 or len(labels) != len(logits):
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}; for {len(logits)} samples it must be "
                f"({len(logits)}, objects, 5): class, centre x, centre y, width, height, class -1 as padding"
            )
        objects, highest = int((labels[..., 0] >= 0).sum(dim=1).max()), int(labels[..., 0].max())
        if objects > self.queries:
            raise ValueError(
                f"a sample has {objects} objects, but there are {self.queries} queries; give more"
            )
        if highest >= self.num_classes:
            raise ValueError(f"a label has class {highest}; the head knows 0 to {self.num_classes - 1}")


def spread(queries: int) -> Tensor:
    """Boxes to begin with, before the sigmoid: ``(queries, 4)``, their centres on a regular grid.

    Queries that begin at different places find different objects, and the matching soon stops to change.
    """
    side = math.ceil(queries**0.5)
    place = (torch.arange(side) + 0.5) / side
    centre = torch.cartesian_prod(place, place).flip(1)[:queries]  # row by row: x runs first
    return torch.cat([centre, torch.full_like(centre, 1 / 3)], dim=1).logit()
