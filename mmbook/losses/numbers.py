"""The loss for numbers."""

from __future__ import annotations

from torch import Tensor


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
