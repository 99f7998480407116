"""A convolutional network over log-mel frames: the spectrogram read as a picture of time and pitch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from mmbook.encoders.mel import LogMel
from mmbook.modality import Modality
from mmbook.registry import register


class Stage(nn.Module):
    """3 × 3 convolution of stride 2 in time and pitch, layer norm over the channels, ReLU, mask.

    The convolution reads one frame beyond the end of the sound, where an unpadded batch has zeros. After the
    norm the padding would no longer be zero, and the next stage would read it: hence the mask after each
    stage. The norm is over the channels of one cell, as in ConvNeXt (Liu et al. 2022,
    https://arxiv.org/abs/2201.03545): any norm over time would need to leave the padding out.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1)
        self.norm = nn.LayerNorm(after)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`x` ``(B, C, T, F)``, zero where `mask` ``(B, T)`` is False; both come back with half of T."""
        x = self.conv(x).movedim(1, -1)  # (B, T', F', C)
        mask = mask[:, ::2]  # the frames on which the kernel was centred
        x = self.norm(x).relu().masked_fill(~mask[:, :, None, None], 0)
        return x.movedim(-1, 1), mask


@register
class MelCNN(nn.Module):
    """Waveforms ``(B, T)`` to tokens ``(B, T', out_dim)``; with three stages one token for 80 ms of sound.

    Args:
        channels: of each stage; each stage halves time and pitch.
        out_dim: of a token, which a linear layer makes of all channels and pitches at a time. (Averaging over
            pitch would lose how high a voice is.)
        mel: the front end; None for ``LogMel()``.
    """

    reads: ClassVar[str] = "audio"
    source: ClassVar[str] = "this book"

    def __init__(
        self, channels: Sequence[int] = (32, 64, 128), out_dim: int = 128, mel: LogMel | None = None
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("channels is empty; give the number of channels of at least one stage")
        self.out_dim = out_dim
        self.mel = mel or LogMel()
        self.stages = nn.ModuleList(Stage(*pair) for pair in zip((1, *channels), channels, strict=False))
        pitches = self.mel.out_dim
        for _ in channels:
            pitches = (pitches + 1) // 2
        self.project = nn.Linear(channels[-1] * pitches, out_dim)

    def forward(self, audio: Modality) -> Modality:
        """Values ``(B, T)`` float at the front end's rate, padding at the end of each row."""
        frames, mask = self.mel(audio)
        x = frames[:, None]  # (B, 1, T', n_mels): one channel, as in a grey picture
        for stage in self.stages:
            x, mask = stage(x, mask)
        tokens = self.project(x.transpose(1, 2).flatten(2))  # (B, C, T', F') -> (B, T', C * F') -> (B, T', D)
        return Modality(tokens, mask).cleaned()
