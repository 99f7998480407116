"""Bilinear fusion: for each pair of modalities, products of what one says with what the other says."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import nn

from mmbook.fusion.vectors import Means
from mmbook.modality import Modality
from mmbook.registry import register


@register
class Bilinear(nn.Module):
    """``z = sum_m (L_m v_m + b_m) + sum_{a<b} P_ab (tanh(U_ab v_a) * tanh(V_ab v_b))``.

    ``*`` is number by number, and ``v_m`` the normalised mean over the real tokens.

    A full bilinear form ``v_a' W_k v_b`` for each output k would need ``D_a D_b`` numbers each; the product
    of two projections to `rank` numbers is such a form of rank `rank` (but for the tanh, which bounds the
    products). Where one of a pair is missing its projection is zero, and so is the product. Three modalities
    are multiplied in pairs only: an interaction that shows in no pair is out of reach.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        rank: number of products a pair; None takes `out_dim`.
        dropout: share of the normalised means zeroed in training.

    Source: Kim et al. (2017), *Hadamard Product for Low-rank Bilinear Pooling*,
    https://arxiv.org/abs/1610.04325.
    """

    def __init__(
        self, dims: dict[str, int], out_dim: int, rank: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        rank = out_dim if rank is None else rank
        self.means = Means(dims, dropout)
        self.linears = nn.ModuleDict({name: nn.Linear(dim, out_dim) for name, dim in dims.items()})
        self.pairs = list(combinations(range(len(dims)), 2))
        widths = list(dims.values())
        # without biases: they would let a product survive when one of its modalities is missing
        self.left = nn.ModuleList(nn.Linear(widths[a], rank, bias=False) for a, _ in self.pairs)
        self.right = nn.ModuleList(nn.Linear(widths[b], rank, bias=False) for _, b in self.pairs)
        self.out = nn.ModuleList(nn.Linear(rank, out_dim, bias=False) for _ in self.pairs)

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        v, real = self.means(inputs)  # M of (B, D_m), zero where absent; (B, M)
        terms = [
            f(x).masked_fill(~there[:, None], 0)
            for f, x, there in zip(self.linears.values(), v, real.unbind(dim=1), strict=True)
        ]  # M of (B, out_dim)
        for (a, b), left, right, out in zip(self.pairs, self.left, self.right, self.out, strict=True):
            terms.append(out(left(v[a]).tanh() * right(v[b]).tanh()))
        fused = functools.reduce(torch.add, terms)
        return (fused, {}) if return_weights else fused
