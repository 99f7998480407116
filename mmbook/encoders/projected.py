"""A small trained layer on top of an encoder."""

from __future__ import annotations

from torch import nn

from mmbook.modality import Modality
from mmbook.registry import register


@register
class Projected(nn.Module):
    """Wrap an encoder so that its tokens are normalised and projected to `width` numbers: ``(B, T', width)``.

    The cheapest way to fit a frozen encoder to a task of its own: only the projection is trained.
    """

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.out_dim = width
        self.reads = encoder.reads
        self.norm = nn.LayerNorm(encoder.out_dim)
        self.linear = nn.Linear(encoder.out_dim, width)

    def forward(self, modality: Modality) -> Modality:
        values, mask = self.encoder(modality)
        return Modality(self.linear(self.norm(values)), mask).cleaned()
