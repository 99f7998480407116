"""Spoken digits, "zero" to "nine", by many made voices of two kinds: synthesised once, kept in the cache.

"neural": one neural voice (hibari, Apache-2.0) says each word from its phonemes, so that the word can be
given another pronunciation. Its network predicts a spectrum and a pitch curve, 80 frames a second, and the
waveform is made from both. Between the two steps a voice of ours

- moves the resonances (a longer or shorter vocal tract), low and high ones not by the same factor;
- draws frames out or hurries them, so that no two words have the same rhythm;
- moves and stretches the pitch curve, and shifts power from the harmonics to noise, as breath does.

"formant": the spectrum comes from rules instead (`mmbook.book.datasets.formant_voices`).

The first sounds like a person, but all its voices like relatives; the second like robots. None is a person's.
Pitch and vocal tract go together as in people (Peterson and Barney 1952, https://doi.org/10.1121/1.1906875).
"""

from __future__ import annotations

from functools import cache, partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbook.book.datasets import formant_voices
from mmbook.book.datasets.formant_voices import BINS, HZ_PER_BIN
from mmbook.book.datasets.speech import Wave, made, minutes, resampler, spectrum, stored
from mmbook.book.datasets.splits import SPLITS, check_split
from mmbook.book.kept import Recipe
from mmbook.seeding import stream

RATE = 16_000  # Hz
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KINDS = ("neural", "formant")
VOICES = {"train": 720, "valid": 40, "test": 80}  # in each split, half of each kind; no voice is in two

# The synthesiser's alphabet: IPA, with A I O Q for the diphthongs of "day", "eye", American and British "oh".
# The first of each word is what the synthesiser itself would say; then other accents, as far as its network
# can say them: a sound that it never learned comes out as another one.
PRONUNCIATIONS = (
    ("zˈɪɹO", "zˈiɹO", "zˈɪəɹQ", "sˈɪɹO", "zˈɪɾO"),
    ("wˈʌn", "wˈɑn", "wˈɔn", "wˈan"),
    ("tˈu", "tˈuː", "tˈʊ", "ʧˈu"),
    ("θɹˈi", "θɹˈiː", "tɹˈi", "sɹˈi", "fɹˈi"),
    ("fˈɔɹ", "fˈʊɹ", "fˈɔɹə"),
    ("fˈIv", "fˈIf", "fˈIvə"),
    ("sˈɪks", "sˈiks", "zˈɪks", "sˈɛks"),
    ("sˈɛvən", "sˈɛvᵊn", "sˈɛvɪn", "sˈɛfən", "sˈɛbən", "sˈævən", "zˈɛvən"),
    ("ˈAt", "ˈeɪt", "ˈAd", "ˈɛt"),
    ("nˈIn", "nˈɑn", "nˈIŋ"),
)
USUAL = 0.5  # share of voices that say a word as the synthesiser would
ENDINGS = (".", "!", "?", ",")  # the sentence mark moves the melody
SPEEDS = (0.75, 0.9, 1.05, 1.25, 1.5)  # at which the network runs; voices share its output


class DigitVoice(NamedTuple):
    """What one made speaker of the neural kind keeps from word to word."""

    pitch: float  # median, Hz
    tract: float  # resonances times this: above 1 is a shorter vocal tract
    bend: tuple[float, ...]  # log factor on the resonances, further, at 0.5, 1.5, 2.5 and 4 kHz
    range: float  # stretch of the pitch curve around its median, in log frequency
    tempo: float  # times the network's own
    breath: float  # noise, in dB over the network's own
    tilt: float  # dB an octave


class SpokenDigits(NamedTuple):
    """All recordings, in the order of ``product(voices, words)``."""

    samples: NDArray[np.int16]  # one after the other, those of one kind and then those of the other
    starts: NDArray[np.int64]  # (N,) where each begins in `samples`
    ends: NDArray[np.int64]  # (N,) where it ends
    voice: NDArray[np.int64]  # (N,) number of the voice; the first are those of "train", even ones neural
    digit: NDArray[np.int64]  # (N,) 0 to 9

    def sound(self, index: int) -> NDArray[np.float32]:
        """Recording `index`, ``(T,)`` float32 in [-1, 1] at `RATE`."""
        return self.samples[self.starts[index] : self.ends[index]].astype(np.float32) / np.float32(32768)

    def of_split(self, split: str, kind: str | None = None) -> NDArray[np.int64]:
        """Indices of the recordings by voices of `split`, and of one `kind` unless it is None.

        Raises:
            ValueError: an unknown split or kind.
        """
        if kind is not None and kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}, or None for both")
        before = SPLITS[: SPLITS.index(check_split(split))]
        first = sum(VOICES[name] for name in before)
        wanted = (self.voice >= first) & (self.voice < first + VOICES[split])
        if kind is not None:
            wanted &= self.voice % 2 == KINDS.index(kind)
        return np.flatnonzero(wanted)


def voice(number: int) -> DigitVoice:
    """DigitVoice `number` of the neural kind; a pure function of it."""
    random = stream("digit voice", number)
    height = random.uniform()  # low and long, or high and short, with a spread of 6 % around the line
    return DigitVoice(
        pitch=75 * (320 / 75) ** height,
        tract=0.80 * (1.24 / 0.80) ** height * np.exp(0.06 * random.standard_normal()),
        bend=tuple(0.07 * random.standard_normal(4)),
        range=np.exp(0.35 * random.standard_normal()),
        tempo=np.exp(0.18 * random.standard_normal()),
        breath=random.normal(2, 5),
        tilt=random.normal(0, 2),
    )


@cache  # a dataset asks for each of its rows
def synthetic_digits() -> SpokenDigits:
    """The recordings, made at the first call (some two minutes) and read from the cache afterwards."""
    made = [{name: part.numpy() for name, part in RECIPES[kind].tensors().items()} for kind in KINDS]
    lengths = [np.diff(part["ends"], prepend=0) for part in made]
    ends = np.cumsum(np.concatenate(lengths))
    starts = ends - np.concatenate(lengths)

    def in_order(column: NDArray[np.int64]) -> NDArray[np.int64]:
        """From kind after kind to voice after voice: the kinds take turns."""
        return column.reshape(len(KINDS), -1, len(WORDS)).swapaxes(0, 1).reshape(-1)

    voices, digits = np.divmod(np.arange(len(ends)), len(WORDS))
    samples = np.concatenate([part["samples"] for part in made])
    return SpokenDigits(samples, in_order(starts), in_order(ends), voices, digits)


def _make(kind: str) -> dict[str, Tensor]:
    """All recordings of the voices of one kind, in the order of ``product(voices, words)``."""
    voices = range(KINDS.index(kind), sum(VOICES.values()), len(KINDS))
    return stored(made(_record, product(voices, range(len(WORDS)))))


_spectrum = cache(spectrum)  # voices share the network's output


def _record(which: tuple[int, int]) -> Wave:
    """One recording, ``(T,)`` at `RATE`; a pure function of voice and digit."""
    from hibari import dsp

    number, digit = which
    random = stream("digit", number, digit)
    if KINDS[number % 2] == "formant":
        who = formant_voices.formants(stream("digit voice", number))
        habit = stream("digit accent", number, digit)
        harmonic, noise, pitch = formant_voices.say(digit, who, habit, random)
        still = np.zeros_like(harmonic)  # no phase of its own; and the free part, as a logarithm, is absent
        sound = dsp.synth(harmonic, still, noise, still - 60, still, pitch, random)
    else:
        sound = dsp.synth(*_neural(number, digit, random), random)
    wave = _trimmed(resampler(dsp.SR)(torch.from_numpy(sound)).numpy())
    return wave * np.float32(0.5 / np.abs(wave).max())


def _neural(number: int, digit: int, random: np.random.Generator) -> list[NDArray[np.float32]]:
    """What the network predicts for the word, bent to the voice: five parts of a spectrum, and the pitch."""
    who, habit = voice(number), stream("digit accent", number, digit)
    said = PRONUNCIATIONS[digit]
    word = said[0] if habit.uniform() < USUAL else habit.choice(said[1:])
    tempo = who.tempo * np.exp(0.1 * random.standard_normal())
    speed = min(SPEEDS, key=lambda given: abs(np.log(given / tempo)))
    *predicted, curve = _spectrum(word + random.choice(ENDINGS), speed)

    frames = _rhythm(len(curve), tempo / speed, random)
    bins = _resonances(who, len(frames), random)
    from_where = bins * len(curve) + frames
    harmonic, turn, noise, free, phase = (part.reshape(-1).take(from_where) for part in predicted)
    octave = np.log2(np.maximum(np.arange(BINS) * HZ_PER_BIN, 100) / 1000)
    colour = (who.tilt * octave * np.log(10) / 20).astype(np.float32)[:, None]  # these are log magnitudes
    breath = np.float32(who.breath * np.log(10) / 20)
    melody = _melody(curve[frames], who, random)
    return [harmonic + colour, turn, noise + colour + breath, free + colour, phase, melody]


def _rhythm(frames: int, tempo: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Which of the network's frames to play: on average `tempo` a step, now faster, now slower."""
    knots = tempo * np.exp(0.25 * random.standard_normal(5))
    pace = np.interp(np.linspace(0, 4, frames), np.arange(5), knots)  # at each frame
    when = np.cumsum(1 / pace)  # when each frame is over
    return np.searchsorted(when, np.arange(int(when[-1])), side="right").clip(max=frames - 1)


def _resonances(who: DigitVoice, frames: int, random: np.random.Generator) -> NDArray[np.int64]:
    """From which of the network's frequencies each bin of each frame is taken, ``(601, F)``.

    The bend moves a little in the course of a word, as vowels differ between speakers, too.
    """
    hertz, knots = np.arange(BINS) * HZ_PER_BIN, (500, 1500, 2500, 4000)
    first, last = (np.interp(hertz, knots, who.bend + 0.05 * random.standard_normal(4)) for _ in range(2))
    bend = first[:, None] + (last - first)[:, None] * np.linspace(0, 1, frames)
    source = hertz[:, None] / (who.tract * np.exp(bend)) / HZ_PER_BIN
    return np.round(source).astype(np.int64).clip(max=BINS - 1)


def _melody(curve: NDArray[np.float32], who: DigitVoice, random: np.random.Generator) -> NDArray[np.float32]:
    """The pitch curve around the voice's own pitch; unvoiced frames stay at 0."""
    voiced = curve > 40  # Hz; the synthesiser's own threshold
    pitch = who.pitch * np.exp(0.08 * random.standard_normal())
    stretch = who.range * np.exp(0.2 * random.standard_normal())
    drift = np.interp(np.arange(len(curve)), (0, len(curve)), 0.08 * random.standard_normal(2))
    bent = pitch * (curve / np.median(curve[voiced])).clip(0.25, 4) ** stretch * np.exp(drift)
    return np.where(voiced, bent.clip(50, 600), curve).astype(np.float32)


def _trimmed(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the silence at both ends (40 dB under the peak), with 5 ms faded in and out."""
    loud = np.flatnonzero(np.abs(sound) > np.abs(sound).max() / 100)
    margin = RATE // 50
    sound = sound[max(0, loud[0] - margin) : loud[-1] + margin].copy()
    fade = np.linspace(0, 1, RATE // 200, dtype=np.float32)
    sound[: len(fade)] *= fade
    sound[-len(fade) :] *= fade[::-1]
    return sound


RECIPES = {
    kind: Recipe(f"digit_voices_{kind}", partial(_make, kind), minutes, keep=False, versions=("hibari-tts",))
    for kind in KINDS
}
