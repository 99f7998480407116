"""One vector a modality: what the fusions start from that do not look at single tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmbook.fusion.inputs import complete, norm
from mmbook.modality import Modality


class Means(nn.Module):
    """The mean over the real tokens of each modality, normalised; zeros where the modality is missing.

    Args:
        dims: name -> width of that modality's features.
        dropout: share of the numbers zeroed in training.
    """

    def __init__(self, dims: Mapping[str, int], dropout: float = 0.0) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.norms = nn.ModuleDict({name: norm(dim) for name, dim in dims.items()})
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Mapping[str, Modality]) -> tuple[list[Tensor], Tensor]:
        """The vectors, each ``(B, D_m)`` in the order of `dims`, and which are real: ``(B, M)`` bool."""
        vectors, real = [], []
        for name, modality in complete(inputs, self.dims).items():
            present = modality.mask.any(dim=1)
            vector = self.dropout(self.norms[name](modality.pooled()))  # (B, D)
            vectors.append(vector.masked_fill(~present[:, None], 0))  # the norm's bias is not a feature
            real.append(present)
        return vectors, torch.stack(real, dim=1)


class Vectors(nn.Module):
    """`Means`, each sent through a linear layer of its own to one width; zeros where missing.

    Args:
        dims: name -> width of that modality's features.
        width: of every vector.
        dropout: share of the means zeroed in training.
    """

    def __init__(self, dims: Mapping[str, int], width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.means = Means(dims, dropout)
        self.linears = nn.ModuleDict({name: nn.Linear(dim, width) for name, dim in dims.items()})

    def forward(self, inputs: Mapping[str, Modality]) -> tuple[Tensor, Tensor]:
        """Vectors ``(B, M, width)`` in the order of `dims`, and which are real: ``(B, M)`` bool."""
        means, real = self.means(inputs)
        u = torch.stack(
            [linear(v) for linear, v in zip(self.linears.values(), means, strict=True)], dim=1
        )  # (B, M, width)
        return u.masked_fill(~real[..., None], 0), real


def over_tokens(
    shares: Tensor, inputs: Mapping[str, Modality], names: Mapping[str, int]
) -> dict[str, Tensor]:
    """Each modality's share of a sample ``(B, M)``, spread evenly over its real tokens: name -> ``(B, T)``.

    What a fusion of means gives as its weights: in a mean every token counts the same.
    """
    spread = {}
    for share, (name, modality) in zip(shares.unbind(dim=1), complete(inputs, names).items(), strict=True):
        count = modality.mask.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
        spread[name] = share[:, None] * modality.mask / count
    return spread
