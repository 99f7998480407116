"""R3D: a residual network whose convolutions reach over time as well.

Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action Recognition",
https://arxiv.org/abs/1711.11248. Letters in comments: B batch, T frames, D channels, H and W pixels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmbook.encoders.batch_norm import BatchNorm3d
from mmbook.encoders.mel import check_padding
from mmbook.encoders.reference import Names, renamed
from mmbook.modality import Modality
from mmbook.preprocess.image import IMAGENET_MEAN, IMAGENET_STD
from mmbook.registry import register

# Mean and deviation of the films of Kinetics-400, by which torchvision's weights expect them standardised.
KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)
WIDE = 256  # channels, from which on memory keeps its usual order


def convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv3d:
    """A cube of weights over time, height and width. No bias: the batch norm would take it away again."""
    return nn.Conv3d(before, after, kernel, stride, padding=kernel // 2, bias=False)


class RealNorm(BatchNorm3d):
    """Batch norm over the frames that exist: what is padding stays zero, and no statistic counts it.

    A batch norm turns the zeros of the padding into its shift, which the next convolution would carry into
    the last real frames; and in training the zeros would change mean and variance for all.
    """

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:  # type: ignore[override]
        """`x` ``(B, D, T, H, W)``; `mask` ``(B, T)``, None where all is real."""
        if mask is None:
            return self.normalise(x)
        if not self.training:  # the statistics are fixed: padding cannot change them
            return self.normalise(x).masked_fill(~mask[:, None, :, None, None], 0)
        frames = x.transpose(1, 2)[mask]  # (N, D, H, W), N real frames
        out = torch.zeros_like(x)
        out.transpose(1, 2)[mask] = self.normalise(frames[:, :, None])[:, :, 0].to(x.dtype)
        return out

    def normalise(self, x: Tensor) -> Tensor:
        """The plain batch norm; training on several processes puts one over all of them here."""
        return super().forward(x)


class Residual3d(nn.Module):
    """Two convolutions of 3 × 3 × 3, added to their input; `stride` halves time, height and width."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1, self.norm1 = convolution(before, after, 3, stride), RealNorm(after)
        self.conv2, self.norm2 = convolution(after, after, 3), RealNorm(after)
        self.shortcut: nn.Conv3d | None = None  # where the shapes differ, the input is brought to the new one
        if stride != 1 or before != after:
            self.shortcut, self.shortcut_norm = convolution(before, after, 1, stride), RealNorm(after)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` ``(B, T')`` is that of the output."""
        y = self.norm1(self.conv1(x), mask).relu_()
        y = self.norm2(self.conv2(y), mask)
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x), mask)
        return y.add_(x).relu_()


@register
class Video3D(nn.Module):
    """Videos ``(B, T, 3, H, W)`` to tokens ``(B, T' * h * w, widths[-1])``, a grid in time and space.

    T' is T halved (rounded up) at each stage after the first, h and w are H and W halved once more. Equal to
    ``torchvision.models.video.r3d_18`` before its pooling, on a video without padding. That network reads its
    padding; this one does not: frames under the mask are zero after every layer, as what lies beyond the end
    of an unpadded video is, and batch norm in training leaves them out.

    Args:
        widths: channels of each stage; the last is `out_dim`, the first also that of the first convolution.
        blocks: residual blocks in each stage.
        mean, std: of red, green and blue, by which the weights want their frames standardised. Input comes
            standardised by ImageNet's, as VideoProcessor makes it, and is converted.

    The defaults are R3D-18 (33 M parameters); ``widths=(16, 32, 64), blocks=(1, 1, 1)`` trains on a laptop.
    """

    reads: ClassVar[str] = "video"
    source: ClassVar[str] = "Tran et al. 2018"
    weights: str = "random"

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(blocks) or min(blocks) < 1:
            raise ValueError(
                f"widths are {tuple(widths)} and blocks {tuple(blocks)}; give one of each for every stage, "
                f"and at least one block"
            )
        self.out_dim = widths[-1]
        self.mean, self.std = tuple(mean), tuple(std)
        # the first looks at three frames and 7 x 7 pixels, and halves height and width only
        self.stem = nn.Conv3d(3, widths[0], (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.stem_norm = RealNorm(widths[0])
        before, layers = widths[0], []
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            layers.append(Residual3d(before, width, stride=2 if stage else 1))
            layers += [Residual3d(width, width, stride=1) for _ in range(count - 1)]
            before = width
        self.blocks = nn.ModuleList(layers)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, video: Modality) -> Modality:
        """Values ``(B, T, 3, H, W)``, padding at the end of each row.

        Raises:
            ValueError: values of another shape; padding before or between the frames.
        """
        if video.values.dim() != 5 or video.values.shape[2] != 3:
            raise ValueError(
                f"video has shape {tuple(video.values.shape)}; it must be (B, T, 3, H, W), as VideoProcessor "
                f"and collate make it"
            )
        values, mask = Modality(self._converted(video.values), video.mask).cleaned()
        check_padding(mask, "video", "frames")
        # most batches are not, and then nothing has to be blanked; a traced graph must serve both
        padded = torch.compiler.is_compiling() or not mask.all()
        x = values.transpose(1, 2)  # (B, 3, T, H, W)
        # On a CPU, training is quicker with the channels innermost in memory; but the weights are copied into
        # that order at each step, and where they are many that takes longer than it saves.
        if x.device.type == "cpu" and self.out_dim < WIDE:
            x = x.contiguous(memory_format=torch.channels_last_3d)
        x = self.stem_norm(self.stem(x), mask if padded else None).relu_()
        for block in self.blocks:
            mask = mask[:, :: block.stride]  # the frames on which the kernels were centred
            x = block(x, mask if padded else None)
        tokens = x.flatten(3).permute(0, 2, 3, 1)  # (B, D, T', h, w) -> (B, T', h * w, D)
        return Modality(tokens.flatten(1, 2), mask.repeat_interleave(tokens.shape[2], dim=1))

    def _converted(self, values: Tensor) -> Tensor:
        """From ImageNet's mean and deviation to our own. In the first weights it could not be hidden: the
        zeros around a frame would have to be converted, too."""
        if (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD):
            return values
        theirs, ours = (
            values.new_tensor([IMAGENET_MEAN, IMAGENET_STD]),
            values.new_tensor([self.mean, self.std]),
        )
        scale, shift = theirs[1] / ours[1], (theirs[0] - ours[0]) / ours[1]
        return values * scale[:, None, None] + shift[:, None, None]

    @classmethod
    def from_reference(cls, module: Any) -> Video3D:
        """A copy of a ``torchvision.models.video.VideoResNet`` such as ``r3d_18()``, without its classifier.

        Raises:
            ValueError: a relative: ``mc3_18`` and ``r2plus1d_18`` convolve otherwise.
        """
        kinds = {type(part).__name__ for part in module.modules()}
        others = kinds & {"Conv3DNoTemporal", "Conv2Plus1D", "R2Plus1dStem", "Bottleneck"}
        if others:
            raise ValueError(
                f"this {type(module).__name__} has parts of kind {', '.join(sorted(others))}; ours is "
                f"r3d_18, of Conv3DSimple and BasicBlock"
            )
        return cls._of_weights(module.state_dict()).train(module.training)

    @classmethod
    def from_pretrained(cls, weights: str | os.PathLike[str] = "KINETICS400_V1") -> Video3D:
        """R3D-18 with torchvision's weights: 400 actions of people, in clips of 16 frames, 15 a second.

        Args:
            weights: a name in ``torchvision.models.video.R3D_18_Weights``, which torchvision downloads
                (127 MB), or the path of such a file.
        """
        if not os.path.isfile(weights):
            from torchvision.models.video import R3D_18_Weights

            found = R3D_18_Weights[os.fspath(weights)].get_state_dict(check_hash=True)
        else:
            found = torch.load(weights, weights_only=True, map_location="cpu")
        model = cls._of_weights(found, mean=KINETICS_MEAN, std=KINETICS_STD)
        model.weights = "pretrained"
        return model.eval()

    @classmethod
    def _of_weights(cls, weights: Mapping[str, Tensor], **options: Any) -> Video3D:
        """Of the size that torchvision's `weights` have."""
        stages: dict[str, list[int]] = {}  # the widths of the blocks in each
        for name, tensor in weights.items():
            if found := re.fullmatch(r"(layer\d)\.\d+\.conv1\.0\.weight", name):
                stages.setdefault(found[1], []).append(len(tensor))
        model = cls([s[0] for s in stages.values()], [len(s) for s in stages.values()], **options)
        model.load_state_dict(our_weights(weights))
        return model


def our_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an ``r3d_18`` (weights or gradients) under our names, without the classifier's."""
    blocks: dict[str, int] = {}  # "layer1.0", "layer1.1", "layer2.0", ...: ours are numbered through
    names: Names = {
        r"^stem\.0\.": "stem.",
        r"^stem\.1\.": "stem_norm.",
        r"^layer\d\.\d+": lambda found: f"blocks.{blocks.setdefault(found[0], len(blocks))}",
        r"\.conv(\d)\.0\.": r".conv\1.",
        r"\.conv(\d)\.1\.": r".norm\1.",
        r"\.downsample\.0\.": ".shortcut.",
        r"\.downsample\.1\.": ".shortcut_norm.",
    }
    return renamed(weights, names, left_out=r"^fc\.(weight|bias)$")
