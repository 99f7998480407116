"""Gated fusion: for each number of the fused vector, a gate decides which modality it is taken from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mmbook.fusion.inputs import upcast
from mmbook.fusion.vectors import Means, over_tokens
from mmbook.modality import Modality
from mmbook.registry import register


@register
class Gated(nn.Module):
    """The gated multimodal unit, for any number of modalities, any of which may be missing.

    ``h_m = tanh(W_m v_m + b_m)``, ``g = softmax over m of (U_m [v_1; ...; v_M] + c_m)``,
    ``z = sum_m g_m * h_m`` where ``v_m`` are the normalised means over real tokens and ``*`` is number by
    number: the gates ``(M, out_dim)`` sum to one over the modalities that are present. For two modalities a
    softmax is the sigmoid of a difference, so this is the paper's ``z * h_1 + (1 - z) * h_2``; for more, the
    paper's gates are sigmoids that do not sum to one.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        dropout: share of the normalised means zeroed in training.

    Source: Arevalo et al. (2017), *Gated Multimodal Units for Information Fusion*,
    https://arxiv.org/abs/1702.01992.
    """

    def __init__(self, dims: dict[str, int], out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        self.means = Means(dims, dropout)
        self.content = nn.ModuleDict({name: nn.Linear(dim, out_dim) for name, dim in dims.items()})
        self.gates = nn.Linear(sum(dims.values()), len(dims) * out_dim)

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``.

        With `return_weights`, also ``{name: (B, T)}``: each modality's gate, averaged over the numbers of the
        fused vector and spread evenly over its real tokens.
        """
        v, real = self.means(inputs)  # M of (B, D_m); (B, M)
        h = torch.stack([layer(x) for layer, x in zip(self.content.values(), v, strict=True)], dim=1).tanh()
        scores = self.gates(torch.cat(v, dim=-1)).unflatten(-1, (len(self.dims), -1))  # (B, M, out_dim)
        absent = ~real[..., None] & real.any(dim=1)[:, None, None]  # softmax over nothing would be NaN
        g = upcast(scores).masked_fill(absent, float("-inf")).softmax(dim=1)
        g = g.masked_fill(~real[..., None], 0)
        fused = (g * h).sum(dim=1)
        return (fused, over_tokens(g.mean(dim=-1), inputs, self.dims)) if return_weights else fused
