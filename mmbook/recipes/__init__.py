"""Recipes: results that several chapters start from, computed once by the rest of the package and kept.

A recipe is keyed by the source code that makes it, so that a stale result is never read.
"""

from mmbook.recipes.clinic import clinic_features
from mmbook.recipes.clips import clip_ladder
from mmbook.recipes.digits import digit_listener
from mmbook.recipes.gaps import filled_gaps
from mmbook.recipes.pictures import DigitPictures, digit_pictures
from mmbook.recipes.reviews import perceiver, pretrained_encoders, review_features
from mmbook.recipes.words import sentence_features, word_vectors

__all__ = [
    "DigitPictures",
    "clinic_features",
    "clip_ladder",
    "digit_listener",
    "digit_pictures",
    "filled_gaps",
    "perceiver",
    "pretrained_encoders",
    "review_features",
    "sentence_features",
    "word_vectors",
]
