"""What sources say about a label, in bits: alone, together, and divided by who knows what.

A distribution is an array with one axis for each source and the label on the last axis; it sums to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Decomposition(NamedTuple):
    """The information of two sources about a label, in four parts that sum to the whole, in bits.

    Attributes:
        redundancy: what either source says by itself.
        unique_first: what only the first one says.
        unique_second: what only the second one says.
        synergy: what neither says, but both together do.
    """

    redundancy: float
    unique_first: float
    unique_second: float
    synergy: float


def entropy(p: Floats) -> float:
    """Entropy of a distribution of any shape, in bits."""
    p = np.asarray(p, dtype=float)
    return float(-(p * np.log2(np.where(p > 0, p, 1))).sum())


def mutual_information(p: Floats, seen: Sequence[int] | None = None) -> float:
    """What the sources on the axes `seen` (all, where not given) say together about the label, in bits.

    Raises:
        ValueError: not a distribution with at least one source; an axis that is no source.
    """
    p = _checked(p)
    sources = range(p.ndim - 1)
    seen = list(sources) if seen is None else list(seen)
    if not set(seen) <= set(sources):
        raise ValueError(f"seen is {seen}; the axes of the sources are 0 to {p.ndim - 2}")
    both = p.sum(axis=tuple(axis for axis in sources if axis not in seen))
    label = both.sum(axis=tuple(range(both.ndim - 1)))
    return entropy(both.sum(axis=-1)) + entropy(label) - entropy(both)


def co_information(p: Floats) -> float:
    """What all sources and the label share, in bits; below zero where synergy outweighs redundancy.

    The alternating sum ``sum over subsets S of (-1)^(|S| + 1) I(X_S; Y)``. For two sources it is redundancy
    less synergy, for one it is the mutual information.

    Raises:
        ValueError: not a distribution with at least one source.

    Source: McGill (1954), *Multivariate information transmission*, Psychometrika 19,
    https://doi.org/10.1007/BF02289159; Bell (2003), *The co-information lattice*.
    """
    sources = range(_checked(p).ndim - 1)
    return sum(
        (-1) ** (size + 1) * mutual_information(p, subset)
        for size in range(1, len(sources) + 1)
        for subset in combinations(sources, size)
    )


def partial_information(p: Floats) -> Decomposition:
    """Divide what two sources say about a label into redundancy, unique parts and synergy (BROJA).

    What the sources say one by one depends only on the pairs of marginals P(x1, y) and P(x2, y). So does, by
    definition, what is redundant or unique; synergy is what the joint distribution adds to the most ignorant
    one with the same marginals. That one is found by convex optimisation.

    Args:
        p: ``(K1, K2, C)``: first source, second source, label.

    Raises:
        ValueError: not a distribution of two sources and a label.

    Source: Bertschinger, Rauh, Olbrich, Jost and Ay (2014), *Quantifying Unique Information*, Entropy 16,
    https://doi.org/10.3390/e16042161.
    """
    p = _checked(p)
    if p.ndim != 3:
        raise ValueError(
            f"the distribution has shape {p.shape}; the decomposition is for two sources and a label, "
            f"(K1, K2, C). For more sources use mutual_information of each subset and co_information"
        )
    first, second, both = (mutual_information(p, seen) for seen in ([0], [1], [0, 1]))
    least = mutual_information(_most_ignorant(p))
    parts = first + second - least, least - second, least - first, both - least
    return Decomposition(*(max(0.0, part) for part in parts))  # the optimum is exact to rounding only


def _most_ignorant(p: Floats, gap: float = 1e-8) -> Floats:
    """Of all q with p's marginals (x1, y) and (x2, y), the one with the least information about y.

    Minimises ``f(q) = -H(Y | X1, X2)`` by Newton's method with a logarithmic barrier at ``q > 0``, whose
    weight falls until the result is within `gap` nats of the best (Boyd and Vandenberghe 2004, *Convex
    Optimization*, chapters 10 and 11, https://web.stanford.edu/~boyd/cvxbook/).
    """
    label = p.sum((0, 1))
    q0 = p.sum(1)[:, None] * p.sum(0)[None] / np.where(label > 0, label, 1)  # no interaction within a label
    x1, x2, y = cells = np.nonzero(q0)  # everything else is zero in every q
    pair = _one_hot(x1 * p.shape[1] + x2)  # (cells, pairs of symbols)
    fixed = np.concatenate([_one_hot(x * p.shape[2] + y) for x in (x1, x2)], axis=1)  # the marginals
    q, sharpness = q0[cells], 1.0
    while len(q) / sharpness > gap:
        sharpness *= 10
        for _ in range(50):
            step, decrease = _newton(q, sharpness, pair, fixed)
            if decrease < 1e-6:
                break
            # damped, for a self-concordant function: stays at q > 0; full steps once it is near
            q = q + step / (1 + np.sqrt(decrease)) if decrease > 0.05 else q + step
    out = np.zeros_like(p)
    out[cells] = q
    return out


def _newton(q: Floats, sharpness: float, pair: Floats, fixed: Floats) -> tuple[Floats, float]:
    """The step to the minimum of the quadratic model of ``sharpness f(q) - sum log q`` that leaves the
    marginals alone, and twice the decrease that the model promises.

    The curvature is diagonal but for one rank within each pair of symbols, so its inverse is written down.
    """
    of_pair = pair.T @ q
    gradient = sharpness * np.log(q / (pair @ of_pair)) - 1 / q
    w = q**2 / (sharpness * q + 1)  # inverse of the diagonal
    k = sharpness / (pair.T @ (q / (sharpness * q + 1)))  # Sherman and Morrison, one for each pair
    right = np.concatenate([fixed, gradient[:, None]], axis=1)
    solved = w[:, None] * (right + pair @ (k[:, None] * (pair.T @ (w[:, None] * right))))
    price = np.linalg.lstsq(fixed.T @ solved[:, :-1], fixed.T @ solved[:, -1], rcond=1e-13)[0]
    step = solved[:, :-1] @ price - solved[:, -1]
    return step, float(-gradient @ step)


def _one_hot(ids: NDArray[np.int64]) -> Floats:
    """``(N, number of different ids)``."""
    return (ids[:, None] == np.unique(ids)).astype(float)


def _checked(p: Floats) -> Floats:
    p = np.asarray(p, dtype=float)
    if p.ndim < 2 or (p < 0).any() or not np.isclose(p.sum(), 1):
        raise ValueError(
            f"a distribution of shape {p.shape} that sums to {p.sum():.6g}, least entry {p.min():.3g}, was "
            f"given; it needs an axis for each source and one for the label, no entry below 0, and sum 1"
        )
    return p
