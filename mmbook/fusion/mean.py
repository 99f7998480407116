"""Fusion by the mean: bring every modality to one width, and average those that are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mmbook.fusion.vectors import Vectors
from mmbook.modality import Modality
from mmbook.registry import register


@register
class Mean(nn.Module):
    """``z = mean of u_m over the modalities present``, with ``u_m = W_m norm(v_m) + b_m``.

    ``v_m`` is the mean over the real tokens.

    What is missing is left out of the mean instead of standing in it as zeros, so that the scale of ``z`` is
    the same for every subset. As concatenation, it is additive and cannot express an interaction by itself.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector, and of every ``u_m``.
        dropout: share of the normalised means zeroed in training.

    Source: the joint representation in its simplest form, Baltrušaitis et al. (2019), *Multimodal Machine
    Learning: A Survey and Taxonomy*, https://arxiv.org/abs/1705.09406.
    """

    def __init__(self, dims: dict[str, int], out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        self.vectors = Vectors(dims, out_dim, dropout)

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        u, real = self.vectors(inputs)  # (B, M, out_dim), zero where absent; (B, M)
        fused = u.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)
        return (fused, {}) if return_weights else fused
