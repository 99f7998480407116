"""Requests for a digit, spoken and written, as frozen encoders see them; and pictures paired with them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from mmbook.book.datasets import Digits
from mmbook.book.datasets.spoken_digits import WORDS
from mmbook.book.recipes.digits import digit_listener
from mmbook.encoders import Bert
from mmbook.modality import Modality, collate
from mmbook.preprocess import TextProcessor
from mmbook.seeding import stream

# Ways to ask for a digit in writing; those of "test" are not trained on.
SENTENCES = {
    "train": (
        "a handwritten {}",
        "draw the digit {}",
        "please write the number {}",
        "{}",
        "the numeral {} in pencil",
        "I would like to see a {}",
        "put down {} here",
        "which picture shows {}?",
    ),
    "test": ("show me the figure {}", "someone wrote {} on the board", "can you jot down a {} for me"),
}


@torch.no_grad()
def spoken(split: str, count: int | None = None) -> dict[str, Tensor]:
    """Recordings of ``Digits(split, ("audio",), count)``, in their order, as the listener hears them.

    Returns:
        "features" ``(N, D)``, the mean over the encoder's tokens; "labels" and "heard" ``(N,)``, what was
        said and what the listener takes it for.
    """
    model, data = digit_listener(), Digits(split, ("audio",), count)
    order = np.argsort(
        [len(data[i]["audio"]) for i in range(len(data))]
    )  # batches of like length: less padding
    features, heard = [], []
    for batch in DataLoader(data, 64, sampler=order.tolist(), collate_fn=collate):
        tokens = model.encoders["audio"](Modality(batch["audio"], batch["audio_mask"]))
        features.append(tokens.pooled())
        heard.append(model.head(model.fusion({"audio": tokens})).logits.argmax(dim=1))
    back = torch.from_numpy(np.argsort(order))
    return {
        "features": torch.cat(features)[back],
        "heard": torch.cat(heard)[back],
        "labels": torch.from_numpy(data.labels),
    }


@torch.no_grad()
def written(split: str) -> dict[str, Tensor]:
    """The sentences of a split, each with each digit's word, as MiniLM reads them: "features", "labels"."""
    process, model = TextProcessor(), Bert.minilm()
    asked = [(sentence.format(word), d) for sentence in SENTENCES[split] for d, word in enumerate(WORDS)]
    batch = collate([{"text": process(text)} for text, _ in asked])
    features = model(Modality(batch["text"], batch["text_mask"])).pooled()
    return {"features": features, "labels": torch.tensor([digit for _, digit in asked])}


def paired_up(digits: NDArray[np.int64], requests: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Modality]:
    """For each picture of a digit a request for that digit: spoken, written or both, a third of them each.

    Args:
        digits: ``(N,)`` on the pictures.
        requests: "audio" and "text" -> "features" ``(K, D)`` and "labels" ``(K,)``.

    Returns:
        name -> features ``(N, 1, D)``, with a mask that is False where the picture has no such request.
    """
    which = stream("digit requests", "which").integers(3, size=len(digits))  # of the three
    given = {}
    for name, absent in (("audio", 1), ("text", 2)):
        random, labels = stream("digit requests", name), requests[name]["labels"].numpy()
        chosen = np.zeros(len(digits), dtype=np.int64)
        for digit in range(10):
            places = digits == digit
            chosen[places] = random.choice(np.flatnonzero(labels == digit), size=places.sum())
        mask = torch.from_numpy(which != absent)[:, None]
        given[name] = Modality(requests[name]["features"][chosen][:, None], mask).cleaned()
    return given
