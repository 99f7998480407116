"""Random draws that are a pure function of a name: the same in every process and on every machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def digest(*key: object) -> int:
    """A number in [0, 2**64) that depends on `key` only: the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")


def stream(*key: object) -> np.random.Generator:
    """A random generator that depends on `key` only, so that no draw depends on the order of the others."""
    return np.random.default_rng(digest(*key))


@contextmanager
def seeded(*key: object) -> Iterator[None]:
    """Make what torch (on the CPU), numpy and `random` draw inside depend on `key` only.

    Afterwards all three go on where they were before.
    """
    with states_kept():
        reseed(digest(*key))
        yield


def reseed(number: int) -> None:
    """Start the global generators of torch (on the CPU), numpy and `random` anew."""
    import torch

    torch.default_generator.manual_seed(number % 2**64)  # not torch.manual_seed, which seeds the GPUs, too
    np.random.seed(number % 2**32)  # noqa: NPY002
    random.seed(number)


@contextmanager
def states_kept() -> Iterator[None]:
    """Have those three go on afterwards where they were before."""
    import torch

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
