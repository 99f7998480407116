"""One modality alone, labelled by its own feeling: how well can it be perceived at all?

Used to pretrain the small speech encoder and to measure the misperceptions that the second ceiling takes into
account (`mmbook.book.datasets.joint.ceilings` with ``errors``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mmbook.book.datasets import speech
from mmbook.book.datasets.emoji_drawings import draw, drawings, emoji
from mmbook.book.datasets.joint import FEELINGS
from mmbook.book.datasets.processors import Processors, check_modality, with_defaults
from mmbook.book.datasets.sentences import sentence_indices, sentences
from mmbook.book.datasets.splits import check_split

Ints = NDArray[np.int64]


class Perception(Dataset[dict[str, Any]]):
    """Every sentence, picture or recording of a split; row ``i`` is ``{modality: ..., "labels": feeling,
    "id": i}``.

    Args:
        modality: "text", "image" or "audio".
        split: "train", "valid" or "test", the same as of the reviews.
        processors: as for `mmbook.book.datasets.Reviews`.

    Raises:
        ValueError: an unknown split or modality.
    """

    classes = FEELINGS

    def __init__(self, modality: str, split: str = "train", processors: Processors | None = None) -> None:
        self.modality = check_modality(modality)
        self.split = check_split(split)
        self._processor = with_defaults(processors or {}, [modality])[modality]
        self._pictures = drawings(split) if modality == "image" else []
        if modality == "text":
            self._parts = np.array(sentence_indices(split))
            self.labels: Ints = np.array([sentences()[i].feeling for i in self._parts])
            self.clusters: Ints = self._parts  # which sentence, emoji or voice
        elif modality == "image":
            self._parts = np.arange(len(self._pictures))
            self.labels = np.array([emoji()[i].feeling for i, _ in self._pictures])
            self.clusters = np.array([i for i, _ in self._pictures])
        else:
            self._parts = speech.recordings().of_split(split)
            self.labels = speech.recordings().feeling[self._parts]
            self.clusters = speech.recordings().voice[self._parts]

    def __len__(self) -> int:
        return len(self._parts)

    def raw(self, index: int) -> Any:
        """A sentence, a picture, or ``(sound (T,), rate)``, before any preprocessing."""
        part = int(self._parts[index])
        if self.modality == "text":
            return sentences()[part].text
        if self.modality == "image":
            which, style = self._pictures[part]
            return draw(emoji()[which].code, style)
        return speech.recordings().sound(part), speech.RATE

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        return {
            self.modality: self._processor(self.raw(index)),
            "labels": int(self.labels[index]),
            "id": index,
        }
