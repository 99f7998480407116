"""Cross-attention: each modality, step by step, reads each other one (the multimodal transformer, MulT)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import torch
from torch import nn

from mmbook.fusion.tokens import Tokens
from mmbook.fusion.transformer import Block
from mmbook.modality import Modality
from mmbook.registry import register


@register
class CrossAttention(nn.Module):
    """For every ordered pair a <- b, a transformer in which the tokens of a look at the tokens of b.

    All that modality a has read, side by side, ``(B, T_a, (M - 1) width)``, goes through a self-attention
    transformer of its own; the means over its real tokens, of all modalities side by side, through a linear
    layer. Tokens of b are read as they came in, at every layer. Lengths may differ, no alignment is needed.

    Where b is missing, the tokens of a read nothing and go on; where a is missing, its mean is zero. The
    paper takes the last step of each sequence, which in a padded batch is padding; here it is the mean. Its
    convolution over time at the entry is left out: the encoders have done that.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        layers: crossmodal blocks a pair, and self-attention blocks a modality.
        heads: attention heads in each.
        inner_width: of the tokens, a multiple of `heads`; None takes `out_dim`, rounded up to one.
        positions: ``"none"``, ``"index"`` or ``"time"``; see `mmbook.fusion.tokens.Tokens`.
        dropout: share of the projected features, and of each addition, zeroed in training.

    Raises:
        ValueError: another value of `positions`, or widths and heads that do not fit.

    Source: Tsai et al. (2019), *Multimodal Transformer for Unaligned Multimodal Language Sequences*,
    https://arxiv.org/abs/1906.00295.
    """

    def __init__(
        self,
        dims: dict[str, int],
        out_dim: int,
        layers: int = 1,
        heads: int = 4,
        inner_width: int | None = None,
        positions: str = "index",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        width = -(-out_dim // heads) * heads if inner_width is None else inner_width
        self.tokens = Tokens(dims, width, positions, dropout)

        def blocks(width: int) -> nn.ModuleList:
            return nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))

        self.cross = nn.ModuleDict({pair(a, b): blocks(width) for a, b in permutations(dims, 2)})
        wide = max(1, len(dims) - 1) * width  # a modality that is alone has only its own tokens
        self.own = nn.ModuleDict({name: blocks(wide) for name in dims})
        self.norms = nn.ModuleDict({name: nn.LayerNorm(wide) for name in dims})
        self.out = nn.Linear(len(dims) * wide, out_dim)

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        tokens = self.tokens(inputs)
        pooled = []
        for a, (x, mask) in tokens.items():
            read = []
            for b, (context, real) in tokens.items():
                if a != b:
                    y = x
                    for block in self.cross[pair(a, b)]:  # type: ignore[attr-defined]
                        y = block(y, real, context)
                    read.append(y)
            y = torch.cat(read, dim=-1) if read else x  # (B, T_a, (M - 1) width)
            for block in self.own[a]:  # type: ignore[attr-defined]
                y = block(y, mask)
            pooled.append(Modality(self.norms[a](y), mask).pooled())
        fused = self.out(torch.cat(pooled, dim=-1))
        return (fused, {}) if return_weights else fused


def pair(reader: str, source: str) -> str:
    """The name of the transformer in which `reader` looks at `source`."""
    return f"{reader}_from_{source}"
