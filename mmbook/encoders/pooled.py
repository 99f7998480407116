"""One token instead of many."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmbook.modality import Modality
from mmbook.registry import register


@register
class Pooled(nn.Module):
    """Wrap an encoder so that it gives one token a sample, the mean of its real tokens: ``(B, 1, out_dim)``.

    What is lost is which word, place or moment said it; what is gained is that a whole data set of features
    fits in memory. The mean is what MiniLM was trained with, too (Reimers and Gurevych 2019,
    https://arxiv.org/abs/1908.10084).
    """

    config: dict[str, Any]

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        dim: Any = encoder.out_dim  # to a type checker every attribute of a module is a tensor or a module
        self.encoder = encoder
        self.out_dim = dim
        self.reads = encoder.reads

    def forward(self, modality: Modality) -> Modality:
        encoded = self.encoder(modality)
        return Modality(encoded.pooled()[:, None], encoded.mask.any(dim=1, keepdim=True))
