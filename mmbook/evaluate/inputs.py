"""What every score checks first: a score of nonsense would be a number like any other."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def class_logits(logits: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``(N, C)`` float64 and labels ``(N,)`` long, on the CPU.

    Float64, since a float32 softmax of logits 20 apart is exactly 1 and 0: different answers become ties.

    Raises:
        ValueError: shapes that do not fit, no samples, one class only, labels outside 0..C-1, or a logit that
            is NaN or plus infinity.
    """
    x = torch.as_tensor(np.asarray(logits) if not isinstance(logits, Tensor) else logits).detach().cpu()
    y = torch.as_tensor(np.asarray(labels) if not isinstance(labels, Tensor) else labels).detach().cpu()
    if x.dim() != 2 or y.shape != x.shape[:1] or len(x) == 0 or x.shape[1] < 2:
        raise ValueError(
            f"logits have shape {tuple(x.shape)} and labels {tuple(y.shape)}; give (N, C) and (N,) with at "
            f"least one sample and two classes"
        )
    if y.is_floating_point() or int(y.min()) < 0 or int(y.max()) >= x.shape[1]:
        raise ValueError(
            f"labels are {y.dtype} from {y.min().item()} to {y.max().item()}; with {x.shape[1]} logits they "
            f"must be integers from 0 to {x.shape[1] - 1}"
        )
    x = x.double()
    bad = x.isnan().any(dim=1) | (x == torch.inf).any(dim=1) | (x == -torch.inf).all(dim=1)
    if bad.any():
        raise ValueError(
            f"the logits of {int(bad.sum())} samples are not numbers, the first at {int(bad.nonzero()[0])}; "
            f"such a model has no score: find out where the NaN comes from"
        )
    return x, y.long()


def numbers(values: ArrayLike | Tensor, targets: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """Values and targets of a regression, both ``(N, K)`` float64, on the CPU.

    Raises:
        ValueError: another number of elements, no samples, or a value that is not finite.
    """
    y = torch.as_tensor(np.asarray(targets) if not isinstance(targets, Tensor) else targets)
    x = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values)
    if len(y) == 0 or x.numel() != y.numel() or len(x) != len(y):
        raise ValueError(
            f"values have shape {tuple(x.shape)} and targets {tuple(y.shape)}; give (N,) or (N, K), the same "
            f"number of each and at least one"
        )
    y = y.detach().cpu().double().reshape(len(y), -1)
    x = x.detach().cpu().double().reshape(y.shape)
    for name, found in (("values", x), ("targets", y)):
        if not found.isfinite().all():
            raise ValueError(f"{int((~found.isfinite()).sum())} of the {name} are NaN or infinite; mend them")
    return x, y
