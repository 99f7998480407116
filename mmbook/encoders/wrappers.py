"""Encoders around an encoder: frozen; its tokens averaged, concatenated or projected."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmbook.modality import Modality
from mmbook.registry import register


class Wrapper(nn.Module):
    """What all of them share: the encoder inside, what it reads, and the width of a token."""

    config: dict[str, Any]

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.reads: str = encoder.reads  # type: ignore[assignment]
        self.out_dim: int = encoder.out_dim  # type: ignore[assignment]

    def forward(self, modality: Modality) -> Modality:
        """What the encoder gives."""
        return self.encoder(modality)


@register
class Frozen(Wrapper):
    """Wrap an encoder so that training leaves it alone: ``Frozen(Bert.minilm())``.

    Two things are needed, and forgetting the second is a common fault. Its parameters get no gradient; and it
    stays in evaluation mode when the model around it is put in training mode, so that dropout is off and
    batch norm neither uses nor updates the statistics of the batch. Gradients with respect to its *input*
    still pass, which attribution needs. The config holds the encoder's, so a saved model comes back frozen.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder.requires_grad_(False).eval())

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.encoder.eval()
        return self


@register
class Pooled(Wrapper):
    """Wrap an encoder so that it gives one token a sample, the mean of its real tokens: ``(B, 1, out_dim)``.

    What is lost is which word, place or moment said it; what is gained is that a whole data set of features
    fits in memory. The mean is what MiniLM was trained with, too (Reimers and Gurevych 2019,
    https://arxiv.org/abs/1908.10084).
    """

    def forward(self, modality: Modality) -> Modality:
        encoded = self.encoder(modality)
        return Modality(encoded.pooled()[:, None], encoded.mask.any(dim=1, keepdim=True))


@register
class Flattened(Wrapper):
    """Wrap an encoder so that it gives one token a sample, all of its own end to end: ``(B, 1, tokens * D)``.

    Unlike a mean, it keeps *where* each token was, which a head that answers with a place needs. The price is
    a fixed number of tokens.
    """

    def __init__(self, encoder: nn.Module, tokens: int) -> None:
        super().__init__(encoder)
        self.tokens = tokens
        self.out_dim *= tokens

    def forward(self, modality: Modality) -> Modality:
        """Features of exactly `tokens` tokens; fails with a ValueError on any other number."""
        encoded = self.encoder(modality)
        values = encoded.cleaned().values
        if values.shape[1] != self.tokens:
            raise ValueError(
                f"the encoder gave {values.shape[1]} tokens; Flattened was made for {self.tokens}"
            )
        return Modality(values.flatten(start_dim=1)[:, None], encoded.mask.any(dim=1, keepdim=True))


@register
class Projected(Wrapper):
    """Wrap an encoder so that its tokens are normalised and projected to `width` numbers: ``(B, T', width)``.

    The cheapest way to fit a frozen encoder to a task of its own: only the projection is trained.
    """

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__(encoder)
        self.norm = nn.LayerNorm(self.out_dim)
        self.linear = nn.Linear(self.out_dim, width)
        self.out_dim = width

    def replace(self, encoder: nn.Module) -> None:
        """Put another encoder of the same ``out_dim`` under the projection, in the config, too."""
        if encoder.out_dim != self.norm.normalized_shape[0]:
            raise ValueError(
                f"the encoder has out_dim {encoder.out_dim}; the projection was made for "
                f"{self.norm.normalized_shape[0]}"
            )
        self.encoder = encoder
        self.reads = encoder.reads  # type: ignore[assignment]
        self.config["encoder"] = encoder.config

    def forward(self, modality: Modality) -> Modality:
        values, mask = self.encoder(modality)
        return Modality(self.linear(self.norm(values)), mask).cleaned()
