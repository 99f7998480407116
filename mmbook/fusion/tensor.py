"""Tensor fusion: every product of numbers, one from each modality, and of those of every subset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmbook.fusion.vectors import Vectors
from mmbook.modality import Modality
from mmbook.registry import register


@register
class TensorFusion(nn.Module):
    """``z = W vec([u_1; 1] x [u_2; 1] x ... x [u_M; 1])``, with ``x`` the outer product.

    The constant 1 keeps the products of every subset in the tensor, down to the single numbers and to 1
    itself (which is why the layer needs no bias). A missing modality has ``u_m = 0``, so that only the
    products without it remain. The layer has ``(inner_width + 1) ** M * out_dim`` numbers: 17 ** 3 * 64 =
    314,432 for three modalities, and 83 billion for six of width 32. It is refused before any memory is taken
    for it.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        inner_width: of every ``u_m``, the linear projection of a normalised mean over real tokens.
        dropout: share of the normalised means zeroed in training.
        max_parameters: more than this many in the layer are refused.

    Raises:
        ValueError: the layer would have more than `max_parameters`.

    Source: Zadeh et al. (2017), *Tensor Fusion Network for Multimodal Sentiment Analysis*,
    https://arxiv.org/abs/1707.07250.
    """

    def __init__(
        self,
        dims: dict[str, int],
        out_dim: int,
        inner_width: int = 16,
        dropout: float = 0.0,
        max_parameters: int = 200_000_000,
    ) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        size = self.parameters_of_layer(len(dims), inner_width, out_dim)
        if size > max_parameters:
            raise ValueError(
                f"tensor fusion of {len(dims)} modalities with inner_width {inner_width} into {out_dim} has "
                f"{size:,} parameters ({size * 4 / 1e9:,.1f} GB in float32), more than max_parameters = "
                f"{max_parameters:,}; give a smaller inner_width, or take the fusion 'low_rank'"
            )
        self.vectors = Vectors(dims, inner_width, dropout)
        self.linear = nn.Linear((inner_width + 1) ** len(dims), out_dim, bias=False)

    @staticmethod
    def parameters_of_layer(modalities: int, inner_width: int, out_dim: int) -> int:
        """How many numbers the layer that reads the tensor has; nothing is allocated."""
        return (inner_width + 1) ** modalities * out_dim

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        first, *others = augmented(self.vectors(inputs)[0]).unbind(dim=1)  # M of (B, inner_width + 1)
        for u in others:
            first = torch.einsum("bi,bj->bij", first, u).flatten(1)  # the last modality runs fastest
        fused = self.linear(first)
        return (fused, {}) if return_weights else fused


def augmented(u: Tensor) -> Tensor:
    """``(..., W)`` to ``(..., W + 1)``: a constant 1 at the end."""
    return torch.cat([u, u.new_ones(*u.shape[:-1], 1)], dim=-1)
