"""A network that generators, critics and VAEs of vectors are made of.

Any is called as ``net(x, c)``: x is what it reads, c ``(B, C)`` the condition; C = 0 where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mmbook.registry import register

SLOPE = 0.2  # of a leaky ReLU below zero: a unit that is dead in a critic would pass no gradient on


@register
class VectorNet(nn.Module):
    """Vectors ``(B, in_dim)`` and condition ``(B, given_dim)`` to vectors ``(B, out_dim)``: a perceptron.

    Args:
        in_dim, given_dim, out_dim: widths.
        hidden: widths of the hidden layers.
    """

    def __init__(
        self, in_dim: int, out_dim: int, given_dim: int = 0, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        widths = [in_dim + given_dim, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], out_dim))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.layers(torch.cat([x, c], dim=-1))
