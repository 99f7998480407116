"""A made-up clinic: a report sentence, a chest X-ray and a dictated sentence, paired by class only.

**Never for clinical use.** The X-rays are children's, from China; the sentences were written about adults in
Indiana; the dictation is synthesised. No row is a patient: its three parts share the class and nothing else.
So the label is right for each part by itself, and given the class the parts are independent *by construction*
(but for one exclusion: no row dictates the sentence that it shows). With real patients they would not be: one
radiologist looks, writes and dictates. What follows from it is the reason why the book uses such data once:
Bayes' rule with a plain sum of log-odds is here not an assumption but the truth.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mmbook.book.datasets import report_sentences as reports
from mmbook.book.datasets import xrays
from mmbook.book.datasets.dictation import dictation
from mmbook.book.datasets.speech import RATE
from mmbook.book.datasets.splits import check_split
from mmbook.seeding import stream

if TYPE_CHECKING:
    from IPython.display import HTML

MODALITIES = ("text", "image", "audio")
SIZES = {"train": 800, "valid": 200, "test": 400}
NOTICE = "Paired by class only, dictation synthesised: no such patient exists. Never for clinical use."

Ints = NDArray[np.int64]


class Case(NamedTuple):
    """One row as a person meets it."""

    sentence: str  # of a report, as published
    picture: Image.Image  # an X-ray, RGB with equal channels, 224 x 224
    sound: NDArray[np.float32]  # (T,) in [-1, 1]
    rate: int  # Hz
    dictated: str  # what the voice says: another sentence of the same class
    label: int  # 0 normal, 1 pneumonia


def labels_of(split: str, seed: int = 0) -> Ints:
    """The labels ``(N,)`` of a split, half of each class; see `Clinic`."""
    return stream("clinic", split, seed, "labels").permutation(np.arange(SIZES[check_split(split)]) % 2)


class Clinic(Dataset[dict[str, Any]]):
    """A split of the made-up clinic; row ``i`` is ``{"text", "image", "audio", "labels", "id"}``.

    **Never for clinical use**: children's X-rays (real), sentences of adults' reports (real) and dictation
    (synthesised; another sentence of the same class, never the one in ``"text"``) are paired by class only.
    Half of the rows are normal, half pneumonia. Splits share no picture, no patient as far as file names
    tell, no sentence, no report and no voice, whatever the seed: it decides only what meets in one row. No
    part of a class is used again before all of the split have been.

    Args:
        split: "train" (800 rows), "valid" (200) or "test" (400).
        seed: of the draw. The same seed gives the same rows in every process and on every machine.
        modalities: which of "text", "image" and "audio" a row holds; the others are not loaded.
        processors: ``{modality: function}`` from a string, a picture or ``(sound, rate)`` to a tensor ``(T,
            ...)``; a modality left out has the default of `mmbook.preprocess`, pictures at 224 pixels.

    Raises:
        ValueError: an unknown split or modality.

    Source: X-rays, Kermany et al. (2018), https://doi.org/10.1016/j.cell.2018.02.010; reports, Demner-Fushman
    et al. (2016), https://doi.org/10.1093/jamia/ocv080.
    """

    classes = ("normal", "pneumonia")

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        modalities: Sequence[str] = MODALITIES,
        processors: Mapping[str, Callable[[Any], Tensor]] | None = None,
    ) -> None:
        self.split, self.seed = check_split(split), seed
        self.modalities, self._given = tuple(modalities), dict(processors or {})
        for name in (*self.modalities, *self._given):
            if name not in MODALITIES:
                raise ValueError(f"modality is {name!r}; it must be one of {', '.join(MODALITIES)}")
        self.labels = labels_of(split, seed)
        pictures = xrays.xray_indices(split)
        self._image = self._deal("image", pictures, [xrays.xrays()[i].label for i in pictures])
        sentences = reports.report_indices(split)
        said = [reports.report_sentences()[i].label for i in sentences]
        self._text, self._audio = (self._deal(name, sentences, said) for name in ("text", "audio"))
        self._part_from(self._text)
        self._recording = np.searchsorted(sentences, self._audio)  # its place in the split's dictation

    def _deal(self, modality: str, parts: Sequence[int], labels: Sequence[int]) -> Ints:
        """For each row a part of its class; all are used before one is used again."""
        dealt = np.empty(len(self.labels), dtype=np.int64)
        for label in (0, 1):
            pool = np.asarray(parts)[np.asarray(labels) == label]
            places = np.flatnonzero(self.labels == label)
            random = stream("clinic", self.split, self.seed, modality, label)
            rounds = [random.permutation(pool) for _ in range(-(-len(places) // len(pool)))]
            dealt[places] = np.concatenate(rounds)[: len(places)]
        return dealt

    def _part_from(self, text: Ints) -> None:
        """Where a row would dictate its own sentence, it exchanges dictations with the next of its class."""
        for label in (0, 1):
            places = np.flatnonzero(self.labels == label)
            for k in range(len(places)):
                others = iter(np.roll(places, -k)[1:])
                here = places[k]
                while self._audio[here] == text[here]:
                    other = next(others)
                    if self._audio[here] != text[other] and self._audio[other] != text[here]:
                        self._audio[[here, other]] = self._audio[[other, here]]

    @cached_property
    def processors(self) -> dict[str, Callable[[Any], Tensor]]:
        """The function of each modality, the defaults included."""
        from mmbook import preprocess

        defaults: dict[str, Callable[[], Callable[[Any], Tensor]]] = {
            "text": preprocess.TextProcessor,
            "image": lambda: preprocess.ImageProcessor(224),
            "audio": preprocess.AudioProcessor,
        }
        return {n: self._given[n] if n in self._given else defaults[n]() for n in self.modalities}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]  # IndexError where it should be, and negative indices
        raw: dict[str, Callable[[], Any]] = {
            "text": lambda: reports.report_sentences()[self._text[index]].text,
            "image": lambda: xrays.picture(self._image[index]),
            "audio": lambda: (self._sound(index), RATE),
        }
        row: dict[str, Any] = {name: self.processors[name](raw[name]()) for name in self.modalities}
        return row | {"labels": int(self.labels[index]), "id": index}

    def _sound(self, index: int) -> NDArray[np.float32]:
        return dictation(self.split).sound(int(self._recording[index]))

    def raw(self, index: int) -> Case:
        """Row `index` before any preprocessing."""
        index = range(len(self))[index]
        return Case(
            sentence=reports.report_sentences()[self._text[index]].text,
            picture=xrays.picture(self._image[index]),
            sound=self._sound(index),
            rate=RATE,
            dictated=reports.report_sentences()[self._audio[index]].text,
            label=int(self.labels[index]),
        )

    def show(self, index: int) -> HTML:
        """Row `index`: sentence, X-ray, player, the notice, and the answer behind a fold."""
        import soundfile
        from IPython.display import HTML

        case, picture, sound = self.raw(index), io.BytesIO(), io.BytesIO()
        case.picture.convert("L").save(picture, "JPEG", quality=85)
        soundfile.write(sound, case.sound, case.rate, format="WAV", subtype="PCM_16")
        style = "border:1px solid currentColor;border-radius:8px;padding:12px;margin:8px 0;max-width:40rem"
        return HTML(
            f'<div style="{style};display:flex;flex-wrap:wrap;gap:12px;align-items:center">'
            f'<img src="data:image/jpeg;base64,{_text(picture)}" alt="a child\'s chest X-ray" width="160" '
            f'height="160" style="border-radius:6px"><div style="flex:1 1 14rem;min-width:0">'
            f'<p style="margin:0 0 8px">{escape(case.sentence)}</p>'
            f'<audio controls preload="metadata" style="width:100%;max-width:20rem" aria-label="A voice '
            f'dictates a sentence" src="data:audio/wav;base64,{_text(sound)}"></audio>'
            f'<p style="margin:8px 0 0"><small>{NOTICE}</small></p>'
            f"<details><summary>Which class?</summary>{self.classes[case.label]}; the voice says: "
            f"{escape(case.dictated)}</details></div></div>"
        )

    @property
    def clusters(self) -> dict[str, Ints]:
        """``{"text", "patient", "audio", "voice"}`` -> ``(N,)``: what rows may share, for intervals."""
        names = [xrays.xrays()[i].patient for i in self._image]
        return {
            "text": self._text,
            "patient": np.unique(names, return_inverse=True)[1],
            "audio": self._audio,
            "voice": dictation(self.split).voice[self._recording],
        }


def _text(file: io.BytesIO) -> str:
    return base64.b64encode(file.getvalue()).decode("ascii")
