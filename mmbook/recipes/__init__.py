"""Recipes: results that several chapters start from, computed once by the rest of the package and kept.

A recipe is keyed by the source code that makes it, so that a stale result is never read.
"""

from mmbook.recipes.reviews import perceiver, pretrained_encoders, review_features

__all__ = ["perceiver", "pretrained_encoders", "review_features"]
