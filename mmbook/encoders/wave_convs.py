"""Convolutions straight on the waveform: what wav2vec 2.0 has in place of a spectrogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORMS = ("group", "layer")


class WaveConv(nn.Module):
    """Convolution without padding over ``(B, C, T)``, a norm, GELU.

    Args:
        before, after: channels.
        kernel, stride: in steps of the input.
        bias: of the convolution.
        norm: "layer" normalises each step over its channels; "group" each channel over the real steps of its
            row; None does neither.
    """

    def __init__(
        self, before: int, after: int, kernel: int, stride: int, bias: bool, norm: str | None
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.kind = kernel, stride, norm
        self.conv = nn.Conv1d(before, after, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(self.conv.weight)
        if norm == "group":
            self.norm: nn.Module | None = nn.GroupNorm(after, after)
        else:
            self.norm = nn.LayerNorm(after) if norm else None

    def counts(self, counts: Tensor) -> Tensor:
        """How many steps come out, where `counts` ``(B,)`` go in."""
        return ((counts - self.kernel) // self.stride + 1).clamp(min=0)

    def forward(self, x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """`x` ``(B, C, T)``, of whose rows the first `counts` ``(B,)`` steps are real.

        No kernel that ends inside them reads beyond them, so only a norm over time has to know about padding.
        """
        x, counts = self.conv(x), self.counts(counts)
        if isinstance(self.norm, nn.LayerNorm):
            x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        elif isinstance(self.norm, nn.GroupNorm):
            x = norm_over_time(x, counts, self.norm)
        return F.gelu(x), counts


def norm_over_time(x: Tensor, counts: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Each channel of ``(B, C, T)`` to mean 0 and variance 1 over the first `counts` ``(B,)`` steps of a row.

    Where all steps are real, this is `norm` itself, of one channel a group. What the output holds after the
    real steps has no meaning.
    """
    real = torch.arange(x.shape[2], device=x.device) < counts[:, None]  # (B, T)
    if not torch.compiler.is_compiling() and real.all():
        return norm(x)
    with torch.autocast(x.device.type, enabled=False):  # sums over thousands of steps need float32
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        count = counts.clamp(min=1)[:, None, None]
        mean = x @ real.to(x.dtype)[:, :, None] / count  # (B, C, 1)
        x = (x - mean).masked_fill_(~real[:, None], 0)
        variance = torch.linalg.vector_norm(x, dim=2, keepdim=True) ** 2 / count
        scale = norm.weight[:, None] * (variance + norm.eps).rsqrt()
        return torch.addcmul(norm.bias[:, None], x, scale)


def wave_convs(
    channels: Sequence[int], kernels: Sequence[int], strides: Sequence[int], bias: bool, norm: str
) -> nn.ModuleList:
    """The layers in a row. With norm "group" only the first one has a norm, with "layer" all have.

    Raises:
        ValueError: an unknown norm; none, or unequal numbers, of channels, kernels and strides.
    """
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; choose one of {', '.join(NORMS)}")
    if not len(channels) == len(kernels) == len(strides) or not channels:
        raise ValueError(
            f"there are {len(channels)} channels, {len(kernels)} kernels, {len(strides)} strides; give one "
            f"of each for every layer, and at least one layer"
        )
    sizes = zip((1, *channels), channels, kernels, strides, strict=False)
    return nn.ModuleList(
        WaveConv(*size, bias, norm if norm == "layer" or i == 0 else None) for i, size in enumerate(sizes)
    )


def receptive_field(convs: nn.ModuleList) -> int:
    """How many samples one output step of the layers reads."""
    field = 1
    layers: list[Any] = list(convs)  # to a type checker a module in a list has no kernel
    for conv in reversed(layers):
        field = (field - 1) * conv.stride + conv.kernel
    return field
