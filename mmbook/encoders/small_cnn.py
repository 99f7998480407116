"""A small convolutional network for pictures, to be trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mmbook.encoders.grid import grid_tokens
from mmbook.modality import Modality
from mmbook.registry import register


class GroupNorm(nn.GroupNorm):
    """Torch's group norm, on a CPU several times as fast; and of a single number a group, too.

    Torch's takes up to a hundred times as long where the channels lie innermost in memory, as after a fast
    convolution; and in torch 2.11 its backward then crashes if the input needs no gradient. Its Python layer
    refuses one number a group if there is one picture, and takes it if there are two.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, ...)``, normalised over each group of channels."""
        x = x.contiguous() if x.device.type == "cpu" else x
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


@register
class SmallCNN(nn.Module):
    """Pictures ``(B, T, 3, H, W)`` to grid tokens ``(B, T * h * w, channels[-1])``.

    Each stage halves H and W. It is a 3 × 3 convolution of stride 2, group norm (Wu and He 2018, https://arxiv.org/abs/1803.08494)
    and ReLU. Why group norm and not batch norm: it normalises each picture by itself. The output for a
    picture is then the same in any company, in training too, and a batch of one is as good as a batch of a
    hundred.

    Args:
        channels: of each stage; the last is `out_dim`.
        groups: of the group norm; every number of channels must be a multiple of it.
    """

    reads: ClassVar[str] = "image"
    source: ClassVar[str] = "this book"

    def __init__(self, channels: Sequence[int] = (32, 64, 128), groups: int = 8) -> None:
        super().__init__()
        if not channels or any(c % groups for c in channels):
            raise ValueError(
                f"channels are {tuple(channels)}; give at least one, each a multiple of groups {groups}"
            )
        self.out_dim = channels[-1]
        stages: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            # no bias: group norm has one
            stages.append(nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False))
            stages.append(GroupNorm(groups, after))
            stages.append(nn.ReLU(inplace=True))
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Modality) -> Modality:
        """Values ``(B, T, 3, H, W)`` to tokens ``(B, T * h * w, out_dim)``; see `grid_tokens`."""
        return grid_tokens(self.stages, images)
