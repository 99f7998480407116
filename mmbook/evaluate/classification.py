"""All the scores of a classifier: how often it is right, how well it ranks, how far to trust its confidence.

`mmbook.evaluate.metrics` has the four of them that training looks at after each epoch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mmbook.evaluate.calibration import reliability
from mmbook.evaluate.inputs import class_logits
from mmbook.evaluate.metrics import classification_metrics


def classification_report(logits: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro F1, AUROC, NLL (nats), ECE and Brier score.

    The first three and NLL are those of `classification_metrics`. Where a class has no sample, a balanced
    accuracy and an F1 count it as 0 if it was ever predicted, and leave it out if not; AUROC leaves it out.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)`` integers.

    Raises:
        ValueError: shapes, labels or logits that mean nothing (see `class_logits`).
    """
    x, y = class_logits(logits, labels)
    return {
        **classification_metrics(x.float(), y),
        "auroc": auroc(x, y),
        "ece": reliability(x, y).ece,
        "brier": brier(x, y),
    }


def auroc(logits: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> float:
    """Area under the ROC curve: how often a sample of a class scores higher for it than one of another class.

    A tie counts one half. With two classes the score is the difference of the logits; with more, each class
    is compared with the rest by its probability, and the areas are averaged. A class without a sample, or
    with all of them, has no area and is left out; where none is left the result is NaN. (torchmetrics counts
    such a class as 0 and so mixes "cannot be said" with "ranks everything the wrong way round".)

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)`` integers.

    Source: Hanley and McNeil (1982), https://doi.org/10.1148/radiology.143.1.7063747.
    """
    x, y = class_logits(logits, labels)
    if x.shape[1] == 2:
        return float(area(x[:, 1] - x[:, 0], y == 1))
    scores = x.log_softmax(dim=1).round(decimals=12)  # the last bits depend on the order of a sum, and untie
    areas = area(scores, y[:, None] == torch.arange(x.shape[1]))
    return float(areas[~np.isnan(areas)].mean()) if not np.isnan(areas).all() else float("nan")


def area(scores: ArrayLike | Tensor, positive: ArrayLike | Tensor) -> Any:
    """Area under the ROC curve of scores ``(N, ...)`` for ``(N, ...)`` bool, NaN where all are one class.

    From ranks (Mann and Whitney's U), for each column by itself.
    """
    from scipy.stats import rankdata

    is_one = np.asarray(positive, dtype=bool)
    ones = is_one.sum(axis=0)
    ranks = rankdata(np.asarray(scores), axis=0)
    above = (ranks * is_one).sum(axis=0) - ones * (ones + 1) / 2  # pairs won, a tie one half
    with np.errstate(invalid="ignore"):
        return above / (ones * (len(is_one) - ones))


def brier(logits: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> float:
    """Mean squared distance between probabilities and the truth, over all classes: from 0 to 2.

    ``mean_i sum_c (p_ic - [y_i = c])²``. For two classes that is twice the form with one probability.

    Source: Brier (1950), https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2.
    """
    x, y = class_logits(logits, labels)
    truth = torch.nn.functional.one_hot(y, x.shape[1])
    return float(((x.softmax(dim=1) - truth) ** 2).sum(dim=1).mean())


def confusion_matrix(logits: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> NDArray[np.int64]:
    """Counts ``(C, C)``: row the true class, column the predicted one."""
    x, y = class_logits(logits, labels)
    classes = x.shape[1]
    counts = torch.bincount(y * classes + x.argmax(dim=1), minlength=classes**2)
    return counts.reshape(classes, classes).numpy()


def macro_f1(logits: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> float:
    """F1 averaged over the classes, as in `classification_metrics` but quick enough to be resampled."""
    counts = confusion_matrix(logits, labels)
    hits, size = 2 * counts.diagonal(), counts.sum(axis=0) + counts.sum(axis=1)
    return float((hits[size > 0] / size[size > 0]).mean())


def multilabel_metrics(logits: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> dict[str, float]:
    """Scores where a sample may have several labels at once: ``map``, ``micro_f1`` and ``macro_f1``.

    ``map`` is the mean over the labels of the average precision: the precision at each right answer, going
    down the list of all samples by score. A label that no sample has is left out of it, and NaN comes out
    where none has any. F1 is at probability 0.5.

    Args:
        logits: ``(N, L)``, one for each label, before a sigmoid.
        labels: ``(N, L)`` of 0 and 1.

    Raises:
        ValueError: other shapes, values that are not 0 or 1, logits that are not finite.
    """
    from torchmetrics.functional.classification import binary_average_precision

    x = torch.as_tensor(np.asarray(logits)).double()
    y = torch.as_tensor(np.asarray(labels)).long()
    if x.dim() != 2 or x.shape != y.shape or not len(x) or not ((y == 0) | (y == 1)).all():
        raise ValueError(
            f"logits have shape {tuple(x.shape)}, labels {tuple(y.shape)} with values "
            f"{y.unique().tolist()[:5]}; give (N, L) of both, and labels of 0 and 1"
        )
    if not x.isfinite().all():
        raise ValueError("some logits are NaN or infinite; such a model has no score")
    # ranks instead of scores: a float sigmoid of large logits is exactly 1, and different answers become ties
    ranks = [torch.unique(column, return_inverse=True)[1] / len(x) for column in x.T]
    found = [
        binary_average_precision(rank, truth).item()
        for rank, truth in zip(ranks, y.T, strict=True)
        if truth.any()
    ]
    guess = (x > 0).long()
    hits, wrong = (guess & y).sum(dim=0).double(), (guess ^ y).sum(dim=0).double()
    real = (2 * hits + wrong) > 0  # a label that neither occurs nor is predicted has no F1
    macro = (2 * hits / (2 * hits + wrong))[real].mean() if real.any() else torch.tensor(float("nan"))
    micro = 2 * hits.sum() / (2 * hits + wrong).sum()
    mean = float(np.mean(found)) if found else float("nan")
    return {"map": mean, "micro_f1": micro.item(), "macro_f1": macro.item()}
