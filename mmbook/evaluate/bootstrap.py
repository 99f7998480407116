"""Intervals for what is no mean over samples: AUROC, F1, a correlation, ECE. Resampled, not derived.

For a mean, such as accuracy, use `mmbook.evaluate.interval`: it knows several factors at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mmbook.evaluate.inputs import defined, finite
from mmbook.evaluate.intervals import Interval, clopper_pearson

Floats = NDArray[np.float64]
Statistic = Callable[[Any, Any], float]
FINE = 10_000  # quantiles to which the luck of the seeds is added
BLOCKS = 40  # of samples left out in turn, for the acceleration


def bootstrap(
    statistic: Statistic,
    answers: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    clusters: ArrayLike | None = None,
    *,
    bounds: tuple[float, float] | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Confidence interval of a statistic, when samples share a picture or a speaker, and seeds differ.

    Whole clusters are drawn with replacement and the statistic is computed anew; the interval is bias
    corrected and accelerated (BCa), which a skewed statistic near its bound needs. The estimate is the mean
    over the training seeds. All seeds see the same draw of samples; to each draw is added how a mean over
    this many seeds may be off, from Student's t: resampling five seeds would give too narrow an interval,
    since their spread is divided by 5 and not by 4, and five say little of the spread itself.

    Resampling cannot show what is not among the samples: where ten of ten are ranked rightly, they are in
    every draw. Where all draws give one value, the interval reaches from it as far as that of Clopper and
    Pearson does from a share of 0 or 1: for AUROC = 1 to 0.692, where the rarer class has 10 clusters.

    Args:
        statistic: ``(answers (N, ...), labels (N, ...)) -> float``, such as `auroc`. NaN where it is not
            defined; it gets whatever kind (tensor or array) was given.
        answers: ``(S, N, ...)``, one entry a training seed: logits, or numbers. One seed: ``(1, N, ...)``.
        labels: ``(N, ...)``.
        clusters: ``(N,)`` ids; None where all samples are independent.
        bounds: least and greatest value that the statistic can have, such as (0, 1): the ends stay within.
        draws: resamples.
        seed: of the resampling.
        level: of confidence.

    Raises:
        ValueError: shapes that do not fit, fewer than two clusters, a statistic that is not defined on the
            samples themselves or on more than 5 % of the draws, or one that is the same in all draws and has
            no bounds.

    Source: Efron (1987), *Better Bootstrap Confidence Intervals*, https://doi.org/10.2307/2289144.
    """
    return resampled(statistic, answers, labels, clusters, bounds, draws=draws, seed=seed).interval(level)


def bootstrap_paired(
    statistic: Statistic,
    ours: ArrayLike | Tensor,
    theirs: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    clusters: ArrayLike | None = None,
    *,
    bounds: tuple[float, float] | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the difference between two methods in a statistic, both on the same draws.

    Args:
        ours, theirs: ``(S, N, ...)``: the same seeds and the same samples.
        statistic, labels, clusters, bounds, draws, seed, level: as in `bootstrap`; the bounds are those of
            the statistic, not of the difference.

    Raises:
        ValueError: as `bootstrap`, and for different seeds or samples.
    """
    if np.shape(ours)[:2] != np.shape(theirs)[:2]:
        raise ValueError(
            f"answers have shapes {np.shape(ours)} and {np.shape(theirs)}; a paired comparison needs "
            f"the same seeds and the same samples"
        )
    a, b = (
        resampled(statistic, one, labels, clusters, bounds, draws=draws, seed=seed) for one in (ours, theirs)
    )
    return (a - b).interval(level)


class Resampled(NamedTuple):
    """A statistic on the samples and on resamples of them, by training seed; differences draw by draw.

    Attributes:
        found: ``(S,)`` on the samples themselves.
        drawn: ``(draws, S)`` on each draw of clusters.
        left: ``(blocks, S)`` with a block of clusters left out.
        seed: of the draws. Of one seed and the same clusters, the draws are the same.
        units: clusters, of the rarest class where there are classes.
        bounds: of the values; None where there are none.
        reach: the width of the statistic's own bounds, also of a difference; None where there are none.
    """

    found: Floats
    drawn: Floats
    left: Floats
    seed: int
    units: int
    bounds: tuple[float, float] | None = None
    reach: float | None = None

    def __sub__(self, other: Resampled) -> Resampled:
        """The paired difference; both must come from the same draws."""
        bounds = None
        if self.bounds and other.bounds:
            bounds = (self.bounds[0] - other.bounds[1], self.bounds[1] - other.bounds[0])
        return self._replace(
            found=self.found - other.found,
            drawn=self.drawn - other.drawn,
            left=self.left - other.left,
            bounds=bounds,
        )

    def interval(self, level: float = 0.95) -> Interval:
        """Mean over the seeds, with its BCa interval."""
        from scipy.stats import norm

        seeds = len(self.found)
        if not np.isfinite(self.found).all():
            raise ValueError(
                f"the statistic is {self.found} on the samples themselves; it is not defined for them"
            )
        estimate, known = float(self.found.mean()), defined(self.drawn.mean(axis=1), "draws")
        if max(np.ptp(known), np.ptp(self.found)) <= 1e-12 * max(1, abs(estimate)):
            return self._constant(estimate, level)
        # the share of draws below the estimate, a tie one half: 0.5 where the statistic is not biased
        below = ((known < estimate).sum() + (known == estimate).sum() / 2 + 0.5) / (len(known) + 1)
        bias, skew = norm.ppf(below), _acceleration(self.left.mean(axis=1))
        ends = np.array([0.5 - level / 2, 0.5 + level / 2])
        if seeds == 1:
            low, high = _corrected(known, ends, bias, skew)
        else:
            # the correction is for the samples alone: it would magnify the long tails of t
            spread = self.found.std(ddof=1) / np.sqrt(seeds)
            t = np.random.default_rng(self.seed).standard_t(seeds - 1, FINE)
            samples = _corrected(known, (np.arange(FINE) + 0.5) / FINE, bias, skew) - estimate
            low, high = np.quantile(estimate + self._shared() * samples + spread * t, ends)
        return self._within(estimate, float(low), float(high))

    def _constant(self, estimate: float, level: float) -> Interval:
        """Where all draws agree: as far as the interval of a share reaches from 0 or 1."""
        if self.reach is None:
            raise ValueError(
                f"the statistic is {estimate:.6g} in all draws, which says nothing of other samples; "
                f"give more samples, or bounds=(0, 1) or whatever its least and greatest value are"
            )
        slack = self.reach * clopper_pearson(0, self.units, level)[1]
        return self._within(estimate, estimate - slack, estimate + slack)

    def _within(self, estimate: float, low: float, high: float) -> Interval:
        least, most = self.bounds or (-np.inf, np.inf)
        return Interval(estimate, max(low, least), min(high, most))

    def _shared(self) -> float:
        """How much of the draws' deviation all seeds have in common.

        The rest is how seeds differ on just these samples. Their spread on the samples themselves has that
        already, and it must not count twice.
        """
        away = self.drawn[np.isfinite(self.drawn).all(axis=1)] - self.found
        total = away.mean(axis=1).var()
        own = away.var(axis=1, ddof=1).mean() / len(self.found)
        return float(np.sqrt(max(0.0, 1 - own / total))) if total > 0 else 0.0


def resampled(
    statistic: Statistic,
    answers: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    clusters: ArrayLike | None = None,
    bounds: tuple[float, float] | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Resampled:
    """The draws behind `bootstrap`, kept: for differences from several other methods."""
    a, y = _indexable(answers), _indexable(labels)
    if a.ndim < 2 or not y.ndim or a.shape[1] != y.shape[0] or 0 in (a.shape[0], y.shape[0]):
        raise ValueError(
            f"answers have shape {tuple(a.shape)} and labels {tuple(y.shape)}; give (S, N, ...) with the "
            f"seeds first, and (N, ...)"
        )
    finite(labels, "labels")
    if draws < 1:
        raise ValueError(f"draws is {draws}; it must be at least 1, better 500")
    groups, random = _clusters(clusters, len(y)), np.random.default_rng(seed)
    count = len(groups.size)

    def scores(chosen: NDArray[np.int64]) -> list[float]:
        rows = groups.of(chosen)
        return [statistic(one[rows], y[rows]) for one in a]

    found = scores(np.arange(count))
    drawn = [scores(random.integers(0, count, count)) for _ in range(draws)]
    order = random.permutation(count)
    blocks = np.array_split(order, min(BLOCKS, count))
    left = [scores(np.setdiff1d(order, block, assume_unique=True)) for block in blocks]
    reach = None if bounds is None else bounds[1] - bounds[0]
    units = min(count, _rarest(np.asarray(y), clusters))
    return Resampled(np.array(found), np.array(drawn), np.array(left), seed, units, bounds, reach)


def _rarest(labels: NDArray, clusters: ArrayLike | None) -> int:
    """How many clusters, or samples where there are none, hold the class that is in the fewest."""
    ids = np.arange(len(labels)) if clusters is None else np.asarray(clusters)
    if labels.ndim > 1 or labels.dtype.kind == "f":  # numbers, or several labels a sample
        return len(np.unique(ids))
    return min(len(np.unique(ids[labels == label])) for label in np.unique(labels))


def _indexable(values: ArrayLike | Tensor) -> Any:
    return values if isinstance(values, Tensor) else np.asarray(values)


class _Clusters(NamedTuple):
    """The rows of all clusters, one cluster after the other, and where each starts and how long it is."""

    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    size: NDArray[np.int64]

    def of(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """All rows of the chosen clusters, again and again where one is chosen more than once."""
        counts = self.size[chosen]
        ends = counts.cumsum()
        within = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        return self.rows[np.repeat(self.start[chosen], counts) + within]


def _clusters(ids: ArrayLike | None, samples: int) -> _Clusters:
    names = np.arange(samples) if ids is None else np.asarray(ids)
    if names.shape != (samples,):
        raise ValueError(f"clusters have shape {names.shape}; with {samples} samples it must be ({samples},)")
    _, place, count = np.unique(names, return_inverse=True, return_counts=True)
    if len(count) < 2:
        raise ValueError("all samples are in one cluster; an interval needs at least two")
    return _Clusters(np.argsort(place, kind="stable"), count.cumsum() - count, count)


def _corrected(draws: Floats, levels: Floats, bias: float, skew: float) -> Floats:
    """Quantiles of the draws at the levels that BCa puts in the place of these."""
    from scipy.stats import norm

    z = bias + norm.ppf(levels)
    return np.quantile(draws, norm.cdf(bias + z / np.maximum(1 - skew * z, 1e-6)))


def _acceleration(left: Floats) -> float:
    """A sixth of the skewness of the statistic's mean, from its values with blocks left out in turn."""
    away = left.mean() - left
    size = (away**2).sum() ** 1.5
    return float((away**3).sum() / (6 * size)) if np.isfinite(size) and size > 0 else 0.0
