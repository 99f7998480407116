"""How sure we may be: intervals that know what repeats in the test set, and that seeds differ.

Five hundred posts that share twenty pictures are not five hundred independent draws of a picture. The
interval has to say how the result would vary with other sentences, other pictures, other voices and other
seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its 95 % (or other) interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(
    scores: ArrayLike, clusters: Mapping[str, ArrayLike] | None = None, *, level: float = 0.95
) -> Interval:
    """Confidence interval of a mean score, when samples share pictures, voices and the like.

    The variance is the multiway cluster-robust one: each factor adds the variance between its members, and
    what belongs to several factors at once is counted once. It is what resampling the members of each factor
    would give; resampling all factors in the same draw (the pigeonhole bootstrap) would count the independent
    noise of a sample once too often for each further factor, and give intervals that are too wide. The
    variance between training seeds is added, and the quantile is Student's t with degrees of freedom after
    Satterthwaite (1946), https://doi.org/10.2307/3002019.

    Args:
        scores: ``(S, N)``, one row a training seed, one column a test sample (``(N,)`` is one seed, and then
            says nothing about other seeds; ``(S, 1)`` is one score a seed, such as a mean average precision,
            and then the interval is over seeds alone). For a paired comparison give the difference of two
            methods' scores.
        clusters: factor -> ``(N,)`` of ids, such as ``{"image": ..., "audio": ...}``; None where all samples
            are independent.
        level: of confidence.

    Raises:
        ValueError: ids that do not fit the scores, or a factor with a single member: nothing can be said
            about others.

    Source: Cameron, Gelbach and Miller (2011), *Robust Inference With Multiway Clustering*, Journal of
    Business and Economic Statistics 29(2), https://doi.org/10.1198/jbes.2010.07136.
    """
    from scipy.stats import t

    table = np.atleast_2d(np.asarray(scores, dtype=float))
    seeds, samples = table.shape
    independent = {"sample": np.arange(samples)} if samples > 1 or seeds == 1 else {}
    factors = {name: np.asarray(ids) for name, ids in (clusters or independent).items()}
    for name, ids in factors.items():
        if ids.shape != (samples,):
            raise ValueError(
                f"clusters[{name!r}] has shape {ids.shape}; with {samples} samples it must be ({samples},)"
            )
        if len(np.unique(ids)) < 2:
            raise ValueError(f"all samples share one {name!r}; an interval over it needs at least two")
    mean = table.mean()
    variance, parts = _multiway(table.mean(axis=0) - mean, list(factors.values()))
    freedom = [len(np.unique(ids)) - 1 for ids in factors.values()]
    if seeds > 1:
        parts.append(table.mean(axis=1).var(ddof=1) / seeds)
        freedom.append(seeds - 1)
        variance += parts[-1]
    if variance == 0:
        return Interval(float(mean), float(mean), float(mean))
    # Satterthwaite: a part counts by its size, so five seeds that hardly differ do not widen everything
    df = sum(parts) ** 2 / sum(part**2 / n for part, n in zip(parts, freedom, strict=True))
    half = t.ppf(0.5 + level / 2, df) * np.sqrt(variance)
    return Interval(float(mean), float(mean - half), float(mean + half))


def _multiway(residual: Floats, factors: list[NDArray]) -> tuple[float, list[float]]:
    """Variance of the mean, by inclusion and exclusion over the factors, and the part of each factor alone.

    The sum can come out too small by chance; it is never taken below its largest part.
    """
    total, single = 0.0, []
    for size in range(1, len(factors) + 1):
        for some in combinations(factors, size):
            part = _clustered(residual, np.unique(np.stack(some, axis=1), axis=0, return_inverse=True)[1])
            total += part if size % 2 else -part
            if size == 1:
                single.append(part)
    return max([total, *single]), single


def _clustered(residual: Floats, ids: NDArray) -> float:
    """Variance of the mean when only samples of one cluster depend on each other (small-sample factor)."""
    sums = np.bincount(ids.reshape(-1), weights=residual)
    return float((sums**2).sum() / len(residual) ** 2 * len(sums) / (len(sums) - 1))


def paired(
    ours: ArrayLike,
    theirs: ArrayLike,
    clusters: Mapping[str, ArrayLike] | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean difference between two methods on the same seeds and samples.

    Args:
        ours, theirs: ``(S, N)`` scores, such as 1 where right and 0 where wrong.
        clusters, level: as in `interval`.

    Raises:
        ValueError: scores of different shapes.
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if a.shape != b.shape:
        raise ValueError(
            f"scores have shapes {a.shape} and {b.shape}; a paired comparison needs the same samples"
        )
    return interval(a - b, clusters, level=level)
