"""Late fusion: every modality answers alone, and the answers are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mmbook.fusion.vectors import Vectors
from mmbook.modality import Modality
from mmbook.registry import register


@register
class Late(nn.Module):
    """``logits = mean of (W_m norm(v_m) + b_m) over the modalities present``: the average of linear models.

    The layers are those of `Mean`; the difference is where they end. Here `out_dim` is the number of classes
    or targets and nothing follows: the head is the identity (``Classification(..., linear=False)``; see
    `mmbook.models.fusion_on_features`, which arranges it). Averaged logits are the geometric mean of the
    modalities' probabilities, normalised.

    Args:
        dims: name -> width of that modality's features.
        out_dim: number of classes or targets.
        dropout: share of the normalised means zeroed in training.

    Source: combination of decisions by the sum and product rules, Kittler et al. (1998), *On Combining
    Classifiers*, https://doi.org/10.1109/34.667881.
    """

    def __init__(self, dims: dict[str, int], out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        self.answers = Vectors(dims, out_dim, dropout)

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        answers, real = self.answers(inputs)  # (B, M, out_dim), zero where absent; (B, M)
        fused = answers.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)
        return (fused, {}) if return_weights else fused
