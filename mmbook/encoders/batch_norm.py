"""Batch norm that also trains on a single value a channel: the batch norm of all encoders here."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """Torch's batch norm; where a training batch has one value a channel, it uses its running statistics.

    That is so where one real picture of 32 pixels is left of a batch and the network has shrunk it to 1 × 1.
    One value has no variance: torch stops with "Expected more than 1 value per channel when training", and
    normalising by the value itself would give zero whatever the picture. So such a batch is normalised as in
    evaluation; gradients pass, and the running statistics stay as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`x` ``(N, D, ...)``, normalised over all but D."""
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(x)


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):
    """`BatchNorm` over pictures ``(N, D, H, W)``."""


class BatchNorm3d(BatchNorm, nn.BatchNorm3d):
    """`BatchNorm` over videos ``(N, D, T, H, W)``."""
