"""From a waveform to its spectrum: frames, window, Fourier transform, mel filters.

Written out, one function a step, and equal to torch and torchaudio. Letters in comments: T samples, N frames,
F frequencies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmbook.moved import moved_names

__getattr__ = moved_names(__name__)


def frames(wave: Tensor, size: int, hop: int) -> Tensor:
    """Overlapping frames ``(..., N, size)`` of waves ``(..., T)``, one every `hop` samples.

    All of them lie inside the sound, so there are ``1 + (T - size) // hop``, and up to ``hop - 1`` samples at
    the end belong to none. A view: no sample is copied.

    Raises:
        ValueError: a size or hop below 1; a sound shorter than a frame.
    """
    if size < 1 or hop < 1:
        raise ValueError(f"size is {size} and hop {hop}; both count samples and must be at least 1")
    if wave.shape[-1] < size:
        raise ValueError(
            f"a sound of {wave.shape[-1]} samples is shorter than one frame of {size}; fill it up with zeros "
            f"or choose a smaller frame"
        )
    return wave.unfold(-1, size, hop)


def hann(size: int) -> Tensor:
    """Hann's window ``(size,)``, a raised cosine from 0 to 1 and back; the same as ``torch.hann_window``.

    It is periodic: the zero at its end would be the zero at the beginning of the next. So windows that are
    half their size apart add up to exactly one.
    """
    step = torch.arange(size, dtype=torch.float64)
    return (0.5 - 0.5 * torch.cos(2 * math.pi * step / size)).float()


def stft(wave: Tensor, window: Tensor, hop: int) -> Tensor:
    """Short-time Fourier transform ``(..., N, F)``, complex, F = size // 2 + 1, of waves ``(..., T)``.

    Each frame is multiplied by the window ``(size,)`` and transformed. Equal to ``torch.stft(wave, size, hop,
    window=window, center=False, return_complex=True)``, which has the last two axes the other way round.

    Raises:
        ValueError: as `frames` does.
    """
    return torch.fft.rfft(frames(wave, len(window), hop) * window)


def power(spectrum: Tensor) -> Tensor:
    """Squared magnitude of a complex spectrum; real, of the same shape."""
    return spectrum.real**2 + spectrum.imag**2


def mel(hertz: Tensor) -> Tensor:
    """Pitch in mel of frequencies in Hz, HTK's formula: near to linear below 1 kHz, logarithmic above."""
    return 2595 * torch.log10(1 + hertz / 700)


def mel_filterbank(n_fft: int, n_mels: int, rate: int) -> Tensor:
    """Triangular filters ``(n_fft // 2 + 1, n_mels)`` between 0 Hz and half the rate.

    Neighbouring triangles overlap by half, so that power between two centres is shared by the two. Equal to
    ``torchaudio.functional.melscale_fbanks`` with its defaults (HTK's mel, peaks of one), but for odd rates,
    half of which it rounds down to a whole number.
    """
    frequencies = torch.linspace(0, rate / 2, n_fft // 2 + 1)
    top = mel(torch.tensor(rate / 2)).item()
    # in Hz, evenly spaced in mel; filter m rises from corner m to m + 1 and falls to m + 2
    corners = 700 * (10 ** (torch.linspace(0, top, n_mels + 2) / 2595) - 1)
    # (n_fft // 2 + 1, n_mels + 2): how far each corner lies above each frequency
    above = corners - frequencies[:, None]
    rising = -above[:, :-2] / corners.diff()[:-1]
    falling = above[:, 2:] / corners.diff()[1:]
    return torch.minimum(rising, falling).clamp(min=0)
