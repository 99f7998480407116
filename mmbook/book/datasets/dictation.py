"""Report sentences read aloud by the synthesiser, one voice to a sentence: made when first asked for.

The voice is hibari's under the settings of `mmbook.book.datasets.speech`, without a feeling: each sentence
of a split is given one of the split's voices by its letters, so no voice is in two splits. Nobody dictated
anything.
"""

from __future__ import annotations

from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbook.book.datasets import report_sentences as reports
from mmbook.book.datasets.speech import (
    RATE,
    SPEEDS,
    VOICES,
    Sounds,
    Wave,
    made,
    minutes,
    resampler,
    spectrum,
    stored,
    synthesiser,
)
from mmbook.book.datasets.splits import SPLITS, check_split
from mmbook.book.kept import Recipe
from mmbook.seeding import digest, stream

LEVEL = -26.0  # dB RMS below full scale


class Dictation(NamedTuple):
    """All sentences of one split, read aloud, in the order of ``report_indices(split)``."""

    sounds: Sounds
    voice: NDArray[np.int64]  # (N,) index into `mmbook.book.datasets.speech.VOICES`

    def sound(self, index: int) -> NDArray[np.float32]:
        """Sentence `index` of the split, ``(T,)`` float32 in [-1, 1] at 16 kHz."""
        return self.sounds[index]


@cache
def dictation(split: str) -> Dictation:
    """The recordings of `split`; a sound is made when it is asked for, some 20 a second.

    Raises:
        ValueError: an unknown split.
    """
    voices = np.array([voice for _, voice in _parts(check_split(split))])
    return Dictation(Sounds(RECIPES[split], partial(_record, split)), voices)


@cache
def _parts(split: str) -> list[tuple[str, int]]:
    """Text and voice of each recording."""
    texts = [reports.report_sentences()[i].text for i in reports.report_indices(split)]
    cast = [i for i, voice in enumerate(VOICES) if voice.split == split]
    return [(text, cast[digest("dictation voice", text) % len(cast)]) for text in texts]


def _make(split: str) -> dict[str, Tensor]:
    return stored(made(partial(_record, split), range(len(_parts(split)))))


def _record(split: str, number: int) -> Wave:
    """One recording, ``(T,)`` at `RATE`; a pure function of its text and voice."""
    from hibari import dsp
    from torchaudio import functional as F

    text, voice = _parts(split)[number]
    random, who = stream("dictation", text, voice), VOICES[voice]
    # Read at a rate `tract` times higher, the sound is that much shorter and higher: ask for the opposite
    # before.
    speed = SPEEDS[np.abs(SPEEDS - who.tempo / who.tract).argmin()]
    *parts, curve = spectrum(synthesiser().phonemize(text)[0], speed)
    voiced = curve > 40  # Hz; the synthesiser's own threshold
    bent = who.pitch / who.tract * (curve / np.median(curve[voiced])).clip(0.25, 4) ** who.range
    melody = np.where(voiced, bent.clip(50, 600), curve).astype(np.float32)
    sound = torch.from_numpy(dsp.synth(*parts, melody, random))
    sound = resampler(round(48 * who.tract) * 500)(sound)  # multiples of 500 Hz keep the filter short
    wave = F.highpass_biquad(F.treble_biquad(sound, RATE, who.tilt), RATE, 60).numpy()
    loud = np.flatnonzero(np.abs(wave) > np.abs(wave).max() / 100)  # no silence at the ends
    wave = wave[loud[0] : loud[-1] + 1]
    gain = 10 ** (LEVEL / 20) / np.sqrt(np.mean(wave**2))
    return wave * np.float32(min(gain, 0.98 / np.abs(wave).max()))


RECIPES = {
    split: Recipe(
        f"dictation_{split}",
        partial(_make, split),
        minutes,
        keep=False,
        ahead=False,
        versions=("hibari-tts",),
    )
    for split in SPLITS
}
