"""All the scores of a predictor of numbers: how far off it is, and how well it follows the ups and downs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from mmbook.evaluate.correlation import spearman
from mmbook.evaluate.inputs import numbers


def regression_report(values: ArrayLike | Tensor, targets: ArrayLike | Tensor) -> dict[str, float]:
    """MAE, MSE, Pearson's and Spearman's correlation, concordance (CCC); each averaged over the targets.

    A correlation forgives a wrong scale and a wrong offset. Concordance, usual for emotions that several
    people rated, does not: it is 1 only where every value is its target. Pearson's and Spearman's are NaN
    where a target or its prediction is constant: they are not defined there. Concordance is 0 for a constant
    prediction.

    Args:
        values: ``(N,)`` or ``(N, K)``.
        targets: of the same number of elements.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.
    """
    x, y = numbers(values, targets)
    columns = [(a.numpy(), b.numpy()) for a, b in zip(x.T, y.T, strict=True)]
    return {
        "mae": float((x - y).abs().mean()),
        "mse": float(((x - y) ** 2).mean()),
        "correlation": float(np.mean([pearson(a, b) for a, b in columns])),
        "spearman": float(np.mean([spearman(a, b) for a, b in columns])),
        "ccc": float(np.mean([concordance(a, b) for a, b in columns])),
    }


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's correlation of two rows of numbers; NaN where one is constant."""
    a, b = (np.asarray(row, dtype=float) for row in (x, y))
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def concordance(x: ArrayLike, y: ArrayLike) -> float:
    """``2 cov / (var x + var y + (mean x - mean y)²)``, from -1 to 1; NaN where both are one same constant.

    With the variances' divisor N, as in the paper and in emotion challenges; torchmetrics divides by N - 1,
    which differs by less than 1 / N.

    Source: Lin (1989), https://doi.org/10.2307/2532051.
    """
    a, b = (np.asarray(row, dtype=float) for row in (x, y))
    apart = ((a - b) ** 2).mean()  # = var a + var b + (mean a - mean b)² - 2 cov
    cov = ((a - a.mean()) * (b - b.mean())).mean()
    return float(2 * cov / (apart + 2 * cov)) if apart + 2 * cov > 0 else float("nan")
