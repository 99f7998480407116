"""What a comparison can be about: scores of single samples, and statistics of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mmbook.evaluate.bootstrap import Resampled, resampled
from mmbook.evaluate.inputs import finite
from mmbook.evaluate.intervals import Interval, Kind, interval, kind_of_scores
from mmbook.evaluate.metrics import auroc, concordance, macro_f1

Clusters = Mapping[str, ArrayLike] | None
Floats = NDArray[np.float64]


class Scored(NamedTuple):
    """Scores of single samples ``(S, N)``, which of them belong together, and what kind they are."""

    table: Floats
    clusters: Clusters
    kind: Kind

    def __sub__(self, other: Scored) -> Scored:
        """The paired difference, on the same seeds and samples."""
        shares = self.kind == other.kind == "share"
        return Scored(self.table - other.table, self.clusters, "difference" if shares else "number")

    def interval(self, level: float = 0.95) -> Interval:
        """Mean with its interval."""
        return interval(self.table, self.clusters, kind=self.kind, level=level)


@dataclass(frozen=True)
class Score:
    """A score that each sample has by itself, such as right or wrong; its mean is what is reported.

    Attributes:
        name: of the column.
        of: ``(answers (N, ...), labels (N, ...)) -> (N,)``.
        higher: whether more is better.
        kind: "share" of a score that cannot leave [0, 1], "amount" of one that cannot be negative, "number"
            of any other; None: a share where all scores are 0 or 1. It says which interval is right, see
            `interval`.
    """

    name: str
    of: Callable[[Tensor, Tensor], Tensor]
    higher: bool = True
    kind: Kind | None = None

    def measure(self, answers: Tensor, labels: Tensor, clusters: Clusters = None) -> Scored:
        """Of answers ``(S, N, ...)`` of S seeds; has ``.interval()``, and differences have it, too.

        Raises:
            ValueError: a score that is not finite.
        """
        table = np.stack([finite(self.of(one, labels), f"scores ({self.name})") for one in answers])
        return Scored(table, clusters, self.kind or kind_of_scores(table))


@dataclass(frozen=True)
class Statistic:
    """A score that only a whole set has, such as AUROC or F1; its interval is a `bootstrap`.

    Attributes:
        name: of the column.
        of: ``(answers (N, ...), labels (N, ...)) -> float``.
        higher: whether more is better.
        draws: resamples.
        bounds: its least and greatest value, which the interval does not leave; None where there are none.
    """

    name: str
    of: Callable[[Tensor, Tensor], float]
    higher: bool = True
    draws: int = 500
    bounds: tuple[float, float] | None = None

    def measure(self, answers: Tensor, labels: Tensor, clusters: Clusters = None) -> Resampled:
        """Of answers ``(S, N, ...)`` of S seeds; has ``.interval()``, and differences have it, too.

        Raises:
            ValueError: more than one factor of clusters, which a bootstrap cannot resample at once.
        """
        return resampled(self.of, answers, labels, _one(clusters), self.bounds, draws=self.draws)


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


def _labels_right(logits: Tensor, labels: Tensor) -> Tensor:
    return ((logits > 0) == (labels > 0.5)).double().mean(dim=1)


def _labels_nll(logits: Tensor, labels: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits.double(), labels.double(), reduction="none").mean(dim=1)


def _distance(values: Tensor, targets: Tensor) -> Tensor:
    return (values.double().reshape(len(targets), -1) - targets.double().reshape(len(targets), -1)).abs()


def _ccc(values: Tensor, targets: Tensor) -> float:
    columns = zip(values.reshape(len(targets), -1).T, targets.reshape(len(targets), -1).T, strict=True)
    return float(np.mean([concordance(a, b) for a, b in columns]))


ACCURACY = Score("accuracy", _right, kind="share")
NLL = Score("nll", _nll, higher=False, kind="amount")
LABEL_ACCURACY = Score("label accuracy", _labels_right, kind="share")
LABEL_NLL = Score("label nll", _labels_nll, higher=False, kind="amount")
MAE = Score("mae", lambda values, targets: _distance(values, targets).mean(dim=1), False, "amount")
MSE = Score("mse", lambda values, targets: _distance(values, targets).square().mean(dim=1), False, "amount")
AUROC = Statistic("auroc", auroc, bounds=(0, 1))
MACRO_F1 = Statistic("f1", macro_f1, bounds=(0, 1))
CCC = Statistic("ccc", _ccc, bounds=(-1, 1))


def several_labels(labels: Tensor) -> bool:
    """Whether labels say for each of L >= 2 things if it is there: float ``(N, L)``, all 0 or 1."""
    two = labels.dim() == 2 and labels.shape[1] > 1
    return two and labels.is_floating_point() and bool(((labels == 0) | (labels == 1)).all())


def usual_scores(labels: Tensor) -> tuple[Score, Score]:
    """Accuracy and NLL for classes or for several labels at once, MAE and MSE for numbers."""
    labels = torch.as_tensor(labels)
    if several_labels(labels):
        return LABEL_ACCURACY, LABEL_NLL
    return (MAE, MSE) if labels.is_floating_point() else (ACCURACY, NLL)
