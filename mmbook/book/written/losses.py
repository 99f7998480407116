"""Losses for classes and numbers, each beside its gradient. N samples, C classes, nats."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the samples of ``-sum_k t_k log p_k``, with p the softmax of the logits.

    Args:
        logits: ``(N, C)``.
        targets: ``(N, C)``, each row a distribution: one-hot, or `smoothed`.

    Raises:
        ValueError: shapes that differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}, targets {tuple(targets.shape)}; targets are "
            f"distributions (N, C): smoothed(labels, C) makes them from labels (N,)"
        )
    return -(targets * log_probabilities(logits)).sum(dim=1).mean()


def cross_entropy_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """Of `cross_entropy` with respect to the logits: ``(p - t) / N``, of shape ``(N, C)``."""
    return (log_probabilities(logits).exp() - targets) / len(logits)


def smoothed(
    labels: Tensor, num_classes: int, epsilon: float = 0.0, dtype: torch.dtype | None = None
) -> Tensor:
    """Targets ``(N, C)``: ``1 - epsilon`` on the true class, and `epsilon` spread evenly over all classes.

    Args:
        labels: ``(N,)`` long.
        num_classes: C.
        epsilon: 0 for one-hot rows; at 1 the labels would no longer count.
        dtype: of the result; None for torch's default.

    Raises:
        ValueError: `epsilon` outside [0, 1).

    Source: label smoothing, Szegedy et al. (2016), https://arxiv.org/abs/1512.00567.
    """
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon is {epsilon}; it is a share, from 0 to below 1")
    hard = F.one_hot(labels, num_classes).to(dtype or torch.get_default_dtype())
    return (1 - epsilon) * hard + epsilon / num_classes


def sigmoid_focal(logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Focal loss of yes-or-no questions: mean of ``-alpha_t (1 - p_t)^gamma log p_t``.

    ``p_t`` is the probability given to the true answer. The factor ``(1 - p_t)^gamma`` takes weight from
    answers that are right already: of ten thousand places in a picture where nothing is, none counts for
    much, but their sum would.

    Args:
        logits: any shape.
        targets: of the same shape, 0 or 1.
        gamma: at least 0; with 0 it is a weighted cross-entropy.
        alpha: weight of the positive answers, in [0, 1]; negative ones have ``1 - alpha``.

    Source: Lin et al. (2017), https://arxiv.org/abs/1708.02002.
    """
    sign, weight = 2 * targets - 1, alpha * targets + (1 - alpha) * (1 - targets)
    wrong = torch.sigmoid(-sign * logits)  # 1 - p_t
    return -(weight * wrong**gamma * F.logsigmoid(sign * logits)).mean()


def sigmoid_focal_gradient(
    logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float = 0.25
) -> Tensor:
    """Of `sigmoid_focal` with respect to the logits; of their shape."""
    sign, weight = 2 * targets - 1, alpha * targets + (1 - alpha) * (1 - targets)
    right, log_right = torch.sigmoid(sign * logits), F.logsigmoid(sign * logits)
    slope = (1 - right) ** gamma * (gamma * right * log_right - (1 - right))
    return weight * sign * slope / logits.numel()


def softmax_focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss of one class among C: mean of ``-(1 - p_y)^gamma log p_y``.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)`` long.
        gamma: at least 0; with 0 it is the cross-entropy.
    """
    log_right = log_probabilities(logits).gather(1, labels[:, None])[:, 0]  # (N,)
    return -((1 - log_right.exp()) ** gamma * log_right).mean()


def softmax_focal_gradient(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Of `softmax_focal` with respect to the logits, ``(N, C)``: ``p - one_hot`` times a factor a sample."""
    log_p = log_probabilities(logits)
    log_right = log_p.gather(1, labels[:, None])  # (N, 1)
    right = log_right.exp()
    # never 0, or a sample that is right to the last digit would be 0 * inf where gamma is below 1
    wrong = -torch.expm1(log_right).clamp(max=-torch.finfo(logits.dtype).tiny)
    factor = wrong**gamma - gamma * right * wrong ** (gamma - 1) * log_right
    return factor * (log_p.exp() - F.one_hot(labels, logits.shape[1])) / len(logits)


def log_probabilities(logits: Tensor) -> Tensor:
    """``s - log sum exp s`` over the last dimension.

    The largest logit is taken off first: it cancels, and without it ``exp`` of a logit of 100 would be
    infinite in float32.
    """
    shifted = logits - logits.amax(dim=-1, keepdim=True).detach()
    return shifted - shifted.exp().sum(dim=-1, keepdim=True).log()


def mse(values: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over all entries of two tensors of one shape.

    Up to constants it is the negative log-likelihood of a normal distribution around `values` with a fixed
    variance.

    Raises:
        ValueError: shapes that differ. ``(B, 1)`` against ``(B,)`` would broadcast to ``(B, B)``.
    """
    if values.shape != targets.shape:
        raise ValueError(
            f"values have shape {tuple(values.shape)}, targets {tuple(targets.shape)}; reshape one of them"
        )
    return (values - targets).square().mean()


def mse_gradient(values: Tensor, targets: Tensor) -> Tensor:
    """Of `mse` with respect to `values`: ``2 (values - targets) / number of entries``."""
    return 2 * (values - targets) / values.numel()
