"""Short spoken phrases whose feeling is in the voice only: synthesised when they are first asked for.

One neural voice (hibari, Apache-2.0) says neutral phrases. Its network predicts a spectrum and a pitch curve,
and the waveform is made from both; between the two steps the curve is moved and stretched. With the rate at
which the result is read, which scales all resonances as a longer or shorter vocal tract does, that makes 36
voices out of one.

How feeling changes a voice follows what listeners use (Juslin and Laukka 2003,
doi:10.1037/0033-2909.129.5.770): glad speech is higher, livelier, faster and louder than sad speech. Here a
positive recording has an expression strength drawn around +1, a negative one around -1, wide enough for the
two to overlap; pitch, range, tempo and level follow the strength, each with its own jitter, on top of voices
that differ more than the feeling does. So a single cue says little, and even a perfect listener is sometimes
wrong: these are made signals, not acted or felt emotion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbook.book.datasets.splits import check_split
from mmbook.book.kept import Recipe
from mmbook.seeding import stream

Wave = NDArray[np.float32]

RATE = 16_000  # Hz
FEW = 64  # sounds that are made one by one
MAX_SECONDS = 2.5
TAKES = 3  # recordings of each phrase by each voice with each feeling

PHRASES = (
    "I watched it last night.",
    "That was the film.",
    "We saw it on Sunday.",
    "I have just seen it.",
    "Here is what I think.",
    "This is my review.",
    "I saw it with a friend.",
    "They showed it in town.",
    "We went to see it.",
    "I watched it at home.",
    "So this was the film.",
    "Let me tell you.",
)


class Voice(NamedTuple):
    """One setting of the synthesiser."""

    pitch: float  # median, Hz
    tract: float  # resonances times this: above 1 is a shorter vocal tract
    range: float  # stretch of the pitch curve around its median, in log frequency
    tempo: float  # times the network's own
    level: float  # dB RMS below full scale
    tilt: float  # dB above 3 kHz
    split: str


VOICES = (
    Voice(92, 0.84, 0.98, 0.84, -28.7, -0.2, "train"),
    Voice(96, 0.86, 0.86, 0.97, -30.0, -3.2, "test"),
    Voice(99, 0.90, 0.92, 1.00, -24.3, -2.3, "train"),
    Voice(102, 0.87, 1.01, 1.00, -30.8, 0.3, "valid"),
    Voice(107, 0.93, 0.86, 1.06, -26.7, -2.6, "train"),
    Voice(111, 0.96, 1.08, 0.92, -26.8, 2.3, "train"),
    Voice(118, 0.91, 1.07, 1.00, -25.0, 5.8, "test"),
    Voice(126, 0.92, 1.02, 0.97, -26.5, -4.7, "train"),
    Voice(126, 0.92, 0.98, 1.06, -23.5, -5.3, "valid"),
    Voice(131, 0.93, 1.07, 0.87, -28.3, -0.4, "train"),
    Voice(140, 1.01, 1.07, 0.98, -28.0, -1.0, "train"),
    Voice(145, 1.03, 0.96, 0.98, -26.0, -0.5, "test"),
    Voice(151, 0.99, 0.89, 1.00, -28.3, 4.7, "train"),
    Voice(154, 1.02, 1.00, 1.05, -28.0, 4.2, "test"),
    Voice(163, 1.02, 1.06, 0.91, -26.0, -6.8, "train"),
    Voice(172, 0.98, 0.97, 0.94, -26.5, 9.0, "valid"),
    Voice(172, 1.02, 0.94, 1.01, -25.5, -0.7, "train"),
    Voice(183, 1.05, 1.07, 1.04, -30.2, -0.3, "train"),
    Voice(185, 1.06, 0.90, 1.02, -29.5, 3.9, "test"),
    Voice(195, 1.09, 1.01, 0.96, -27.3, -8.0, "train"),
    Voice(201, 1.06, 1.04, 0.86, -24.5, -7.0, "valid"),
    Voice(216, 1.14, 0.92, 1.06, -26.5, -6.1, "train"),
    Voice(221, 1.16, 1.16, 1.00, -27.8, -0.6, "train"),
    Voice(237, 1.11, 1.12, 0.96, -27.2, -3.2, "test"),
    # More for testing: an interval can be no narrower than a handful of test voices allows.
    Voice(96, 0.92, 1.05, 0.94, -25.5, -0.1, "test"),
    Voice(153, 1.05, 1.09, 0.99, -23.8, -0.0, "test"),
    Voice(169, 1.07, 1.05, 1.07, -23.6, 3.6, "test"),
    Voice(220, 1.13, 0.87, 1.00, -26.0, -8.0, "test"),
    Voice(220, 1.11, 0.78, 1.01, -29.0, -3.9, "test"),
    Voice(154, 1.00, 1.01, 0.92, -25.4, 3.4, "test"),
    Voice(97, 0.88, 0.81, 1.02, -24.3, 2.4, "test"),
    Voice(185, 1.09, 0.97, 1.00, -28.0, -0.6, "test"),
    Voice(178, 1.07, 0.99, 1.07, -30.8, -4.6, "test"),
    Voice(127, 0.93, 0.89, 0.94, -30.5, -7.1, "test"),
    Voice(118, 0.91, 0.98, 1.04, -25.0, 4.8, "test"),
    Voice(128, 0.91, 0.91, 1.07, -29.1, 9.0, "test"),
)

# What one unit of expression strength does, and the jitter of each cue on top (standard deviation).
SPREAD = 0.5  # of the strength itself around +1 or -1
PITCH, PITCH_JITTER = 2.0, 0.8  # semitones
RANGE, RANGE_JITTER = 0.35, 0.12  # log factor
TEMPO, TEMPO_JITTER = 0.11, 0.04  # log factor
LEVEL, LEVEL_JITTER = 1.5, 1.5  # dB

# The network runs at these speeds only, so that voices share its output.
SPEEDS = np.geomspace(0.62, 1.62, 21)


class Sounds:
    """Made sounds by number, ``(T,)`` float32 in [-1, 1] at `RATE`.

    The first `FEW` that are asked for are made one by one, which is all that a page needs that plays some.
    Who asks for more, as a training does, has all of them made at once, and kept in the cache.

    Args:
        recipe: of all of them, as `stored` stores them.
        make: number -> sound; a pure function.
    """

    def __init__(self, recipe: Recipe, make: Callable[[int], Wave]) -> None:
        self.recipe, self.make = recipe, make
        self.few: dict[int, NDArray[np.int16]] = {}
        self.all: dict[str, NDArray[Any]] | None = None

    def __getitem__(self, number: int) -> Wave:
        return self._coded(int(number)).astype(np.float32) / np.float32(32768)

    def _coded(self, number: int) -> NDArray[np.int16]:
        if number in self.few:
            return self.few[number]
        if self.all is None and len(self.few) < FEW and not self.recipe.is_made():
            self.few[number] = coded(made(self.make, [number])[0])
            return self.few[number]
        if self.all is None:
            self.all = {name: array.numpy() for name, array in self.recipe.tensors().items()}
        ends = self.all["ends"]
        return self.all["samples"][ends[number - 1] if number else 0 : ends[number]]


class Recordings(NamedTuple):
    """All recordings, in the order of ``product(voices, phrases, feelings, takes)``."""

    sounds: Sounds
    voice: NDArray[np.int64]  # (N,) index into VOICES
    phrase: NDArray[np.int64]  # (N,) index into PHRASES
    feeling: NDArray[np.int64]  # (N,) 0 negative, 1 positive

    def sound(self, index: int) -> NDArray[np.float32]:
        """Recording `index`, ``(T,)`` float32 in [-1, 1] at `RATE`."""
        return self.sounds[index]

    def of_split(self, split: str) -> NDArray[np.int64]:
        """Indices of the recordings whose voice belongs to `split`."""
        check_split(split)
        return np.flatnonzero([VOICES[voice].split == split for voice in self.voice])


@cache  # a dataset asks for each of its rows
def recordings() -> Recordings:
    """The recordings; a sound is made when it is asked for."""
    voice, phrase, feeling, _ = np.array(_order()).T
    return Recordings(Sounds(RECIPE, _record), voice, phrase, feeling)


@cache
def _order() -> list[tuple[int, int, int, int]]:
    """Voice, phrase, feeling and take of each recording."""
    return list(product(range(len(VOICES)), range(len(PHRASES)), (0, 1), range(TAKES)))


def _make() -> dict[str, Tensor]:
    return stored(made(_record, range(len(_order()))))


@cache
def synthesiser() -> Any:
    """hibari's voice; it takes a second to load."""
    from hibari import Hibari

    return Hibari()


def made(make: Callable[..., Wave], numbers: Iterable[Any]) -> list[Wave]:
    """`make` of each number, in one thread: filters are so short that to wake a second one costs more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [make(number) for number in numbers]
    finally:
        torch.set_num_threads(threads)


def coded(sound: Wave) -> NDArray[np.int16]:
    """A sound in [-1, 1] as 16-bit numbers."""
    return np.round(sound * 32767).astype(np.int16)


def stored(sounds: Sequence[Wave]) -> dict[str, Tensor]:
    """Sounds one after the other in "samples", 16 bits each, and in "ends" where each ends."""
    return {
        "samples": torch.from_numpy(np.concatenate([coded(sound) for sound in sounds])),
        "ends": torch.from_numpy(np.cumsum([len(sound) for sound in sounds])),
    }


@cache
def resampler(rate: int) -> Any:
    """From `rate` to `RATE`, its filter computed once."""
    from torchaudio.transforms import Resample

    return Resample(rate, RATE)


def minutes(found: Mapping[str, Tensor]) -> dict[str, float]:
    """How much sound there is, which any change of a voice's tempo would move."""
    return {"minutes": len(found["samples"]) / RATE / 60}


def spectrum(phonemes: str, speed: float) -> list[NDArray[np.float32]]:
    """What the network predicts: five parts of a spectrum ``(601, F)``, and the pitch ``(F,)`` in Hz."""
    ids = synthesiser().ids(phonemes)
    feed = {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)}
    return [part[0] for part in synthesiser().sess.run(None, feed)]


@cache
def _said(phrase: int, speed: float) -> list[NDArray[np.float32]]:
    return spectrum(synthesiser().phonemize(PHRASES[phrase])[0], speed)


def _record(number: int) -> Wave:
    """One recording, ``(T,)`` at `RATE`; a pure function of its number."""
    from hibari import dsp
    from torchaudio import functional as F

    voice, phrase, feeling, take = _order()[number]
    random = stream("speech", voice, phrase, feeling, take)
    who = VOICES[voice]
    strength = 2 * feeling - 1 + SPREAD * random.standard_normal()
    pitch_jitter, range_jitter, tempo_jitter, level_jitter = random.standard_normal(4)
    pitch = who.pitch * 2 ** ((PITCH * strength + PITCH_JITTER * pitch_jitter) / 12)
    stretch = who.range * np.exp(RANGE * strength + RANGE_JITTER * range_jitter)
    tempo = who.tempo * np.exp(TEMPO * strength + TEMPO_JITTER * tempo_jitter)
    level = who.level + LEVEL * strength + LEVEL_JITTER * level_jitter

    # Read at a rate `tract` times higher, the sound is that much shorter and higher: ask for the opposite
    # before.
    speed = SPEEDS[np.abs(SPEEDS - tempo / who.tract).argmin()]
    *parts, curve = _said(phrase, speed)
    voiced = curve > 40  # Hz; the synthesiser's own threshold
    bent = pitch / who.tract * (curve / np.median(curve[voiced])).clip(0.25, 4) ** stretch
    curve = np.where(voiced, bent.clip(50, 600), curve).astype(np.float32)
    sound = torch.from_numpy(dsp.synth(*parts, curve, random))
    sound = resampler(round(48 * who.tract) * 500)(sound)  # multiples of 500 Hz keep the filter short
    sound = F.highpass_biquad(F.treble_biquad(sound, RATE, who.tilt), RATE, 60)
    return _levelled(_trimmed(sound.numpy()), level)


def _trimmed(sound: Wave) -> Wave:
    """Without the silence at both ends (40 dB under the peak), with 10 ms faded in and out."""
    loud = np.flatnonzero(np.abs(sound) > np.abs(sound).max() / 100)
    margin = RATE // 50
    sound = sound[max(0, loud[0] - margin) : loud[-1] + margin][: int(MAX_SECONDS * RATE)].copy()
    fade = np.linspace(0, 1, RATE // 100, dtype=np.float32)
    sound[: len(fade)] *= fade
    sound[-len(fade) :] *= fade[::-1]
    return sound


def _levelled(sound: Wave, level: float) -> Wave:
    """Scaled to `level` dB RMS, or as near as a peak of 0.98 allows: lowered, never clipped."""
    gain = 10 ** (level / 20) / np.sqrt(np.mean(sound**2))
    return sound * np.float32(min(gain, 0.98 / np.abs(sound).max()))


RECIPE = Recipe("speech_voices", _make, minutes, keep=False, ahead=False, versions=("hibari-tts",))
