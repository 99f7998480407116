"""Random draws that are a pure function of a name: the same in every process and on every machine."""

from __future__ import annotations

import hashlib

import numpy as np


def digest(*key: object) -> int:
    """A number in [0, 2**64) that depends on `key` only: the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")


def stream(*key: object) -> np.random.Generator:
    """A random generator that depends on `key` only, so that no draw depends on the order of the others."""
    return np.random.default_rng(digest(*key))
