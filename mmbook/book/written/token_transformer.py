"""A small Transformer over tokens that are numbers already: features, frames, patches of pixels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from mmbook.encoders.bert import PostNormBlock
from mmbook.modality import Modality
from mmbook.registry import register


@register
class TokenTransformer(nn.Module):
    """Tokens ``(B, T, dim)`` to as many tokens ``(B, T, width)``, each of which has looked at all others.

    A linear layer, learned positions, and the blocks of `mmbook.encoders.Bert`; zero where the mask is False.

    Args:
        dim: numbers a token, of the input.
        width: of the output, a multiple of `heads`.
        layers, heads: blocks, and attention heads in each.
        max_positions: most tokens.
        dropout: on the additions.

    Source: Vaswani et al. (2017), https://arxiv.org/abs/1706.03762.
    """

    reads: ClassVar[str] = "features"

    def __init__(
        self,
        dim: int,
        width: int = 64,
        layers: int = 1,
        heads: int = 4,
        max_positions: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.out_dim = width
        self.linear = nn.Linear(dim, width)
        self.positions = nn.Parameter(0.02 * torch.randn(max_positions, width))
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            PostNormBlock(width, heads, 2 * width, dropout, attention_dropout=0.0, eps=1e-5)
            for _ in range(layers)
        )

    def forward(self, modality: Modality) -> Modality:
        """Features of at most `max_positions` tokens.

        Raises:
            ValueError: more tokens.
        """
        values, mask = modality.cleaned()
        if values.shape[1] > len(self.positions):
            raise ValueError(
                f"there are {values.shape[1]} tokens; max_positions is {len(self.positions)}: raise it"
            )
        # softmax over nothing is NaN: a row with nothing real looks at its padding, and is blanked at the end
        attend = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]  # (B, 1, 1, T)
        x = self.norm(self.linear(values) + self.positions[: values.shape[1]])
        for block in self.blocks:
            x = block(x, attend)
        return Modality(x, mask).cleaned()
