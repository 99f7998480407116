"""MobileNetV2: a picture network of inverted residuals, small enough for a laptop.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
https://arxiv.org/abs/1801.04381. Names and order of the modules follow torchvision, so that its weights file
loads as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmbook.encoders.batch_norm import BatchNorm2d
from mmbook.encoders.grid import grid_tokens
from mmbook.modality import Modality
from mmbook.registry import register

# Table 2 of the paper: expansion, channels, blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def conv_norm_relu(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU cut at 6. No bias: the batch norm would take it away again."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        BatchNorm2d(after),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Widen (1 × 1 convolution), filter each channel by itself (3 × 3), narrow (1 × 1), add to the input.

    An ordinary residual block is wide outside and narrow inside; here the narrow ends are what is added. The
    narrowing has no ReLU, which would lose information where there are few channels.
    """

    def __init__(self, before: int, after: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = before * expansion
        steps: list[nn.Module] = [conv_norm_relu(before, wide, kernel=1)] if expansion != 1 else []
        steps += [
            conv_norm_relu(wide, wide, kernel=3, stride=stride, groups=wide),
            nn.Conv2d(wide, after, kernel_size=1, bias=False),
            BatchNorm2d(after),
        ]
        self.conv = nn.Sequential(*steps)
        self.adds = stride == 1 and before == after  # else the shapes differ and there is nothing to add to

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


@register
class MobileNetV2(nn.Module):
    """Pictures ``(B, T, 3, H, W)`` to grid tokens ``(B, T * h * w, out_dim)``.

    The grid is h = H / 32 by w = W / 32 cells, rounded up. Equal to
    ``torchvision.models.mobilenet_v2(...).features`` on the real pictures.

    In training a batch norm takes its statistics over the whole batch, so a blank frame put in for a missing
    picture would change the output of all others; only real frames enter the network (see `grid_tokens`).

    Args:
        stages: rows of (expansion, channels, blocks, stride of the first block).
        stem: channels of the first convolution.
        out_dim: channels of the last one.
        until: keep only ``features[:until]``, the first of these layers: the stem, the blocks, the last
            convolution; None for all. The middle of a pretrained network knows edges, textures and parts; its
            end knows the classes of ImageNet, of which drawings have few. ``until=14`` gives 96 channels on a
            grid of H / 16 by W / 16, and `out_dim` is then 96.

    The defaults are the network of the paper, 2.2 M parameters without its classifier.
    """

    reads: ClassVar[str] = "image"
    source: ClassVar[str] = "Sandler et al. 2018"
    weights: str = "random"

    def __init__(
        self,
        stages: Sequence[Sequence[int]] = STAGES,
        stem: int = 32,
        out_dim: int = 1280,
        until: int | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm_relu(3, stem, kernel=3, stride=2)]
        before = stem
        for expansion, channels, blocks, first_stride in stages:
            for i in range(blocks):
                layers.append(InvertedResidual(before, channels, expansion, first_stride if i == 0 else 1))
                before = channels
        layers.append(conv_norm_relu(before, out_dim, kernel=1))
        if until is not None and not 1 <= until <= len(layers):
            raise ValueError(f"until is {until}; this network has layers 1 to {len(layers)}, or None for all")
        self.features = nn.Sequential(*layers[:until])
        convolutions = [module for module in self.features.modules() if isinstance(module, nn.Conv2d)]
        self.out_dim = convolutions[-1].out_channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, images: Modality) -> Modality:
        """Values ``(B, T, 3, H, W)``, normalised as ImageNet's, to tokens ``(B, T * h * w, out_dim)``."""
        return grid_tokens(self.features, images)

    @classmethod
    def from_reference(cls, module: Any) -> MobileNetV2:
        """A copy of a ``torchvision.models.MobileNetV2`` of any width, without its classifier."""
        stem, *blocks, last = module.features
        stages = []
        for block in blocks:
            # the widening convolution; or, where nothing is widened, the filter, whose ratio is 1
            first = block.conv[0][0]
            expansion = first.out_channels // first.in_channels
            stages.append((expansion, block.out_channels, 1, block.stride))
        model = cls(stages, stem[0].out_channels, last[0].out_channels)
        model.features.load_state_dict(module.features.state_dict())
        return model.train(module.training)

    @classmethod
    def pretrained(cls, until: int | None = None) -> MobileNetV2:
        """With torchvision's ImageNet weights, from ``mmbook.assets.path("mobilenet_v2")`` (14 MB).

        Args:
            until: of its 19 layers, the last that is kept; None for all.
        """
        from mmbook import assets

        weights = torch.load(assets.path("mobilenet_v2"), weights_only=True, map_location="cpu")
        model = cls(until=until)
        kept = len(model.features)
        for name in list(weights):  # the 1000 classes are a head's business
            if name.startswith("classifier.") or int(name.split(".")[1]) >= kept:
                del weights[name]
        model.load_state_dict(weights)
        model.weights = "pretrained"
        return model.eval()
