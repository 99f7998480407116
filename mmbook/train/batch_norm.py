"""Batch norm over the samples of all processes, for the time of a training run.

Left alone, each process would normalise by the mean and variance of its own part of the batch, and two
processes would train another model than one. torch.nn.SyncBatchNorm does this on a GPU only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedNorms:
    """Makes every batch norm of a model compute its statistics over all processes; `undo` takes it back.

    A module of a subclass that calls its statistics by another name than ``forward`` says so by having a
    method ``normalise`` (as the batch norm for videos with padding has).
    """

    def __init__(self, model: nn.Module) -> None:
        self.norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.counts = True  # whether what this process feeds in is real
        for norm in self.norms:
            setattr(norm, self._where(norm), partial(self._forward, norm))

    def undo(self) -> None:
        for norm in self.norms:
            delattr(norm, self._where(norm))

    @contextmanager
    def real(self, counts: bool) -> Iterator[None]:
        """Whether the samples of this process count; a process without any takes part, with weight zero."""
        before, self.counts = self.counts, counts
        yield
        self.counts = before

    @staticmethod
    def _where(norm: nn.Module) -> str:
        return "normalise" if hasattr(norm, "normalise") else "forward"

    def _forward(self, norm: _BatchNorm, x: Tensor) -> Tensor:
        """`x` ``(B, D, ...)``; as torch's batch norm on the batches of all processes, one after another."""
        from torch.distributed.nn.functional import all_reduce

        if not norm.training:
            return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        dims = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        wide, weight = x if x.dtype == torch.float64 else x.float(), float(self.counts)
        count = weight * x.numel() / x.shape[1]
        sums = all_reduce(torch.cat([wide.new_tensor([count]), wide.sum(dims) * weight]))
        total = sums[0].detach()
        # one value in all processes has no spread (`mmbook.encoders.batch_norm`); who has two need not ask
        if count <= 1 and total <= 1:
            return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        mean = sums[1:] / total
        centred = wide - mean.view(shape)
        # in a second round, and not as mean of squares less square of mean, which cancels
        variance = all_reduce(centred.square().sum(dims) * weight) / total
        out = centred * (variance + norm.eps).rsqrt().view(shape)
        if norm.affine:
            out = out * norm.weight.view(shape) + norm.bias.view(shape)
        if norm.running_mean is not None and norm.running_var is not None:
            with torch.no_grad():
                norm.num_batches_tracked.add_(1)  # type: ignore[union-attr, operator]
                share = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)  # type: ignore[arg-type]
                norm.running_mean.lerp_(mean.detach(), share)
                norm.running_var.lerp_(variance.detach() * total / (total - 1), share)
        return out.to(x.dtype)
