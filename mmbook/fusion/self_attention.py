"""Early fusion: all tokens of all modalities in one row, read by one transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mmbook.fusion.tokens import Tokens, joined
from mmbook.fusion.transformer import Block
from mmbook.modality import Modality
from mmbook.registry import register

POOLING = ("mean", "class")


@register
class SelfAttention(nn.Module):
    """Every token may look at every other, of its own modality and of the others, from the first layer on.

    The price is time that grows with the square of all tokens together. The result is the mean over the real
    tokens, or a class token that looks at all of them; never the last step, which may be padding.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        layers: transformer blocks.
        heads: attention heads in each.
        inner_width: of the tokens, a multiple of `heads`; None takes `out_dim`, rounded up to one.
        positions: ``"none"``, ``"index"`` or ``"time"``; see `mmbook.fusion.tokens.Tokens`.
        pooling: ``"mean"`` or ``"class"``.
        dropout: share of the projected features, and of each addition, zeroed in training.

    Raises:
        ValueError: another value of `positions` or `pooling`, or widths and heads that do not fit.

    Source: Vaswani et al. (2017), https://arxiv.org/abs/1706.03762; over the tokens of two modalities, Li et
    al. (2019), *VisualBERT*, https://arxiv.org/abs/1908.03557.
    """

    def __init__(
        self,
        dims: dict[str, int],
        out_dim: int,
        layers: int = 2,
        heads: int = 4,
        inner_width: int | None = None,
        positions: str = "index",
        pooling: str = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pooling not in POOLING:
            raise ValueError(f"pooling is {pooling!r}; choose one of {', '.join(POOLING)}")
        self.dims, self.out_dim = dict(dims), out_dim
        width = -(-out_dim // heads) * heads if inner_width is None else inner_width
        self.tokens = Tokens(dims, width, positions, dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, out_dim)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02) if pooling == "class" else None

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        x, mask = joined(self.tokens(inputs))  # (B, sum of T, width)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        pooled = Modality(x, mask).pooled() if self.class_token is None else x[:, 0]
        fused = self.out(pooled)
        return (fused, {}) if return_weights else fused
