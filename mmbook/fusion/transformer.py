"""The transformer block that the attention-based fusions share: masked, and safe where nothing is real.

`mmbook.encoders` has blocks of its own, which copy the references bit by bit. This one differs in two ways:
it may read from other tokens than those it writes to, and its keys have no bias (one would add the same
number to all scores of a query, cancel in the softmax, and never get a gradient).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Attend(nn.Module):
    """Tokens look at other tokens: ``softmax(Q K' / sqrt(d)) V`` in several heads.

    Args:
        width: of all tokens.
        heads: each gets ``width / heads`` numbers.

    Raises:
        ValueError: a width that is not a multiple of `heads`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"inner_width {width} is not a multiple of heads {heads}; give one that is, or other heads"
            )
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """What each of `x` ``(B, T, D)`` reads from `context` ``(B, S, D)`` where `mask` ``(B, S)`` is True.

        Zero in rows where nothing is.
        """
        q, k, v = (
            f(t).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T or S, D / heads)
            for f, t in ((self.query, x), (self.key, context), (self.value, context))
        )
        nothing = ~mask.any(
            dim=1
        )  # (B,) a softmax over nothing would be NaN: let it look at all, and drop it
        attend = (mask | nothing[:, None])[:, None, None]  # (B, 1, 1, S)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attend)
        return self.out(y.transpose(1, 2).flatten(2)).masked_fill(nothing[:, None, None], 0)


class Block(nn.Module):
    """Attention, then a two-layer perceptron on each token; each normalises what it reads, and adds to it.

    Args:
        width, heads: as in `Attend`.
        dropout: share of each addition zeroed in training.

    Source: Vaswani et al. (2017), https://arxiv.org/abs/1706.03762; the norm inside the branch, Xiong et al.
    (2020), https://arxiv.org/abs/2002.04745.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attend_norm, self.attend = nn.LayerNorm(width), Attend(width, heads)
        self.norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, context: Tensor | None = None) -> Tensor:
        """One step for `x` ``(B, T, D)``.

        Args:
            mask: ``(B, S)`` bool, which tokens of the context are real.
            context: ``(B, S, D)``, what is looked at; None for `x` itself.
        """
        y = self.attend_norm(x)
        read = y if context is None else self.attend_norm(context)
        x = x + self.dropout(self.attend(y, read, mask))
        return x + self.dropout(self.perceptron(self.norm(x)))
