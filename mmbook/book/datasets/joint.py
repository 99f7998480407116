"""The declared joint table of the spoken reviews: how words, face and voice make the label, and what is best
possible.

Three feelings, each negative (0) or positive (1): that of the text, of the image and of the audio. The table
says how often each of the eight combinations occurs, and how often a post with that combination is a positive
review. Since it is known, so is the exact best accuracy of any subset of the modalities: the *ceiling*.

How it was fixed, before any model was trained: by hand, out of round numbers, for four stories that films
give.

- *Agreement*: words, face and voice say the same; half of all posts. Any one of them is enough (redundancy).
- *Words only*: the words are meant, whatever the rest does. Praise through tears; grumbling with a smile or a
  cheerful voice. Only the text knows.
- *Face and voice only*: harsh words with a laughing face and voice are fond mockery. The text misleads.
- *Irony*: nice words while face and voice contradict each other are not meant. A smile speaks for the film
  when the voice is cheerful, and against it when the voice is not: the sign of one modality's evidence
  depends on another, which no sum of the three can express.

In every combination one post in twenty carries the other label, so nothing predicts perfectly. A small search
over tables of this kind showed only which round numbers leave each single modality well short of all three,
also with the misperceptions expected beforehand (0.22 for text, 0.10 for image and for speech).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MODALITIES = ("text", "image", "audio")
FEELINGS = ("negative", "positive")

Floats = NDArray[np.float64]


class Cell(NamedTuple):
    """A combination of feelings, its story, its share of the posts, and P(positive review | feelings)."""

    text: int
    image: int
    audio: int
    story: str
    share: float
    positive: float


class Ceiling(NamedTuple):
    """The best that any predictor can reach: accuracy in [0, 1], and cross-entropy in nats."""

    accuracy: float
    cross_entropy: float


TABLE: tuple[Cell, ...] = (
    #    text image audio
    Cell(0, 0, 0, "agreement", 0.30, 0.05),  # a pan, said with a long face
    Cell(0, 0, 1, "words only", 0.03, 0.05),  # the cheerful voice is only polite
    Cell(0, 1, 0, "words only", 0.03, 0.05),  # the smile is only polite
    Cell(0, 1, 1, "face and voice only", 0.10, 0.95),  # fond mockery: so bad that it is good
    Cell(1, 0, 0, "words only", 0.20, 0.95),  # praise through tears
    Cell(1, 0, 1, "irony", 0.07, 0.05),  # "brilliant", cheerfully, with rolling eyes
    Cell(1, 1, 0, "irony", 0.07, 0.05),  # "brilliant", flatly, with a fixed smile
    Cell(1, 1, 1, "agreement", 0.20, 0.95),  # a rave
)


def joint(table: Sequence[Cell] = TABLE) -> Floats:
    """The distribution as an array ``(2, 2, 2, 2)``: text, image, audio, label; sums to one.

    Raises:
        ValueError: a combination missing or twice, a probability outside [0, 1], shares that do not sum to
        one.
    """
    if sorted(cell[:3] for cell in table) != [(t, f, v) for t in (0, 1) for f in (0, 1) for v in (0, 1)]:
        raise ValueError(
            "the table must have each of the 8 combinations of three feelings, 0 or 1, exactly once"
        )
    p = np.zeros((2, 2, 2, 2))
    for cell in table:
        if not (0 <= cell.share <= 1 and 0 <= cell.positive <= 1):
            raise ValueError(f"{cell} has a probability outside [0, 1]")
        p[cell[:3]] = cell.share * (1 - cell.positive), cell.share * cell.positive
    if not math.isclose(p.sum(), 1, abs_tol=1e-9):
        raise ValueError(f"the shares sum to {p.sum():.6f}; they must sum to 1")
    return p


def confusion(error: float | Floats) -> Floats:
    """A confusion matrix ``(2, 2)``, P(perceived | true) by rows, from itself or from one symmetric error
    rate.

    Raises:
        ValueError: a rate outside [0, 1], or rows that are not distributions.
    """
    if np.ndim(error) == 0:
        rate = float(np.asarray(error))
        error = np.array([[1 - rate, rate], [rate, 1 - rate]])
    matrix = np.asarray(error, dtype=float)
    if matrix.shape != (2, 2) or (matrix < 0).any() or not np.allclose(matrix.sum(1), 1):
        raise ValueError(
            f"the error must be a rate in [0, 1] or a 2 x 2 matrix whose rows sum to 1, not {error!r}"
        )
    return matrix


def perceived(errors: Mapping[str, float | Floats], table: Sequence[Cell] = TABLE) -> Floats:
    """The distribution ``(2, 2, 2, 2)`` of *perceived* feelings and label.

    Each feeling passes through its own confusion matrix, independently of the others and of the label.

    Args:
        errors: modality to error rate or confusion matrix; a modality left out is perceived perfectly.
        table: the declared table.

    Raises:
        ValueError: a name that is no modality, or a wrong error (see `confusion`).
    """
    for name in errors:
        if name not in MODALITIES:
            raise ValueError(f"{name!r} is no modality of the table; these are {', '.join(MODALITIES)}")
    text, image, audio = (confusion(errors.get(name, 0.0)) for name in MODALITIES)
    return np.einsum("tfvy,ta,fb,vc->abcy", joint(table), text, image, audio)


def ceiling(subset: Sequence[str], p: Floats | None = None) -> Ceiling:
    """The exact best score of a predictor that sees the feelings of `subset` only.

    Args:
        subset: names of modalities; empty for none, which gives the majority class.
        p: a distribution from `joint` or `perceived`; None is ``joint()``.

    Raises:
        ValueError: a name that is no modality.
    """
    for name in subset:
        if name not in MODALITIES:
            raise ValueError(f"{name!r} is no modality of the table; these are {', '.join(MODALITIES)}")
    return best_possible(joint() if p is None else p, [MODALITIES.index(name) for name in subset])


def best_possible(p: Floats, seen: Sequence[int]) -> Ceiling:
    """The exact best score of a predictor that sees some of the variables of any table.

    Args:
        p: the distribution, one axis for each variable, the label last; sums to one.
        seen: the axes that the predictor sees; empty for none.
    """
    unseen = tuple(axis for axis in range(p.ndim - 1) if axis not in seen)
    both = p.sum(axis=unseen).reshape(-1, p.shape[-1])
    given = both / np.maximum(both.sum(1, keepdims=True), 1e-300)
    entropy = -(both * np.log(np.where(given > 0, given, 1))).sum()
    return Ceiling(float(both.max(1).sum()), float(entropy))


def ceilings(
    table: Sequence[Cell] = TABLE, errors: Mapping[str, float | Floats] | None = None
) -> dict[tuple[str, ...], Ceiling]:
    """The ceiling of every subset of the modalities, the empty one first, all three last.

    Args:
        table: the declared table.
        errors: how often each feeling is misperceived (see `perceived`); None is perfect perception.
    """
    p = perceived(errors or {}, table)
    subsets = [subset for size in range(4) for subset in combinations(MODALITIES, size)]
    return {subset: ceiling(subset, p) for subset in subsets}
