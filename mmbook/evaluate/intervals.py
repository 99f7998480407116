"""How sure we may be: intervals that resample seeds and, beside them, everything that repeats in the test set.

Five hundred posts that share thirty pictures are not five hundred independent draws of a picture. The interval has to
ask what would have happened with other sentences, other pictures and other voices, so it resamples each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """An estimate with its 95 % (or other) interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    scores: ArrayLike,
    clusters: Mapping[str, ArrayLike] | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a mean, by the pigeonhole bootstrap.

    Each draw resamples the seeds and, independently of each other, the members of every cluster factor; a sample
    counts as often as the product of its factors' multiplicities. Without clusters the samples are resampled.

    Args:
        scores: ``(S, N)``, one row a training seed, one column a test sample (``(N,)`` is one seed). For a paired
            comparison give the difference of two methods' scores.
        clusters: factor -> ``(N,)`` of ids, such as ``{"sentence": ..., "picture": ..., "voice": ...}``.

    Source: Owen (2007), *The pigeonhole bootstrap*, Annals of Applied Statistics 1(2),
    https://doi.org/10.1214/07-AOAS122.
    """
    table = np.atleast_2d(np.asarray(scores, dtype=float))
    seeds, samples = table.shape
    factors = {name: np.asarray(ids) for name, ids in (clusters or {"sample": np.arange(samples)}).items()}
    for name, ids in factors.items():
        if ids.shape != (samples,):
            raise ValueError(
                f"clusters[{name!r}] has shape {ids.shape}; with {samples} samples it must be ({samples},)"
            )
    rng = np.random.default_rng(seed)
    codes = [np.unique(ids, return_inverse=True)[1] for ids in factors.values()]
    means = np.empty(draws)
    for d in range(draws):
        weight = np.ones(samples)
        for code in codes:
            size = code.max() + 1
            weight *= np.bincount(rng.integers(size, size=size), minlength=size)[code]
        rows = table[rng.integers(seeds, size=seeds)].mean(axis=0)
        # a draw that happens to leave nothing (few clusters) says nothing about the mean: keep the estimate
        means[d] = np.average(rows, weights=weight) if weight.any() else table.mean()
    tail = 50 * (1 - level)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(table.mean()), float(low), float(high))


def paired(
    ours: ArrayLike, theirs: ArrayLike, clusters: Mapping[str, ArrayLike] | None = None, **options: float
) -> Interval:
    """Interval of the mean difference between two methods on the same seeds and samples.

    Args:
        ours, theirs: ``(S, N)`` scores, such as 1 where right and 0 where wrong.
        clusters, options: as in `bootstrap`.
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if a.shape != b.shape:
        raise ValueError(
            f"scores have shapes {a.shape} and {b.shape}; a paired comparison needs the same samples"
        )
    return bootstrap(a - b, clusters, **options)  # type: ignore[arg-type]
