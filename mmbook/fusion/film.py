"""FiLM: what the other modalities say scales and shifts the features of each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from mmbook.fusion.inputs import complete
from mmbook.fusion.tokens import projections
from mmbook.modality import Modality
from mmbook.registry import register


@register
class FiLM(nn.Module):
    """Feature-wise linear modulation, each modality by all others.

    ``x_mt`` are the projected tokens of modality m, ``u_m`` their mean, ``c_m`` the mean of the ``u_n`` of
    the *other* modalities present. Then

        ``(gamma_m, beta_m) = G_m c_m + g_m``, ``h_m = mean over t of GELU((1 + gamma_m) * x_mt + beta_m)``,

    and ``z`` is the mean of ``h_m`` over the modalities present. The paper has one direction, from a question
    to a picture; here every modality is conditioned and conditions, so that none needs to be named the main
    one. A modality that is alone is not modulated.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector and of the tokens.
        dropout: share of the projected features zeroed in training.

    Source: Perez et al. (2018), *FiLM: Visual Reasoning with a General Conditioning Layer*,
    https://arxiv.org/abs/1709.07871.
    """

    def __init__(self, dims: dict[str, int], out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        self.project = projections(dims, out_dim)
        self.dropout = nn.Dropout(dropout)
        # a single modality is never modulated
        self.generate = nn.ModuleDict(
            {name: nn.Linear(out_dim, 2 * out_dim) for name in dims} if len(dims) > 1 else {}
        )

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        tokens = {
            name: Modality(self.dropout(self.project[name](modality.values)), modality.mask)
            for name, modality in complete(inputs, self.dims).items()
        }  # (B, T, out_dim)
        real = torch.stack([m.mask.any(dim=1) for m in tokens.values()], dim=1)  # (B, M)
        u = torch.stack([m.pooled() for m in tokens.values()], dim=1)  # (B, M, out_dim), zero where absent
        others = real.sum(dim=1, keepdim=True) - real.int()  # (B, M) how many others are there
        c = (u.sum(dim=1, keepdim=True) - u) / others.clamp(min=1)[..., None]
        total = torch.zeros_like(u[:, 0])
        for i, (name, (x, mask)) in enumerate(tokens.items()):
            if self.generate:
                change = self.generate[name](c[:, i]).masked_fill(others[:, i, None] == 0, 0)
                gamma, beta = change[:, None].chunk(2, dim=-1)  # (B, 1, out_dim) each
                x = (1 + gamma) * x + beta
            total = total + Modality(F.gelu(x), mask).pooled()
        fused = total / real.sum(dim=1, keepdim=True).clamp(min=1)
        return (fused, {}) if return_weights else fused
