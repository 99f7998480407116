"""All the scores of a set of answers: of classes, of several labels at once, of numbers, of boxes.

`classification_metrics` and `regression_metrics` are what training looks at after each epoch; the reports
have more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mmbook.evaluate.calibration import reliability
from mmbook.evaluate.inputs import class_logits, finite, numbers, tensor
from mmbook.extras import need
from mmbook.losses.boxes import corners

CLASSIFICATION = ("accuracy", "balanced_accuracy", "f1", "nll")
REGRESSION = ("mae", "mse", "correlation")


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro F1 and mean negative log-likelihood (in nats).

    All are NaN where a logit is NaN: the largest of some numbers and a NaN is no answer.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)`` long.
    """
    from torch.nn.functional import cross_entropy
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    logits, classes = logits.float(), logits.shape[-1]
    if logits.isnan().any():
        return dict.fromkeys(CLASSIFICATION, float("nan"))
    return {
        "accuracy": multiclass_accuracy(logits, labels, classes, average="micro").item(),
        "balanced_accuracy": multiclass_accuracy(logits, labels, classes, average="macro").item(),
        "f1": multiclass_f1_score(logits, labels, classes, average="macro").item(),
        "nll": cross_entropy(logits, labels).item(),
    }


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

    x, y = tensor(logits).double(), tensor(labels).long()
    if x.dim() != 2 or x.shape != y.shape or not len(x) or not ((y == 0) | (y == 1)).all():
        raise ValueError(
            f"logits have shape {tuple(x.shape)}, labels {tuple(y.shape)} with values "
            f"{y.unique().tolist()[:5]}; give (N, L) of both, and labels of 0 and 1"
        )
    finite(x, "logits")
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


def regression_metrics(values: Tensor, targets: Tensor) -> dict[str, float]:
    """Mean absolute error, mean squared error and Pearson correlation, averaged over the targets.

    Args:
        values: ``(N,)`` or ``(N, K)``.
        targets: of the same number of elements.

    A correlation is NaN where a target or its prediction is constant: it is not defined there.
    """
    from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, pearson_corrcoef

    targets = targets.float().reshape(len(targets), -1)
    values = values.float().reshape(targets.shape)
    return {
        "mae": mean_absolute_error(values, targets).item(),
        "mse": mean_squared_error(values, targets).item(),
        "correlation": pearson_corrcoef(values.squeeze(-1), targets.squeeze(-1)).mean().item(),
    }


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


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's correlation of the ranks, ties sharing their mean rank; NaN where all values are equal."""
    from scipy.stats import rankdata

    return pearson(rankdata(x), rankdata(y))


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


def detection_metrics(answers: Sequence[Mapping[str, Tensor]], labels: Tensor) -> dict[str, float]:
    """Mean average precision as COCO counts it: ``map``, ``map_50`` and ``map_75``, from 0 to 1.

    An answer is right where it names the class and its IoU with an object that no better answer took is at
    least 0.5 (``map_50``), 0.75, or ten thresholds from 0.5 to 0.95, averaged (``map``). Sorted by score, the
    answers of a class make a curve of precision against recall; the area under it, averaged over the
    classes, is the score. So the order of the scores counts, and answers of small score cost little.

    Args:
        answers: one a sample, as `mmbook.models.detection.SetDetection.answers` gives them: "boxes"
            ``(K, 4)`` left, top, right, bottom, "scores" ``(K,)``, "labels" ``(K,)``.
        labels: ``(B, K, 5)`` class, centre x, centre y, width, height in the same unit; class -1 is padding.

    Raises:
        ValueError: another number of answers than of samples, no object in any sample, or a box or score that
            is not finite.
        ImportError: without pycocotools; names the extra.

    Source: Lin et al. (2014), *Microsoft COCO*, https://arxiv.org/abs/1405.0312.
    """
    need("detection", "detection_metrics")
    from torchmetrics.detection import MeanAveragePrecision

    if len(answers) != len(labels):
        raise ValueError(f"there are {len(answers)} answers for {len(labels)} samples; give one each")
    real = labels[..., 0] >= 0
    if not real.any():
        raise ValueError("no sample has an object, and then precision means nothing; give some that have")
    for name in ("boxes", "scores"):
        found = torch.cat([answer[name].flatten() for answer in answers])
        if len(found):  # no answer at all is one, and its precision is 0
            finite(found, name)
    truth = [
        {"boxes": corners(rows[keep, 1:]), "labels": rows[keep, 0].long()}
        for rows, keep in zip(labels.float(), real, strict=True)
    ]
    score = MeanAveragePrecision(
        box_format="xyxy", backend="pycocotools", max_detection_thresholds=[1, 10, 100]
    )
    score.update([dict(answer) for answer in answers], truth)
    scores = score.compute()
    return {key: scores[key].item() for key in ("map", "map_50", "map_75")}
