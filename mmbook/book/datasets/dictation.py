"""Report sentences read aloud by the synthesiser, one voice to a sentence: made on demand, kept in the cache.

The voice is hibari's under the settings of `mmbook.book.datasets.speech`, without a feeling: each sentence
of a split is given one of the split's voices by its letters, so no voice is in two splits. Nobody dictated
anything.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbook.book.datasets import report_sentences as reports
from mmbook.book.datasets.speech import RATE, SPEEDS, VOICES, minutes, stored
from mmbook.book.datasets.splits import SPLITS, check_split
from mmbook.book.kept import Recipe
from mmbook.seeding import digest, stream

LEVEL = -26.0  # dB RMS below full scale


class Dictation(NamedTuple):
    """All sentences of one split, read aloud, in the order of ``report_indices(split)``."""

    samples: NDArray[np.int16]  # one after the other
    ends: NDArray[np.int64]  # (N,) where each ends in `samples`
    voice: NDArray[np.int64]  # (N,) index into `mmbook.book.datasets.speech.VOICES`

    def sound(self, index: int) -> NDArray[np.float32]:
        """Sentence `index` of the split, ``(T,)`` float32 in [-1, 1] at 16 kHz."""
        start = self.ends[index - 1] if index else 0
        return self.samples[start : self.ends[index]].astype(np.float32) / np.float32(32768)


@cache
def dictation(split: str) -> Dictation:
    """The recordings of `split`, made at the first call (some 20 a second) and kept in the cache.

    Raises:
        ValueError: an unknown split.
    """
    found = RECIPES[check_split(split)].tensors()
    return Dictation(**{name: array.numpy() for name, array in found.items()})


def _make(split: str) -> dict[str, Tensor]:
    from hibari import Hibari

    synthesiser = Hibari()
    texts = [reports.report_sentences()[i].text for i in reports.report_indices(split)]
    cast = [i for i, voice in enumerate(VOICES) if voice.split == split]
    voices = [cast[digest("dictation voice", text) % len(cast)] for text in texts]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the filters are so short that waking a second thread costs more than it does
    try:
        sounds = [_record(synthesiser, *pair) for pair in zip(texts, voices, strict=True)]
    finally:
        torch.set_num_threads(threads)
    return stored(sounds) | {"voice": torch.tensor(voices)}


def _record(synthesiser: Any, text: str, voice: int) -> NDArray[np.float32]:
    """One recording, ``(T,)`` at `RATE`; a pure function of its text and voice."""
    from hibari import dsp
    from torchaudio import functional as F

    random, who = stream("dictation", text, voice), VOICES[voice]
    # Read at a rate `tract` times higher, the sound is that much shorter and higher: ask for the opposite
    # before.
    speed = SPEEDS[np.abs(SPEEDS - who.tempo / who.tract).argmin()]
    ids = synthesiser.ids(synthesiser.phonemize(text)[0])
    feed = {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)}
    *spectrum, curve = (part[0] for part in synthesiser.sess.run(None, feed))
    voiced = curve > 40  # Hz; the synthesiser's own threshold
    bent = who.pitch / who.tract * (curve / np.median(curve[voiced])).clip(0.25, 4) ** who.range
    melody = np.where(voiced, bent.clip(50, 600), curve).astype(np.float32)
    sound = torch.from_numpy(dsp.synth(*spectrum, melody, random))
    sound = F.resample(sound, round(48 * who.tract) * 500, RATE)  # multiples of 500 Hz keep the filter short
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
        ahead=split == "test",  # pages play sentences of this split only
        versions=("hibari-tts",),
    )
    for split in SPLITS
}
