"""Sound: a file or an array to a mono waveform at one rate; and the resampler that this needs."""

from __future__ import annotations

import io
import math
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mmbook.registry import register


@register
class AudioProcessor:
    """A sound to a waveform ``(T,)`` float32, mono, at `rate` samples a second.

    Takes a file's path, a file's bytes, a pair (array, rate), or a one-dimensional float tensor that is at
    `rate` already. An array is ``(N,)`` or ``(N, channels)``, float in [-1, 1] or integers, which are scaled
    by their type's range. Channels are averaged. Only the first `max_seconds` are kept.

    Args:
        rate: samples a second of the output.
        max_seconds: longest output.
    """

    def __init__(self, rate: int = 16000, max_seconds: float = 10.0) -> None:
        if rate < 1 or max_seconds <= 0:
            raise ValueError(f"rate is {rate} and max_seconds {max_seconds}; both must be above 0")
        self.rate = rate
        self.max_seconds = max_seconds

    def __call__(self, audio: str | os.PathLike[str] | bytes | tuple[Any, int] | Tensor) -> Tensor:
        """``(T,)`` float32, 1 <= T <= ``rate * max_seconds``.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file that is empty, cut off or no sound (the message has its name); an array without
                samples, with NaN or infinity, or of another shape.
            TypeError: another kind of object.
        """
        if isinstance(audio, str | os.PathLike):
            name = os.fspath(audio)
            if not Path(name).is_file():
                raise FileNotFoundError(f"no sound file at {name}")
            wave, rate = read_sound(name, name, self.max_seconds)
        elif isinstance(audio, bytes):
            name = f"{len(audio)} bytes"
            wave, rate = read_sound(io.BytesIO(audio), name, self.max_seconds)
        elif isinstance(audio, tuple) and len(audio) == 2:
            name, rate = "the array", audio[1]
            wave = torch.as_tensor(audio[0])
        elif isinstance(audio, Tensor):
            name, rate, wave = "the tensor", self.rate, audio
        else:
            raise TypeError(
                f"AudioProcessor got {type(audio).__name__}; it takes a path, bytes, (array, rate), or a 1-D "
                f"float tensor at {self.rate} Hz. A sound that is missing is left out of the row"
            )
        if int(rate) != rate or rate < 1:
            raise ValueError(f"{name} has a rate of {rate}; give samples a second, such as 16000")
        wave = self._mono(wave, name)[: max(1, round(self.max_seconds * rate))]
        wave = resample(wave, int(rate), self.rate)
        return wave[: max(1, round(self.max_seconds * self.rate))].contiguous()

    def _mono(self, wave: Tensor, name: str) -> Tensor:
        """``(N,)`` or ``(N, channels)`` of any number type to ``(N,)`` float32."""
        if wave.dim() not in (1, 2) or (wave.dim() == 2 and wave.shape[1] > 32):
            raise ValueError(
                f"{name} has shape {tuple(wave.shape)}; it must be (N,) or (N, channels), "
                f"time first: transpose it"
            )
        if wave.numel() == 0:
            raise ValueError(f"{name} has no samples; leave it out of the row")
        if not wave.is_floating_point():
            wave = _scaled(wave, name)
        wave = wave.float()
        wave = wave.mean(dim=1) if wave.dim() == 2 else wave
        if not wave.isfinite().all():
            raise ValueError(f"{name} contains NaN or infinity; repair it or leave it out")
        return wave


def read_sound(source: str | io.BytesIO, name: str, max_seconds: float) -> tuple[Tensor, int]:
    """The first `max_seconds` of a file as ``(N, channels)`` float32, and its rate.

    Raises:
        ValueError: a file that is no sound, or that ends before the length its header states.
    """
    import soundfile

    try:
        with soundfile.SoundFile(source) as file:
            rate, log = file.samplerate, file.extra_info
            frames = min(file.frames, round(max_seconds * rate) + 1)
            wave = file.read(frames, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"cannot read a sound from {name}: {error.error_string} Replace the file or leave it out"
        ) from error
    # libsndfile reads a cut-off WAV or AIFF to where it ends and says so only in its log, "data : 32000
    # (should be 12000)". The largest numbers stand for "not known" in the header of a sound that was
    # streamed.
    stated = re.search(r"(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", log)
    if len(wave) < frames or (stated and int(stated[2]) < int(stated[1]) < 2**31 - 1):
        raise ValueError(
            f"{name} is cut off: it ends before the length that its header states. Fetch it again"
        )
    return torch.from_numpy(wave), rate


def _scaled(wave: Tensor, name: str) -> Tensor:
    """Integers to floats in [-1, 1]."""
    if wave.dtype == torch.uint8:  # the one unsigned type: silence is 128
        return (wave.float() - 128) / 128
    if wave.dtype not in (torch.int16, torch.int32):
        raise ValueError(f"{name} has samples of {wave.dtype}; give float in [-1, 1], int16, int32 or uint8")
    return wave.double() / -float(torch.iinfo(wave.dtype).min)


ZEROS = 6  # zero crossings of the sinc on each side; more make a sharper and slower filter
ROLLOFF = 0.99  # the filter ends at this share of half the lower rate
FILTER_NUMBERS = 2**20  # most numbers in the filters that are held at a time


def resample(wave: Tensor, old: int, new: int) -> Tensor:
    """Waves ``(..., T)`` at `old` samples a second to ``(..., ceil(T * new / old))`` at `new`.

    A sound without frequencies above half its rate is the sum of its samples, each times a sinc centred on it
    (Shannon 1949, https://doi.org/10.1109/JRPROC.1949.232969), so it can be read at any time. A sinc as wide
    as the lower of the two rates asks leaves out what that rate cannot hold. The sinc never ends; a Hann
    window ends it after `ZEROS` zero crossings.

    Where between two samples an output lies repeats every ``new / gcd`` outputs, so there are that many short
    filters, the *phases*, and no more. Equal to ``torchaudio.functional.resample`` with its defaults, but for
    two things. The length is exact, where torchaudio's is rounded in float32 and can be a sample shorter in
    long sounds. And its filters span a whole period of ``old / gcd`` samples: at 11,027 Hz a sound of 4 kB
    costs it 3 GB. Here time and memory are a fixed multiple of the samples in and out and of the taps of one
    filter (``2 * ZEROS`` times the higher over the lower rate).

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
    if old == new or wave.shape[-1] == 0:
        return wave
    T = wave.shape[-1]
    outputs = -(-T * new // old)
    blocks = -(-outputs // new)  # of `old` samples in, `new` samples out; a short sound has a part of one
    cutoff = ROLLOFF * min(1, new / old)  # zero crossings of the sinc for each sample of the input
    reach = math.ceil(ZEROS / cutoff)  # taps on each side
    # Neighbouring phases read nearly the same samples, distant ones do not: a convolution for all of them
    # would consist of zeros, and one for each would be many. So as many as span some filter lengths.
    together = max(1, min(8 * reach * new // old, FILTER_NUMBERS // (10 * reach)))
    used = min(new, outputs)
    end = (blocks - 1) * old + (used - 1) * old // new + reach + 2  # of the samples that the last phase reads
    x = functional.pad(wave.reshape(-1, 1, T), (reach, max(0, end - T)))
    parts = []
    for phases in torch.arange(used).split(together):
        first, last = (int(p) * old // new for p in phases[[0, -1]])
        taps = torch.arange(first - reach, last + reach + 2)  # the samples that these phases read
        t = cutoff * (taps - phases[:, None].double() * old / new)  # (phases, taps), in zero crossings
        window = torch.cos(math.pi / 2 * t.clamp(-ZEROS, ZEROS) / ZEROS) ** 2
        filters = (cutoff * torch.sinc(t) * window).to(wave)
        y = functional.conv1d(x[..., first:], filters[:, None], stride=old)
        parts.append(y[..., :blocks])  # (B, phases, blocks)
    out = torch.cat(parts, dim=1).transpose(1, 2)  # (B, blocks, phases)
    return out.reshape(*wave.shape[:-1], -1)[..., :outputs]
