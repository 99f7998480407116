"""Scores of predictions, by torchmetrics."""

from __future__ import annotations

from torch import Tensor

CLASSIFICATION = ("accuracy", "balanced_accuracy", "f1", "nll")
REGRESSION = ("mae", "mse", "correlation")


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro F1 and mean negative log-likelihood (in nats).

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)`` long.
    """
    from torch.nn.functional import cross_entropy
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    logits, classes = logits.float(), logits.shape[-1]
    return {
        "accuracy": multiclass_accuracy(logits, labels, classes, average="micro").item(),
        "balanced_accuracy": multiclass_accuracy(logits, labels, classes, average="macro").item(),
        "f1": multiclass_f1_score(logits, labels, classes, average="macro").item(),
        "nll": cross_entropy(logits, labels).item(),
    }


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
