"""A video as pictures: an image encoder on each frame."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

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
        values, mask = video
        if values.dim() != 5 or values.shape[2] != 3:
            raise ValueError(
                f"video has shape {tuple(values.shape)}; it must be (B, T, 3, H, W), as VideoProcessor and "
                f"collate make it"
            )
        if torch.compiler.is_compiling() and not torch.is_grad_enabled():  # as in grid_tokens
            B, T = mask.shape
            pictures = Modality(video.cleaned().values.flatten(0, 1)[:, None], mask.flatten()[:, None])
            return Modality(self.encoder(pictures).pooled().unflatten(0, (B, T)), mask).cleaned()
        frames = values[mask][:, None]  # (N, 1, 3, H, W): each real frame is a picture of its own
        tokens = self.encoder(Modality(frames, mask.new_ones(len(frames), 1))).pooled()  # (N, D)
        out = tokens.new_zeros(*mask.shape, self.out_dim)
        out[mask] = tokens
        return Modality(out, mask)
