"""Fusion by concatenation: put the vectors end to end and let one linear layer read them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmbook.fusion.inputs import complete, norm
from mmbook.modality import Modality
from mmbook.registry import register


@register
class Concat(nn.Module):
    """``z = W [norm(v_1); ...; norm(v_M)] + b``, with ``v_m`` the mean over the real tokens of modality m.

    Each vector is normalised first, or the modality with the largest numbers would drown the others. A
    missing modality contributes zeros. Since every modality enters through its own block of ``W`` and the
    blocks are only added, what one modality says can never change what another one means: under a linear head
    this fusion cannot express an interaction.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        dropout: share of the concatenated features zeroed in training.

    Source: the oldest method there is; studied for deep networks by Ngiam et al. (2011), *Multimodal Deep
    Learning*, ICML.
    """

    def __init__(self, dims: dict[str, int], out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        self.norms = nn.ModuleDict({name: norm(dim) for name, dim in dims.items()})
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(sum(dims.values()), out_dim)

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        parts: list[Tensor] = []
        for name, modality in complete(inputs, self.dims).items():
            vector = self.norms[name](modality.pooled())  # (B, D)
            # the norm's bias is not a feature
            parts.append(vector.masked_fill(~modality.mask.any(dim=1, keepdim=True), 0))
        fused = self.linear(self.dropout(torch.cat(parts, dim=-1)))  # (B, sum of D) -> (B, out_dim)
        return (fused, {}) if return_weights else fused
