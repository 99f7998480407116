"""What every score and every test checks first: a score of nonsense would be a number like any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Floats = NDArray[np.float64]
MOST_UNDEFINED = 0.05  # of the draws of a bootstrap or a permutation test


def tensor(values: ArrayLike | Tensor) -> Tensor:
    """Values of any kind as a tensor on the CPU, without a gradient."""
    return torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values).detach().cpu()


def finite(values: ArrayLike | Tensor, name: str) -> Floats:
    """Values as float64, at least one, and none of them NaN or infinite.

    Raises:
        ValueError: there are none, or some are not finite.
    """
    found = tensor(values).double().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=float)
    if found.size == 0:
        raise ValueError(f"{name} have shape {found.shape}; give at least one")
    bad = ~np.isfinite(found)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {found.size} {name} are NaN or infinite, and NaN is neither large nor "
            f"small; find out where they come from, or leave those samples out of all that is compared"
        )
    return found


def p_value(found: float, chance: Floats) -> float:
    """Share of draws of chance, the found value among them, that are at least as large.

    A draw without a value counts as large: what cannot be said is no evidence.

    Raises:
        ValueError: a found value that is not a number, no draws, or more than 5 % of them without a value.
    """
    if np.isnan(found):
        raise ValueError("the statistic is not defined on the samples themselves (NaN); it cannot be tested")
    defined(chance, "relabellings")
    return float((1 + (~(chance < found)).sum()) / (1 + len(chance)))


def defined(draws: Floats, name: str) -> Floats:
    """The draws that have a value.

    Raises:
        ValueError: there are no draws, or more than 5 % of them have none.
    """
    known = draws[np.isfinite(draws)]
    if len(known) < (1 - MOST_UNDEFINED) * len(draws) or not len(draws):
        raise ValueError(
            f"the statistic is not defined on {len(draws) - len(known)} of {len(draws)} {name}, as when a "
            f"class is in few samples only or values are tied; give more samples, or a statistic that is"
        )
    return known


def class_logits(logits: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``(N, C)`` float64 and labels ``(N,)`` long, on the CPU.

    Float64, since a float32 softmax of logits 20 apart is exactly 1 and 0: different answers become ties.

    Raises:
        ValueError: shapes that do not fit, no samples, one class only, labels outside 0..C-1, or a logit that
            is NaN or plus infinity.
    """
    x, y = tensor(logits), tensor(labels)
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
    x, y = tensor(values), tensor(targets)
    if len(y) == 0 or x.numel() != y.numel() or len(x) != len(y):
        raise ValueError(
            f"values have shape {tuple(x.shape)} and targets {tuple(y.shape)}; give (N,) or (N, K), the same "
            f"number of each and at least one"
        )
    pair: Any = (torch.from_numpy(finite(of, name)) for of, name in ((x, "values"), (y, "targets")))
    x, y = (found.reshape(len(y), -1) for found in pair)
    return x, y
