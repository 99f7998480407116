"""ResNet: blocks that learn what to add to their input, so that a hundred of them can be trained.

He et al. 2016, "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mmbook.encoders.batch_norm import BatchNorm2d
from mmbook.encoders.grid import grid_tokens
from mmbook.encoders.reference import Names, T, check_same, renamed
from mmbook.modality import Modality
from mmbook.registry import register

EXPANSION = {"basic": 1, "bottleneck": 4}  # channels out of a block over its width


def conv_norm(before: int, after: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution and batch norm. No bias: the batch norm would take it away again."""
    conv = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
    return [conv, BatchNorm2d(after)]


class Residual(nn.Module):
    """``relu(x + body(x))``: what the block learns is the difference to its input.

    Where the shapes differ, a 1 x 1 convolution brings the input into that of the output. A basic body is two
    3 x 3 convolutions. A bottleneck narrows (1 x 1), filters (3 x 3) and widens (1 x 1); its stride is in the
    filter, as in torchvision and unlike in the paper, which loses less of the picture.
    """

    def __init__(self, kind: str, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = width * EXPANSION[kind]
        if kind == "basic":
            steps = [*conv_norm(before, width, 3, stride), nn.ReLU(inplace=True)]
        else:
            steps = [*conv_norm(before, width, 1), nn.ReLU(inplace=True)]
            steps += [*conv_norm(width, width, 3, stride), nn.ReLU(inplace=True)]
        last = conv_norm(width, after, 3 if kind == "basic" else 1)
        self.body = nn.Sequential(*steps, *last)
        same = stride == 1 and before == after
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv_norm(before, after, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y += self.shortcut(x)  # in place: one picture of features less in memory
        return F.relu(y, inplace=True)


@register
class ResNet(nn.Module):
    """Pictures ``(B, T, 3, H, W)`` to grid tokens ``(B, T * h * w, out_dim)``.

    A stem (7 x 7 convolution and max pooling) leaves a quarter of height and width; then come stages of
    residual blocks, each after the first halving the picture. With four stages the grid is H / 32 by W / 32,
    rounded up. Equal to torchvision's resnet18, 34, 50, 101, 152 without average pooling and classifier, and
    to the ``last_hidden_state`` of ``transformers.ResNetModel``.

    Args:
        depths: blocks in each stage.
        kind: of block, "basic" (resnet18, 34) or "bottleneck" (resnet50 and deeper).
        widths: of each stage, as many as `depths`; a bottleneck gives out four times its width.
        stem: channels of the first convolution.

    The defaults are ResNet-18, 11.2 M parameters; ``ResNet((3, 4, 6, 3), "bottleneck")`` is ResNet-50, with
    23.5 M.
    """

    reads: ClassVar[str] = "image"
    source: ClassVar[str] = "He et al. 2016"
    weights: str = "random"

    def __init__(
        self,
        depths: Sequence[int] = (2, 2, 2, 2),
        kind: str = "basic",
        widths: Sequence[int] = (64, 128, 256, 512),
        stem: int = 64,
    ) -> None:
        super().__init__()
        if kind not in EXPANSION:
            raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(EXPANSION)}")
        if not depths or len(depths) != len(widths) or min(*depths, *widths) < 1:
            raise ValueError(
                f"depths are {tuple(depths)} and widths {tuple(widths)}; give one of each a stage, at least 1"
            )
        self.out_dim = widths[-1] * EXPANSION[kind]
        self.stem = nn.Sequential(
            *conv_norm(3, stem, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1)
        )
        self.stages, before = nn.Sequential(), stem
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = nn.Sequential()
            for j in range(depth):
                blocks.append(Residual(kind, before, width, stride=2 if i and not j else 1))
                before = width * EXPANSION[kind]
            self.stages.append(blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, frames: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N, out_dim, h, w)``."""
        return self.stages(self.stem(frames))

    def forward(self, images: Modality) -> Modality:
        """Values ``(B, T, 3, H, W)`` to tokens ``(B, T * h * w, out_dim)``; see `grid_tokens`."""
        return grid_tokens(self.features, images)

    @classmethod
    def from_reference(cls, module: Any) -> ResNet:
        """A copy of a ``torchvision.models.ResNet`` or ``transformers.ResNetModel``, in its mode.

        Raises:
            ValueError: a ResNet of another kind (groups, dilation, another norm, activation or stride).
        """
        c = getattr(module, "config", None)
        if c is not None:  # transformers
            widths = [size // EXPANSION[c.layer_type] for size in c.hidden_sizes]
            model = cls(c.depths, c.layer_type, widths, c.embedding_size)
        else:
            stages = [module.layer1, module.layer2, module.layer3, module.layer4]
            kind = "bottleneck" if hasattr(stages[0][0], "conv3") else "basic"
            widths = [stage[0].conv1.out_channels for stage in stages]
            model = cls([len(stage) for stage in stages], kind, widths, module.conv1.out_channels)
        check_same(_layers(model), our_weights(_layers(module)))
        model.load_state_dict(our_weights(module.state_dict()))
        return model.train(module.training)

    @classmethod
    def from_pretrained(cls, name: str = "microsoft/resnet-50") -> ResNet:
        """With weights from the hub, or from a folder that transformers wrote: 94 MB for ResNet-50.

        They expect pictures as `mmbook.preprocess.ImageProcessor` makes them.
        """
        from transformers import ResNetModel

        model = cls.from_reference(ResNetModel.from_pretrained(name))
        model.weights = "pretrained"
        return model.eval()


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    """All layers but ReLU, which is the same everywhere, and the average and classifier that are left out."""
    others = (nn.ReLU, nn.Identity, nn.AdaptiveAvgPool2d, nn.Linear)
    leaves = {name: layer for name, layer in module.named_modules() if not any(layer.children())}
    return {name: layer for name, layer in leaves.items() if not isinstance(layer, others)}


_PART = {"conv": 0, "bn": 1, "convolution": 0, "normalization": 1, "activation": 2}  # of three steps
# What torchvision or transformers calls a thing, and what it is called here.
_NAMES: Names = {
    r"^(conv|bn)1\b": lambda m: f"stem.{_PART[m[1]]}",
    r"^embedder\.embedder\.(\w+)": lambda m: f"stem.{_PART[m[1]]}",
    r"^maxpool|^embedder\.pooler": "stem.3",
    r"^layer(\d)": lambda m: f"stages.{int(m[1]) - 1}",
    r"^encoder\.stages\.(\d+)\.layers": r"stages.\1",
    r"\.(conv|bn)(\d)": lambda m: f".body.{3 * int(m[2]) - 3 + _PART[m[1]]}",
    r"\.layer\.(\d)\.(\w+)": lambda m: f".body.{3 * int(m[1]) + _PART[m[2]]}",
    r"\.shortcut\.([a-z]\w+)": lambda m: f".shortcut.{_PART[m[1]]}",
    r"\.downsample\.": ".shortcut.",
}


def our_weights(weights: Mapping[str, T]) -> dict[str, T]:
    """The tensors (weights, gradients or statistics), or layers, of either reference under our names."""
    return renamed(weights, _NAMES, left_out=r"^fc\.")
