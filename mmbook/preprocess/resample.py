"""Resampling: the values that a sound has between its samples, and none of what the new rate cannot hold."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ZEROS = 6  # zero crossings of the sinc on each side; more make a sharper and slower filter
ROLLOFF = 0.99  # the filter ends at this share of half the lower rate


def resample(wave: Tensor, old: int, new: int) -> Tensor:
    """Waves ``(..., T)`` at `old` samples a second to ``(..., ceil(T * new / old))`` at `new`.

    A sound without frequencies above half its rate is the sum of its samples, each times a sinc centred on it
    (Shannon 1949, https://doi.org/10.1109/JRPROC.1949.232969), so it can be read at any time. A sinc as wide
    as the lower of the two rates asks leaves out what that rate cannot hold. The sinc never ends; a Hann
    window ends it after `ZEROS` zero crossings.

    Where between two samples an output lies repeats every ``new / gcd`` outputs, so there are that many short
    filters, the *phases*, and no more. Equal to ``torchaudio.functional.resample`` with its defaults, but for
    two things. A filter holds few taps beside those that are not zero, so rates without a common divisor need
    no gigabytes. And the length is exact, where torchaudio's is rounded in float32 and can be a sample
    shorter in long sounds.

    Args:
        wave: float. Outside of it is silence.
        old, new: samples a second, whole numbers.

    Raises:
        ValueError: a rate that is not a whole number above 0, or samples that are not float.
    """
    if int(old) != old or int(new) != new or min(old, new) < 1:
        raise ValueError(f"rates are {old} and {new}; give whole numbers above 0, such as 44100 and 16000")
    if not wave.is_floating_point():
        raise ValueError(f"the wave is {wave.dtype}; resampling needs float, such as AudioProcessor makes")
    divisor = math.gcd(int(old), int(new))
    old, new = int(old) // divisor, int(new) // divisor
    if old == new:
        return wave
    T = wave.shape[-1]
    blocks = -(-T // old)  # of `old` samples in, `new` samples out
    cutoff = ROLLOFF * min(1, new / old)  # zero crossings of the sinc for each sample of the input
    reach = math.ceil(ZEROS / cutoff)  # taps on each side
    x = functional.pad(wave.reshape(-1, 1, T), (reach, reach + blocks * old - T + 1))
    # Neighbouring phases read nearly the same samples, distant ones do not: a convolution for all of them
    # would consist of zeros, and one for each would be many. So as many as span some filter lengths.
    together = max(1, 8 * reach * new // old)
    parts = []
    for phases in torch.arange(new).split(together):
        first, last = (int(p) * old // new for p in phases[[0, -1]])
        taps = torch.arange(first - reach, last + reach + 2)  # the samples that these phases read
        t = cutoff * (taps - phases[:, None].double() * old / new)  # (phases, taps), in zero crossings
        window = torch.cos(math.pi / 2 * t.clamp(-ZEROS, ZEROS) / ZEROS) ** 2
        filters = (cutoff * torch.sinc(t) * window).to(wave)
        y = functional.conv1d(x[..., first:], filters[:, None], stride=old)
        parts.append(y[..., :blocks])  # (B, phases, blocks)
    out = torch.cat(parts, dim=1).transpose(1, 2)  # (B, blocks, new)
    return out.reshape(*wave.shape[:-1], -1)[..., : -(-T * new // old)]
