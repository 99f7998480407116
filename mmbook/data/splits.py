"""Three splits, and random streams that are a pure function of their name."""

from __future__ import annotations

import hashlib

import numpy as np

SPLITS = ("train", "valid", "test")


def check_split(split: str) -> str:
    """`split` itself.

    Raises:
        ValueError: it is not one of `SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    return split


def digest(*key: object) -> int:
    """A number in [0, 2**64) that depends on `key` only: the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")


def stream(*key: object) -> np.random.Generator:
    """A random generator that depends on `key` only, so that no draw depends on the order of the others."""
    return np.random.default_rng(digest(*key))


def split_of_position(position: int, count: int, train: float, valid: float) -> str:
    """The split of the `position`-th of `count` things in a fixed order, the first share for training."""
    place = (position + 0.5) / count
    return "train" if place < train else "valid" if place < train + valid else "test"
