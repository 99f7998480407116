"""Recipes: results that several chapters start from, computed once by the rest of the package and kept.

A recipe is keyed by the source code that makes it, so that a stale result is never read.
"""

from mmbook.book.recipes.balance import drowned
from mmbook.book.recipes.clinic import clinic_features
from mmbook.book.recipes.clips import clip_ladder
from mmbook.book.recipes.digits import digit_listener
from mmbook.book.recipes.gaps import filled_gaps
from mmbook.book.recipes.labels import few_labels
from mmbook.book.recipes.pictures import DigitPictures, digit_pictures
from mmbook.book.recipes.reviews import perceiver, pretrained_encoders, review_features
from mmbook.book.recipes.scenes import scene_answers
from mmbook.book.recipes.tasks import shared_tasks
from mmbook.book.recipes.transfer import fine_tuned
from mmbook.book.recipes.words import sentence_features, word_vectors

__all__ = [
    "DigitPictures",
    "clinic_features",
    "clip_ladder",
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
