"""One token that keeps the places."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmbook.modality import Modality
from mmbook.registry import register


@register
class Flattened(nn.Module):
    """Wrap an encoder so that it gives one token a sample, all of its own end to end: ``(B, 1, tokens * D)``.

    Unlike a mean, it keeps *where* each token was, which a head that answers with a place needs. The price is
    a fixed number of tokens.
    """

    def __init__(self, encoder: nn.Module, tokens: int) -> None:
        super().__init__()
        dim: Any = encoder.out_dim  # to a type checker every attribute of a module is a tensor or a module
        self.encoder, self.tokens = encoder, tokens
        self.out_dim = dim * tokens
        self.reads = encoder.reads

    def forward(self, modality: Modality) -> Modality:
        """Features of exactly `tokens` tokens; fails with a ValueError on any other number."""
        encoded = self.encoder(modality)
        values = encoded.cleaned().values
        if values.shape[1] != self.tokens:
            raise ValueError(
                f"the encoder gave {values.shape[1]} tokens; Flattened was made for {self.tokens}"
            )
        return Modality(values.flatten(start_dim=1)[:, None], encoded.mask.any(dim=1, keepdim=True))
