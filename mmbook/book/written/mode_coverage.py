"""How many of the places where real samples lie have generated ones, beside as many other real samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmbook.evaluate.inputs import finite

Floats = NDArray[np.float64]


class Coverage(NamedTuple):
    """Which of the places where real samples lie have generated ones.

    Attributes:
        covered, floor: how many modes generated samples reach, and as many other real ones.
        modes: how many there are.
        imbalance, imbalance_floor: half the sum of the differences between the modes' shares and those of
            real samples (total variation, 0 to 1), of generated samples, and of as many other real ones.
    """

    covered: int
    floor: int
    modes: int
    imbalance: float
    imbalance_floor: float

    def __str__(self) -> str:
        return (
            f"{self.covered} of {self.modes} modes (real: {self.floor}), "
            f"imbalance {self.imbalance:.3f} (real: {self.imbalance_floor:.3f})"
        )


def mode_coverage(
    real: ArrayLike, generated: ArrayLike, centres: ArrayLike, *, share: float = 0.25, radius: float = np.inf
) -> Coverage:
    """How many modes the generated samples cover, with the real-versus-real floor.

    A sample belongs to the nearest centre; within `radius` of it, or to none. A mode is covered when it gets
    at least `share` of the part of all samples that it gets of real ones.

    Args:
        real: ``(2 n, D)``: the first half says how large each mode is, the second half gives the floor.
        generated: ``(n, D)``.
        centres: ``(K, D)``: known, or found among real samples that are not in `real`.
        share: of its real part that a mode needs in order to count.
        radius: farther away than this a sample belongs to no mode.

    Raises:
        ValueError: shapes that do not fit each other.

    Source: modes by nearest centre, after Richardson and Weiss 2018, https://arxiv.org/abs/1805.12462.
    """
    given = {"real samples": real, "generated samples": generated, "centres": centres}
    x, y, at = (finite(of, name) for name, of in given.items())
    n = len(y)
    if len(x) != 2 * n or n == 0 or not x.shape[1:] == y.shape[1:] == at.shape[1:]:
        raise ValueError(
            f"real has shape {x.shape}, generated {y.shape} and centres {at.shape}; they must be (2 n, D), "
            f"(n, D) and (K, D)"
        )
    wanted, again, found = (_shares(part, at, radius) for part in (x[:n], x[n:], y))
    occupied = wanted > 0
    covered, floor = (int((part >= share * wanted)[occupied].sum()) for part in (found, again))
    return Coverage(covered, floor, int(occupied.sum()), _variation(found, wanted), _variation(again, wanted))


def _shares(x: Floats, centres: Floats, radius: float) -> Floats:
    distances = np.linalg.norm(x[:, None] - centres, axis=-1)  # (N, K)
    near = distances.min(axis=1) <= radius
    return np.bincount(distances.argmin(axis=1)[near], minlength=len(centres)) / len(x)


def _variation(a: Floats, b: Floats) -> float:
    """Total variation between two sets of shares; what is in no mode is one more place."""
    return float((np.abs(a - b).sum() + abs(a.sum() - b.sum())) / 2)
