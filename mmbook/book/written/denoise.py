"""Noise reduction by spectral gating: what has no more power than the noise is not let through."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mmbook.book.written.spectrum import inverse_stft
from mmbook.preprocess.spectrum import hann, power, stft

QUARTER = 0.008  # seconds from one frame to the next; a frame is four times as long
QUIETEST = 0.1  # share of the frames that the noise is taken from where no clip of it is given
SMOOTH = (5, 3)  # frames and frequencies over which the power is averaged
TINY = 1e-12  # power of digital silence, so that a ratio of two silences is one


def spectral_gate(
    wave: Tensor,
    rate: int,
    noise: Tensor | None = None,
    threshold: float = 5.0,
    steepness: float = 2.0,
    floor: float = 0.03,
) -> Tensor:
    """Waves ``(..., T)`` with steady noise reduced.

    The transform of the sound is multiplied, at each time and frequency, by a mask between `floor` and 1, and
    transformed back. The mask compares the power there, averaged over its neighbours, with that of the noise
    at this frequency: it is halfway where the power is `threshold` dB above the noise, near 1 well above,
    near `floor` well below. Without the average, single spots of noise would pass, heard as tinkling
    ("musical noise").

    It helps where noise is strong and steady. Where there is little it does harm, since it takes the quietest
    speech for noise; and of noise that comes and goes it knows nothing.

    Args:
        wave: float, one sound a row, no padding.
        rate: samples a second.
        noise: ``(..., N)`` of the noise alone. None takes for noise the tenth of the frames with the least
            power, which in speech are its pauses.
        threshold: in dB.
        steepness: of the mask. 1 is Wiener's gain, power / (power + noise), large numbers are a hard gate.
        floor: how much always stays, as a factor on the amplitude.

    Returns:
        Of the shape of `wave`.

    Raises:
        ValueError: a sound or noise shorter than one frame of 32 ms.

    Source: Boll (1979), *Suppression of acoustic noise in speech using spectral subtraction*,
    https://doi.org/10.1109/TASSP.1979.1163209, which subtracts where this one multiplies; the gate is that of
    Sainburg's noisereduce, https://github.com/timsainb/noisereduce.
    """
    hop = round(QUARTER * rate)
    size = 4 * hop
    window = hann(size).to(wave)
    level = noise_level(wave, window, hop) if noise is None else _mean_power(noise, window, hop)
    # silence around it, so that every sample lies in four frames
    T = wave.shape[-1]
    spectrum = stft(functional.pad(wave, (size, size + -T % hop)), window, hop)  # (..., N, F)
    above = 10 * (averaged(power(spectrum)) + TINY).log10() - 10 * (level + TINY).log10()  # in dB
    # with the natural logarithm, so that a sigmoid of steepness one is power / (power + noise)
    mask = torch.sigmoid(steepness * (above - threshold) * math.log(10) / 10)
    return inverse_stft(spectrum * (floor + (1 - floor) * mask), window, hop)[..., size : size + T]


def noise_level(wave: Tensor, window: Tensor, hop: int) -> Tensor:
    """Power ``(..., 1, F)`` of the noise in waves ``(..., T)``: the mean over their quietest frames."""
    found = power(stft(wave, window, hop))  # (..., N, F)
    loudness = found.sum(dim=-1)
    quietest = loudness.topk(max(1, round(QUIETEST * loudness.shape[-1])), largest=False).indices
    index = quietest[..., None].expand(*quietest.shape, found.shape[-1])
    return found.gather(-2, index).mean(dim=-2, keepdim=True)


def _mean_power(noise: Tensor, window: Tensor, hop: int) -> Tensor:
    return power(stft(noise, window, hop)).mean(dim=-2, keepdim=True)


def averaged(power: Tensor) -> Tensor:
    """``(..., N, F)`` averaged over `SMOOTH` neighbours in time and frequency; fewer at the edges."""
    picture = power.reshape(-1, 1, *power.shape[-2:])
    around = (SMOOTH[0] // 2, SMOOTH[1] // 2)
    mean = functional.avg_pool2d(picture, SMOOTH, stride=1, padding=around, count_include_pad=False)
    return mean.reshape(power.shape)


def snr(clean: Tensor, wave: Tensor) -> Tensor:
    """Signal-to-noise ratio in dB of waves ``(..., T)`` whose signal is `clean`: ``(...)``."""
    return 10 * (clean.square().sum(dim=-1) / (wave - clean).square().sum(dim=-1)).log10()
