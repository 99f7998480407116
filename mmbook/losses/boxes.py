"""Bounding boxes, rows of four numbers: their corners, and generalised intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor


def corners(boxes: Tensor) -> Tensor:
    """``(..., 4)`` centre x, centre y, width, height to left, top, right, bottom."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union of every box of `a` with every one of `b`, from -1 to 1.

    ``IoU - (hull - union) / hull``, with the hull the smallest box around both. Intersection over union alone
    is 0 for all boxes that do not touch, and so is its gradient: this one still says how far apart they are.

    Args:
        a: ``(..., N, 4)`` left, top, right, bottom, as `corners` gives them.
        b: ``(..., K, 4)``, the same.

    Returns:
        ``(..., N, K)``.

    Source: Rezatofighi et al. (2019), https://arxiv.org/abs/1902.09630.
    """
    a, b = a[..., :, None, :], b[..., None, :, :]
    overlap = _area(torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    hull = _area(torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:]))
    union = _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - overlap
    return overlap / union - (hull - union) / hull


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(dim=-1)
