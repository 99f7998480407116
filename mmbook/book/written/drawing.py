"""Networks that look at small grey pictures and draw them, called as `mmbook.generate.VectorNet` is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbook.generate.networks import SLOPE
from mmbook.registry import register

SIDE = 32  # pixels of a picture


@register
class PictureNet(nn.Module):
    """Look: pictures ``(B, 1, 32, 32)`` and condition ``(B, given_dim)`` to vectors ``(B, out_dim)``.

    Three convolutions halve the sides: 32, 16, 8, 4. No norm of any kind: a batch norm would make a sample's
    score depend on the others in its batch, which the gradient penalty of a critic takes to be independent.

    Args:
        out_dim: width of the answer.
        given_dim: width of the condition, which enters after the convolutions; 0 for none.
        channels: of the three convolutions.
    """

    def __init__(self, out_dim: int, given_dim: int = 0, channels: Sequence[int] = (8, 16, 32)) -> None:
        super().__init__()
        self.out_dim = out_dim
        pairs = zip((1, *channels), channels, strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(*pair, kernel_size=4, stride=2, padding=1) for pair in pairs)
        side = SIDE >> len(channels)
        self.linear = nn.Linear(channels[-1] * side * side + given_dim, out_dim)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # a quarter faster on a CPU
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
        return self.linear(torch.cat([x.flatten(1), c], dim=-1))


@register
class DrawingNet(nn.Module):
    """Draw: vectors ``(B, in_dim)`` and condition ``(B, given_dim)`` to pictures ``(B, 1, 32, 32)``.

    A linear layer makes a grid of 8 x 8; each convolution then makes four times the channels, which
    `torch.nn.functional.pixel_shuffle` lays out as two by two pixels (Shi et al. 2016,
    https://arxiv.org/abs/1609.05158). The result has no bounds: near 0 is paper, near 1 is ink.

    Args:
        in_dim: width of the latent vector.
        given_dim: width of the condition; 0 for none.
        channels: at 8 x 8, 16 x 16 and 32 x 32 pixels.
    """

    def __init__(self, in_dim: int, given_dim: int = 0, channels: Sequence[int] = (24, 16, 8)) -> None:
        super().__init__()
        self.small, self.middle, self.large = channels
        self.linear = nn.Linear(in_dim + given_dim, self.small * 8 * 8)
        self.to_16 = nn.Conv2d(self.small, 4 * self.middle, kernel_size=3, padding=1)
        self.to_32 = nn.Conv2d(self.middle, 4 * self.large, kernel_size=3, padding=1)
        self.to_ink = nn.Conv2d(self.large, 1, kernel_size=3, padding=1)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        x = F.leaky_relu(self.linear(torch.cat([z, c], dim=-1)), SLOPE)
        x = x.view(-1, self.small, 8, 8).contiguous(memory_format=torch.channels_last)
        x = F.leaky_relu(F.pixel_shuffle(self.to_16(x), 2), SLOPE)
        x = F.leaky_relu(F.pixel_shuffle(self.to_32(x), 2), SLOPE)
        return self.to_ink(x)
