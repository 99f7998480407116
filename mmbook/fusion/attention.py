"""Fusion by attention: decide how much each modality counts for this sample, and take the weighted sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmbook.fusion.inputs import complete, upcast
from mmbook.fusion.tokens import projections
from mmbook.modality import Modality
from mmbook.registry import register


@register
class Attention(nn.Module):
    """``z = sum_m alpha_m u_m`` with ``alpha = softmax(s)`` over the modalities that are present.

    Two steps, both softmax-weighted sums. Within a modality, each token t gets a weight ``beta_mt`` from its
    own content, and ``u_m`` is the weighted sum of the projected tokens. Between modalities, the score

        ``s_m = q . tanh(A u_m + C c)``, where ``c`` is the mean of the ``u_m`` that are present,

    depends on ``u_m`` *and* on the others through ``c``: whether to believe the words may depend on the
    voice.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector, and of every ``u_m``.
        dropout: share of the projected features zeroed in training.

    Source: additive attention, Bahdanau et al. (2015), https://arxiv.org/abs/1409.0473; over modalities, Hori
    et al. (2017), *Attention-Based Multimodal Fusion for Video Description*,
    https://arxiv.org/abs/1701.03126.
    """

    def __init__(self, dims: dict[str, int], out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        self.project = projections(dims, out_dim)
        self.dropout = nn.Dropout(dropout)
        self.token_score = nn.Linear(out_dim, 1, bias=False)  # a bias would cancel in the softmax
        self.own, self.context = nn.Linear(out_dim, out_dim), nn.Linear(out_dim, out_dim, bias=False)
        self.score = nn.Linear(out_dim, 1, bias=False)

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``.

        With `return_weights`, also ``{name: (B, T)}``, the weights ``alpha_m * beta_mt``: each sample's sum
        to one over all its real tokens (to zero where the sample has no modality at all).
        """
        vectors, betas, present = [], [], []
        for name, modality in complete(inputs, self.dims).items():
            tokens = self.dropout(self.project[name](modality.values))  # (B, T, out_dim)
            beta = masked_softmax(self.token_score(torch.tanh(tokens)).squeeze(-1), modality.mask)  # (B, T)
            vectors.append(torch.einsum("bt,btd->bd", beta, tokens.to(beta.dtype)))
            betas.append(beta)
            present.append(modality.mask.any(dim=1))
        u, real = torch.stack(vectors, dim=1), torch.stack(present, dim=1)  # (B, M, out_dim), (B, M)
        c = u.sum(dim=1, keepdim=True) / real.sum(dim=1).clamp(min=1)[:, None, None]  # u is zero where absent
        scores = self.score(torch.tanh(self.own(u) + self.context(c))).squeeze(-1)  # (B, M)
        alpha = masked_softmax(scores, real)
        fused = torch.einsum("bm,bmd->bd", alpha, u)
        if not return_weights:
            return fused
        shares = zip(self.dims, alpha.unbind(dim=1), betas, strict=True)
        return fused, {name: share[:, None] * beta for name, share, beta in shares}


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where `mask` is True; zero elsewhere, all zero where nothing is True.

    At least in float32, as a softmax should be. Filling with minus infinity alone would give NaN for an empty
    row.
    """
    scores = upcast(scores).masked_fill(~mask, float("-inf"))
    empty = ~mask.any(dim=-1, keepdim=True)
    return scores.masked_fill(empty, 0).softmax(dim=-1).masked_fill(~mask, 0)
