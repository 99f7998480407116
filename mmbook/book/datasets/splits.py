"""Three splits, and who belongs to which."""

from __future__ import annotations

SPLITS = ("train", "valid", "test")


def check_split(split: str) -> str:
    """`split` itself.

    Raises:
        ValueError: it is not one of `SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    return split


def split_of_position(position: int, count: int, train: float, valid: float) -> str:
    """The split of the `position`-th of `count` things in a fixed order, the first share for training."""
    place = (position + 0.5) / count
    return "train" if place < train else "valid" if place < train + valid else "test"
