"""VGG: nothing but 3 x 3 convolutions and pooling, stacked deep.

Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
https://arxiv.org/abs/1409.1556.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from mmbook.encoders.batch_norm import BatchNorm2d
from mmbook.encoders.grid import grid_tokens
from mmbook.encoders.reference import check_same
from mmbook.modality import Modality
from mmbook.registry import register

# Table 1 of the paper, columns A and D: channels of each convolution, "M" where the picture is halved.
VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


@register
class VGG(nn.Module):
    """Pictures ``(B, T, 3, H, W)`` to grid tokens ``(B, T * h * w, out_dim)``.

    Two 3 x 3 convolutions see as much as one of 5 x 5, and three as much as one of 7 x 7, with fewer weights
    and a ReLU between them. For the grid, H and W are halved once for each "M", rounded down: divided by 32
    in the networks of the paper.

    Equal to ``torchvision.models.vgg11(...).features``, and of vgg13, vgg16 and vgg19, with and without batch
    norm. The pooling to 7 x 7 cells and the classifier behind it, nine tenths of the 133 M parameters of
    VGG-11, belong to ImageNet's 1,000 classes and are left out.

    Args:
        layers: a number of channels for a convolution, "M" for halving by the largest of 2 x 2: `VGG11`,
            `VGG16` or any other list.
        batch_norm: after each convolution.

    The defaults are VGG-11, 9.2 M parameters.
    """

    reads: ClassVar[str] = "image"
    source: ClassVar[str] = "Simonyan and Zisserman 2015"

    def __init__(self, layers: Sequence[int | str] = VGG11, batch_norm: bool = False) -> None:
        super().__init__()
        channels = [layer for layer in layers if isinstance(layer, int)]
        if not channels or min(channels) < 1 or {layer for layer in layers if layer != "M"} - set(channels):
            raise ValueError(
                f"layers are {list(layers)}; give numbers of channels, at least one, and 'M' for a pooling"
            )
        self.out_dim = channels[-1]
        self.halvings = list(layers).count("M")
        steps: list[nn.Module] = []
        before = 3
        for layer in layers:
            if isinstance(layer, str):
                steps.append(nn.MaxPool2d(kernel_size=2, stride=2))
                continue
            # a batch norm would take the bias away again
            steps.append(nn.Conv2d(before, layer, kernel_size=3, padding=1, bias=not batch_norm))
            steps += [BatchNorm2d(layer)] if batch_norm else []
            steps.append(nn.ReLU(inplace=True))
            before = layer
        self.features = nn.Sequential(*steps)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Modality) -> Modality:
        """Values ``(B, T, 3, H, W)`` to tokens ``(B, T * h * w, out_dim)``; see `grid_tokens`.

        Raises:
            ValueError: a picture that is halved away to nothing.
        """
        smallest = 2**self.halvings
        if images.values.dim() == 5 and min(images.values.shape[3:]) < smallest:
            raise ValueError(
                f"pictures have {tuple(images.values.shape[3:])} pixels; {self.halvings} halvings need "
                f"at least {smallest} by {smallest}: enlarge them, or give fewer 'M' in layers"
            )
        return grid_tokens(self.features, images)

    @classmethod
    def from_reference(cls, module: Any) -> VGG:
        """A copy of a ``torchvision.models.VGG``, without its classifier, in its mode.

        Raises:
            ValueError: features that are not 3 x 3 convolutions, batch norm, ReLU and 2 x 2 poolings.
        """
        norms = any(isinstance(step, nn.BatchNorm2d) for step in module.features)
        layers: list[int | str] = []
        for step in module.features:
            if isinstance(step, nn.Conv2d):
                layers.append(step.out_channels)
            elif isinstance(step, nn.MaxPool2d):
                layers.append("M")
        model = cls(layers, batch_norm=norms)
        check_same(dict(model.features.named_children()), dict(module.features.named_children()))
        weights = module.features.state_dict()
        for i, step in enumerate(module.features):
            if norms and isinstance(step, nn.Conv2d) and step.bias is not None:
                # the norm subtracts its mean: what the convolution adds before it may as well go in there
                weights[f"{i + 1}.running_mean"] = weights[f"{i + 1}.running_mean"] - weights.pop(f"{i}.bias")
        model.features.load_state_dict(weights)
        return model.train(module.training)
