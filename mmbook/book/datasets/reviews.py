"""Spoken reviews: a sentence, a picture and a voice, whose feelings together decide whether the review is
positive.

The parts are real text, real drawings and synthesised speech. They are put together by the declared table in
`mmbook.book.datasets.joint`, so the best possible accuracy of any subset of the modalities is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mmbook.book.datasets import joint, speech
from mmbook.book.datasets.emoji_drawings import draw, drawings, emoji
from mmbook.book.datasets.joint import FEELINGS, MODALITIES
from mmbook.book.datasets.perception import Perception
from mmbook.book.datasets.post import Post
from mmbook.book.datasets.processors import Processors, check_modality, with_defaults
from mmbook.book.datasets.sentences import sentence_indices, sentences
from mmbook.book.datasets.splits import check_split
from mmbook.seeding import stream

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML
SIZES = {"train": 2000, "valid": 500, "test": 500}

Ints = NDArray[np.int64]


class Reviews(Dataset[dict[str, Any]]):
    """A split of the spoken reviews; row ``i`` is ``{"text", "image", "audio", "labels", "id"}``.

    Each combination of feelings occurs as often as the table expects, to within one post, and so does each
    label. Splits share no sentence, no emoji and no voice, whatever the seed: the seed decides only which of
    a split's parts meet in one post. In a split a sentence occurs once; pictures and recordings repeat, as
    evenly as possible.

    Args:
        split: "train" (2,000 posts), "valid" (500) or "test" (500).
        seed: of the draw. The same seed gives the same posts in every process and on every machine.
        processors: ``{modality: function}`` from a string, a picture or ``(sound, rate)`` to a tensor ``(T,
            ...)``; a modality left out has the default of `mmbook.preprocess`.
        modalities: which of "text", "image" and "audio" a row holds.

    Raises:
        ValueError: an unknown split or modality.
    """

    classes = FEELINGS

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        processors: Processors | None = None,
        modalities: Sequence[str] = MODALITIES,
    ) -> None:
        self.split = check_split(split)
        self.seed = seed
        self.modalities = tuple(check_modality(name) for name in modalities)
        self._given = dict(processors or {})
        for name in self._given:
            check_modality(name)
        self.cells, self.labels = _counts(SIZES[split])
        order = stream("reviews", split, seed, "order").permutation(SIZES[split])
        self.cells, self.labels = self.cells[order], self.labels[order]
        self.feelings: Ints = np.array([cell[:3] for cell in joint.TABLE])[self.cells]

        texts, pictures = sentence_indices(split), drawings(split)
        sounds, spoken = speech.recordings().of_split(split), speech.recordings().feeling
        self._text = self._deal("text", texts, [sentences()[i].feeling for i in texts])
        picked = self._deal("image", range(len(pictures)), [emoji()[i].feeling for i, _ in pictures])
        self._pictures = [pictures[i] for i in picked]
        self._sound = self._deal("audio", sounds, spoken[sounds])

    def _deal(self, modality: str, parts: Sequence[int] | Ints, feeling: Sequence[int] | Ints) -> Ints:
        """For each post a part with its feeling in `modality`; all are used before one is used again."""
        wanted = self.feelings[:, MODALITIES.index(modality)]
        dealt = np.empty(len(wanted), dtype=np.int64)
        for value in (0, 1):
            pool = np.asarray(parts)[np.asarray(feeling) == value]
            random = stream("reviews", self.split, self.seed, modality, value)
            places = np.flatnonzero(wanted == value)
            rounds = [random.permutation(pool) for _ in range(-(-len(places) // len(pool)))]
            dealt[places] = np.concatenate(rounds)[: len(places)]
        return dealt

    @cached_property
    def processors(self) -> dict[str, Callable[[Any], Tensor]]:
        """The function of each modality, the defaults included."""
        return with_defaults(self._given, self.modalities)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]  # IndexError where it should be, and negative indices
        raw = {
            "text": lambda: sentences()[self._text[index]].text,
            "image": lambda: self._picture(index),
            "audio": lambda: (speech.recordings().sound(self._sound[index]), speech.RATE),
        }
        row: dict[str, Any] = {name: self.processors[name](raw[name]()) for name in self.modalities}
        return row | {"labels": int(self.labels[index]), "id": index}

    def _picture(self, index: int) -> Image.Image:
        which, style = self._pictures[index]
        return draw(emoji()[which].code, style)

    def raw(self, index: int) -> Post:
        """Post `index` before any preprocessing."""
        index = range(len(self))[index]
        spoken = speech.recordings()
        sound = int(self._sound[index])
        which, _ = self._pictures[index]
        text, image, audio = (int(feeling) for feeling in self.feelings[index])
        return Post(
            sentence=sentences()[self._text[index]].text,
            picture=self._picture(index),
            picture_name=emoji()[which].name,
            sound=spoken.sound(sound),
            rate=speech.RATE,
            phrase=speech.PHRASES[spoken.phrase[sound]],
            label=int(self.labels[index]),
            feelings=(text, image, audio),
            story=joint.TABLE[self.cells[index]].story,
            sentence_id=int(self._text[index]),
            picture_id=which,
            voice_id=int(spoken.voice[sound]),
        )

    def show(self, index: int) -> HTML:
        """Post `index` as a card: sentence, picture, player, and the answer behind a fold."""
        return self.raw(index).show()

    @property
    def clusters(self) -> dict[str, Ints]:
        """``{"text", "image", "audio"}`` -> ``(N,)``: which sentence, emoji and voice each post is made of.

        Posts that share one are not independent, so intervals resample these as well.
        """
        return {
            "text": self._text,
            "image": np.array([which for which, _ in self._pictures]),
            "audio": speech.recordings().voice[self._sound],
        }

    @property
    def table(self) -> pd.DataFrame:
        """One line for each post, with its parts, their feelings, the story and the label."""
        import pandas as pd

        spoken = speech.recordings()
        columns = {
            "sentence": [sentences()[i].text for i in self._text],
            "picture": [emoji()[i].name for i, _ in self._pictures],
            "style": [style for _, style in self._pictures],
            "voice": self.clusters["audio"],
            "phrase": [speech.PHRASES[i] for i in spoken.phrase[self._sound]],
            **dict(zip(MODALITIES, self.feelings.T, strict=True)),
            "story": [joint.TABLE[cell].story for cell in self.cells],
            "label": self.labels,
        }
        return pd.DataFrame(columns)

    @staticmethod
    def perception(modality: str, split: str = "train", processors: Processors | None = None) -> Perception:
        """The parts of one modality in `split`, each with its own feeling as the label; see `Perception`."""
        return Perception(modality, split, processors)


def _counts(size: int) -> tuple[Ints, Ints]:
    """Cell and label of `size` posts, unshuffled: every count is the table's expectation to within one."""
    cells = np.repeat(
        np.arange(len(joint.TABLE)), _rounded(np.array([cell.share for cell in joint.TABLE]) * size)
    )
    positive = _rounded(np.bincount(cells) * np.array([cell.positive for cell in joint.TABLE]))
    place = np.arange(size) - np.searchsorted(cells, cells)  # of a post among those of its cell
    return cells, (place < positive[cells]).astype(np.int64)


def _rounded(expected: NDArray[np.float64]) -> Ints:
    """Whole numbers with the rounded sum of `expected`, each within one of it (largest remainders first)."""
    down = np.floor(expected + 1e-9).astype(np.int64)
    missing = round(float(expected.sum())) - int(down.sum())
    down[np.argsort(down - expected, kind="stable")[:missing]] += 1
    return down
