"""A small trained layer on top of an encoder."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmbook.modality import Modality
from mmbook.registry import register


@register
class Projected(nn.Module):
    """Wrap an encoder so that its tokens are normalised and projected to `width` numbers: ``(B, T', width)``.

    The cheapest way to fit a frozen encoder to a task of its own: only the projection is trained.
    """

    config: dict[str, Any]

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        dim: Any = encoder.out_dim  # to a type checker every attribute of a module is a tensor or a module
        self.encoder = encoder
        self.out_dim = width
        self.reads = encoder.reads
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, width)

    def replace(self, encoder: nn.Module) -> None:
        """Put another encoder of the same ``out_dim`` under the projection, in the config, too."""
        if encoder.out_dim != self.norm.normalized_shape[0]:
            raise ValueError(
                f"the encoder has out_dim {encoder.out_dim}; the projection was made for "
                f"{self.norm.normalized_shape[0]}"
            )
        self.encoder, self.reads = encoder, encoder.reads
        self.config["encoder"] = encoder.config

    def forward(self, modality: Modality) -> Modality:
        values, mask = self.encoder(modality)
        return Modality(self.linear(self.norm(values)), mask).cleaned()
