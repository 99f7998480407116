"""What a comparison can be about: scores of single samples, and statistics of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mmbook.evaluate.bootstrap import Resampled, resample
from mmbook.evaluate.classification import auroc, macro_f1
from mmbook.evaluate.intervals import Interval, interval
from mmbook.evaluate.regression import regression_report

Clusters = Mapping[str, ArrayLike] | None
Floats = NDArray[np.float64]


class Scored(NamedTuple):
    """Scores of single samples ``(S, N)`` and which samples belong together."""

    table: Floats
    clusters: Clusters = None

    def __sub__(self, other: Scored) -> Scored:
        """The paired difference, on the same seeds and samples."""
        return Scored(self.table - other.table, self.clusters)

    def interval(self, level: float = 0.95) -> Interval:
        """Mean with its interval."""
        return interval(self.table, self.clusters, level=level)


@dataclass(frozen=True)
class Score:
    """A score that each sample has by itself, such as right or wrong; its mean is what is reported.

    Attributes:
        name: of the column.
        of: ``(answers (N, ...), labels (N, ...)) -> (N,)``.
        higher: whether more is better.
    """

    name: str
    of: Callable[[Tensor, Tensor], Tensor]
    higher: bool = True

    def measure(self, answers: Tensor, labels: Tensor, clusters: Clusters = None) -> Scored:
        """Of answers ``(S, N, ...)`` of S seeds; has ``.interval()``, and differences have it, too."""
        return Scored(np.stack([np.asarray(self.of(one, labels), dtype=float) for one in answers]), clusters)


@dataclass(frozen=True)
class Statistic:
    """A score that only a whole set has, such as AUROC or F1; its interval is a `bootstrap`.

    Attributes:
        name: of the column.
        of: ``(answers (N, ...), labels (N, ...)) -> float``.
        higher: whether more is better.
        draws: resamples.
    """

    name: str
    of: Callable[[Tensor, Tensor], float]
    higher: bool = True
    draws: int = 500

    def measure(self, answers: Tensor, labels: Tensor, clusters: Clusters = None) -> Resampled:
        """Of answers ``(S, N, ...)`` of S seeds; has ``.interval()``, and differences have it, too.

        Raises:
            ValueError: more than one factor of clusters, which a bootstrap cannot resample at once.
        """
        return resample(self.of, answers, labels, _one(clusters), draws=self.draws)


def _one(clusters: Clusters) -> ArrayLike | None:
    if clusters is not None and len(clusters) > 1:
        raise ValueError(
            f"clusters are {', '.join(clusters)}; a statistic is resampled over one factor: give the one "
            f"with the fewest members, or compare a score of single samples"
        )
    return next(iter(clusters.values())) if clusters else None


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.argmax(dim=-1) == labels


def _nll(logits: Tensor, labels: Tensor) -> Tensor:
    return -logits.double().log_softmax(dim=-1).gather(1, labels.long()[:, None])[:, 0]


def _distance(values: Tensor, targets: Tensor) -> Tensor:
    return (values.double().reshape(len(targets), -1) - targets.double().reshape(len(targets), -1)).abs()


ACCURACY = Score("accuracy", _right)
NLL = Score("nll", _nll, higher=False)
MAE = Score("mae", lambda values, targets: _distance(values, targets).mean(dim=1), higher=False)
MSE = Score("mse", lambda values, targets: _distance(values, targets).square().mean(dim=1), higher=False)
AUROC = Statistic("auroc", auroc)
MACRO_F1 = Statistic("f1", macro_f1)
CCC = Statistic("ccc", lambda values, targets: regression_report(values, targets)["ccc"])


def usual_scores(labels: Tensor) -> tuple[Score, ...]:
    """Accuracy and NLL for classes, MAE and MSE for numbers."""
    return (MAE, MSE) if torch.as_tensor(labels).is_floating_point() else (ACCURACY, NLL)
