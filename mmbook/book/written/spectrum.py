"""Further steps with a spectrum: back to the waveform, and to decibels.

`mmbook.preprocess.spectrum` has the way there. Letters in comments: T samples, N frames, F frequencies.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def inverse_stft(spectrum: Tensor, window: Tensor, hop: int) -> Tensor:
    """The waves ``(..., size + (N - 1) * hop)`` whose `stft` is ``(..., N, F)``.

    Each frame is transformed back and multiplied by the window once more, the frames are added where they
    overlap, and the sum is divided by that of the squared windows: of all waves, the one whose `stft` is
    nearest in least squares (Griffin and Lim 1984, https://doi.org/10.1109/TASSP.1984.1164317). A sample at
    which all windows are zero, as the first one of a Hann window is, cannot be known and becomes zero.
    """
    pieces = torch.fft.irfft(spectrum, n=len(window)) * window  # (..., N, size)
    total = _overlap_add(pieces, hop)
    weight = _overlap_add(window.square().expand(spectrum.shape[-2], -1), hop)  # (T,)
    known = weight > 1e-8
    return torch.where(known, total / weight.where(known, 1), 0)


def _overlap_add(pieces: Tensor, hop: int) -> Tensor:
    """``(..., N, size)`` to ``(..., size + (N - 1) * hop)``: the opposite of `frames`."""
    N, size = pieces.shape[-2:]
    length = size + (N - 1) * hop
    # fold knows pictures only: one of a single row, whose patches are the frames
    columns = pieces.reshape(-1, N, size).transpose(1, 2)  # (B, size, N)
    wave = functional.fold(columns, (1, length), kernel_size=(1, size), stride=(1, hop))  # (B, 1, 1, length)
    return wave.reshape(*pieces.shape[:-2], length)


def decibels(power: Tensor, floor: float = 1e-10) -> Tensor:
    """``10 log10`` of a power, which is first raised to `floor`, so that silence is finite.

    Equal to ``torchaudio.transforms.AmplitudeToDB("power")``.
    """
    return 10 * power.clamp(min=floor).log10()
