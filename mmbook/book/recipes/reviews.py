"""The spoken reviews as their perceivers' encoders see them: made once and kept."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

from mmbook.book.datasets import Reviews
from mmbook.book.datasets.joint import MODALITIES
from mmbook.book.kept import Recipe
from mmbook.book.recipes.perceivers import perceiver, pretrained_encoders
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.modality import Modality
from mmbook.models import encode_dataset

SPLITS = ("train", "valid", "test")


def review_features(seed: int = 0) -> dict[str, ArrayDataset]:
    """The spoken reviews as `pretrained_encoders` see them: one vector a modality.

    Args:
        seed: of the reviews; the features of seed 0 are kept.

    Returns:
        "train", "valid", "test" -> dataset with "text", "image" and "audio" (16 numbers each), in the order
        of ``Reviews(split, seed)``.
    """
    found = _recipe(seed).tensors()
    return {s: from_arrays({n: found[f"{s}/{n}"] for n in MODALITIES}, found[f"{s}/labels"]) for s in SPLITS}


def _encode(seed: int) -> dict[str, Tensor]:
    encoders = pretrained_encoders()
    made = {split: encode_dataset(encoders, Reviews(split, seed)) for split in SPLITS}
    tensors = {f"{s}/{n}": a for s, data in made.items() for n, a in data.arrays.items()}
    return tensors | {f"{s}/labels": data.labels for s, data in made.items()}


@torch.no_grad()
def _scores(seed: int, found: dict[str, Tensor]) -> dict[str, float]:
    """How often each perceiver, given its features, tells the feeling of that part of a test post."""
    scores = {}
    feelings = torch.from_numpy(Reviews("test", seed).feelings)
    for column, name in enumerate(MODALITIES):
        model, x = perceiver(name), found[f"test/{name}"]
        seen = {name: Modality(x, torch.ones(x.shape[:2], dtype=torch.bool))}
        right = model.head(model.fusion(seen)).logits.argmax(dim=1) == feelings[:, column]
        scores[name] = right.double().mean().item()
    return scores


@cache
def _recipe(seed: int) -> Recipe:
    make, score = partial(_encode, seed), partial(_scores, seed)
    return Recipe(f"review_features_{seed}", make, score, keep=seed == 0)


_recipe(0)  # the one that is kept
