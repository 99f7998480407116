"""Recipes: results that several chapters start from, made once by the rest of the package and kept.

A result is used as long as the code that makes it is what it was (`mmbook.book.kept`). ``python -m
mmbook.book.recipes`` makes all of them anew. Names load on first use.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmbook.book.kept import Recipe

# Public names, and the modules they live in.
_HOME = {
    "DigitPictures": "pictures",
    "clinic_features": "clinic",
    "clip_ladder": "clips",
    "digit_listener": "digits",
    "digit_pictures": "pictures",
    "drowned": "balance",
    "few_labels": "labels",
    "filled_gaps": "gaps",
    "fine_tuned": "transfer",
    "perceiver": "reviews",
    "pretrained_encoders": "reviews",
    "review_features": "reviews",
    "scene_answers": "scenes",
    "sentence_features": "words",
    "shared_tasks": "tasks",
    "word_vectors": "words",
}

__all__ = [
    "DigitPictures",
    "clinic_features",
    "clip_ladder",
    "declared",
    "digit_listener",
    "digit_pictures",
    "drowned",
    "few_labels",
    "filled_gaps",
    "fine_tuned",
    "perceiver",
    "pretrained_encoders",
    "review_features",
    "scene_answers",
    "sentence_features",
    "shared_tasks",
    "word_vectors",
]


def declared() -> dict[str, Recipe]:
    """Every recipe by name: those of the modules here, and the made voices of the datasets that they use."""
    from mmbook.book.kept import RECIPES

    for module in pkgutil.iter_modules(__path__):
        if module.name != "__main__":
            importlib.import_module(f"mmbook.book.recipes.{module.name}")
    return dict(RECIPES)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"mmbook.book.recipes.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mmbook.book.recipes' has no attribute {name!r}")
