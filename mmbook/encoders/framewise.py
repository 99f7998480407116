"""A video as pictures: an image encoder on each frame."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmbook.encoders.grid import grid_tokens
from mmbook.encoders.small_cnn import SmallCNN
from mmbook.modality import Modality
from mmbook.registry import register


@register
class Framewise(nn.Module):
    """Videos ``(B, T, 3, H, W)`` to one token a frame, ``(B, T, out_dim)``: the mean of the frame's tokens.

    The simplest video encoder, and a strong one where a single picture tells what happens (Karpathy et al.
    2014, https://cs.stanford.edu/people/karpathy/deepvideo/). No token knows of another frame, nor of its own
    place in time: a mean over the tokens (`Pooled`) cannot tell a film from the same film run backwards. What
    reads the tokens in their order can.

    Only real frames enter the image encoder. A frame becomes the mean over its grid, which forgets *where*
    things are; with ``Flattened(encoder, tokens)`` inside, all cells of the grid stand in the token.

    Args:
        encoder: of pictures; None for ``SmallCNN()``.
    """

    reads: ClassVar[str] = "video"
    source: ClassVar[str] = "Karpathy et al. 2014"
    config: dict[str, Any]

    def __init__(self, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder or SmallCNN()
        if self.encoder.reads != "image":
            raise ValueError(
                f"{type(self.encoder).__name__} reads {self.encoder.reads!r}; Framewise needs an encoder "
                f"that reads 'image'"
            )
        dim: Any = self.encoder.out_dim  # to a type checker it is a tensor or a module
        self.out_dim = dim

    def forward(self, video: Modality) -> Modality:
        """Values ``(B, T, 3, H, W)``, each frame standardised as a picture.

        Raises:
            ValueError: values of another shape.
        """

        def pooled(frames: Tensor) -> Tensor:  # (N, 3, H, W) to a grid of one cell (N, D, 1, 1)
            real = frames.new_ones(frames.shape[0], 1, dtype=torch.bool)
            return self.encoder(Modality(frames[:, None], real)).pooled()[..., None, None]

        return grid_tokens(pooled, video)
