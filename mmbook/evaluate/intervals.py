"""How sure we may be: intervals that know what repeats in the test set, and that seeds differ.

Five hundred posts that share twenty pictures are not five hundred independent draws of a picture. The
interval has to say how the result would vary with other sentences, other pictures, other voices and other
seeds. And ten right answers of ten do not make a model that is always right: near 0 and 1 the interval of a
share is Clopper and Pearson's.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmbook.evaluate.inputs import finite

Floats = NDArray[np.float64]
Kind = Literal["share", "difference", "number", "amount"]


BOUNDS: dict[Kind, tuple[float, float]] = {
    "share": (0.0, 1.0),
    "difference": (-1.0, 1.0),
    "number": (-np.inf, np.inf),
    "amount": (0.0, np.inf),
}


class Interval(NamedTuple):
    """An estimate with its 95 % (or other) interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside; False where an end is NaN, since then nothing is known."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(
    scores: ArrayLike,
    clusters: Mapping[str, ArrayLike] | None = None,
    *,
    kind: Kind | None = None,
    level: float = 0.95,
) -> Interval:
    """Confidence interval of a mean score, when samples share pictures, voices and the like.

    The variance is the multiway cluster-robust one (Cameron and others): each factor adds the variance
    between its members, and what belongs to several factors at once is counted once. (Resampling all factors
    in the same draw would count the independent noise of a sample once too often for each further factor.)
    The variance between training seeds is added, with degrees of freedom after Satterthwaite.

    What is made of it depends on the kind of score:

    - *number*: Student's t around the mean; an *amount*, such as an error or a loss, is a number that cannot
      be negative, and its interval ends at 0 where that of a number would go below.
    - *share*, of scores in [0, 1]: never leaves [0, 1] and is never empty. Without clusters and for one seed
      of 0 and 1 it is the exact interval of Clopper and Pearson; else theirs for the *effective* number of
      samples, those that would give the same variance if they were independent (Korn and Graubard). The
      variance is unknown where few answers are wrong: with k clusters that hold one, the estimate is weighed
      ``k²`` to 1 against the worst case, in which each cluster is all right or all wrong. So where all
      answers are right, the effective number is that of the clusters of the rarest factor; that a whole
      training may fail, such answers do not show. A 95 % interval holds the truth at least 95 times in 100
      without clusters (computed), and 93 times with 15 clusters or more in each factor (simulated).
    - *difference* of two shares, in [-1, 1]: the gains and the losses have the intervals of shares, combined
      by their correlation (Newcombe; Zou), so no disagreement in ten samples is no proof of equality.

    Args:
        scores: ``(S, N)``, one row a training seed, one column a test sample (``(N,)`` is one seed, and then
            says nothing about other seeds; ``(S, 1)`` is one score a seed, such as a mean average precision,
            and then the interval is over seeds alone).
        clusters: factor -> ``(N,)`` of ids, such as ``{"image": ..., "audio": ...}``; None where all samples
            are independent.
        kind: None goes by the values: scores that are all 0 or 1 are shares, those that are all -1, 0 or 1
            differences, and all others numbers. A loss that merely happens to lie in [0, 1] is a number; give
            "share" for what cannot leave [0, 1], such as a recall or an answer that is half right.
        level: of confidence.

    Raises:
        ValueError: scores that are not finite or outside of what their kind allows; ids that do not fit the
            scores, or a factor with a single member: nothing can be said about others.

    Source: Cameron, Gelbach and Miller (2011), https://doi.org/10.1198/jbes.2010.07136; Satterthwaite (1946),
    https://doi.org/10.2307/3002019; Clopper and Pearson (1934), https://doi.org/10.1093/biomet/26.4.404; Korn
    and Graubard (1998), *Confidence Intervals for Proportions with Small Expected Number of Positive Counts
    Estimated From Survey Data*, Survey Methodology 24(2), 193-201; Newcombe (1998),
    https://doi.org/10.1002/(SICI)1097-0258(19981130)17:22%3C2635::AID-SIM954%3E3.0.CO;2-C; Zou (2007),
    https://doi.org/10.1037/1082-989X.12.4.399.
    """
    table = np.atleast_2d(finite(scores, "scores"))
    if table.ndim != 2:
        raise ValueError(f"scores have shape {table.shape}; give (S, N) or (N,)")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, such as 0.95")
    if table.shape[1] == 1 and len(table) > 1 and not clusters:
        table = table.T  # one score a seed: the seeds are what is sampled
    factors = _factors(clusters, table.shape[1])
    kind = kind_of_scores(table) if kind is None else kind
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(get_args(Kind))}")
    least, most = BOUNDS[kind]
    if table.min() < least or table.max() > most:
        raise ValueError(
            f"scores are from {table.min():.6g} to {table.max():.6g}, but a {kind} lies in [{least:g}, "
            f"{most:g}]; give kind='number' for scores without such bounds"
        )
    of = {"share": _of_share, "difference": _of_difference}.get(kind, _of_number)
    found = of(table, factors, level)
    return found._replace(low=max(found.low, least), high=min(found.high, most))


def paired(
    ours: ArrayLike,
    theirs: ArrayLike,
    clusters: Mapping[str, ArrayLike] | None = None,
    *,
    kind: Literal["share", "number", "amount"] | None = None,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean difference between two methods on the same seeds and samples.

    Args:
        ours, theirs: ``(S, N)`` scores, such as 1 where right and 0 where wrong.
        clusters, level: as in `interval`.
        kind: of the scores themselves. None goes by the values: shares where all are 0 or 1, else numbers.

    Raises:
        ValueError: scores of different shapes, and what `interval` refuses.
    """
    a, b = finite(ours, "scores"), finite(theirs, "scores")
    if a.shape != b.shape:
        raise ValueError(
            f"scores have shapes {a.shape} and {b.shape}; a paired comparison needs the same samples"
        )
    if kind is None:
        kind = "share" if kind_of_scores(a) == kind_of_scores(b) == "share" else "number"
    return interval(a - b, clusters, kind="difference" if kind == "share" else "number", level=level)


def kind_of_scores(scores: Floats) -> Kind:
    """What scores are by their values: see `interval`."""
    if not np.isin(scores, (-1, 0, 1)).all():
        return "number"
    return "difference" if (scores < 0).any() else "share"


def clopper_pearson(successes: float, count: float, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share, for numbers that need not be whole: ends in [0, 1]."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    rest = count - successes
    low = betaincinv(successes, rest + 1, tail) if successes > 0 else 0.0
    high = betaincinv(successes + 1, rest, 1 - tail) if rest > 0 else 1.0
    return float(low), float(high)


def _factors(clusters: Mapping[str, ArrayLike] | None, samples: int) -> list[NDArray[np.int64]]:
    """For each factor ``(N,)`` the number of its member that each sample has, from 0."""
    found = []
    for name, given in (clusters or {"sample": np.arange(samples)}).items():
        ids = np.asarray(given)
        if ids.shape != (samples,):
            raise ValueError(
                f"clusters[{name!r}] has shape {ids.shape}; with {samples} samples it must be ({samples},)"
            )
        found.append(np.unique(ids, return_inverse=True)[1].reshape(-1))
        if found[-1].max() == 0:
            raise ValueError(f"all samples share one {name!r}; an interval over it needs at least two")
    return found


def _of_number(table: Floats, factors: list[NDArray], level: float) -> Interval:
    from scipy.special import stdtrit

    mean, variance, df = _spread(table, factors)
    half = stdtrit(df, 0.5 + level / 2) * np.sqrt(variance)
    return Interval(mean, float(mean - half), float(mean + half))


def _of_share(table: Floats, factors: list[NDArray], level: float) -> Interval:
    from scipy.special import stdtrit

    mean, variance, df = _spread(table, factors)
    seeds, samples = table.shape
    # the design effect: this variance over that of as many independent answers of one seed
    single = mean * (1 - mean) / (samples - 1)
    effect = variance / single if single > 0 else 0.0
    if np.isin(table, (0, 1)).all():
        effect = max(effect, 1 / seeds)  # smaller by chance only: no answers say more than independent ones
    fewest = min(ids.max() + 1 for ids in factors)
    worst = samples / fewest
    if effect < worst:
        rare = ((table < 1) if mean >= 0.5 else (table > 0)).any(axis=0)
        known = min(len(np.unique(ids[rare])) for ids in factors) ** 2
        effect = (known * effect + worst) / (known + 1)
    quantile = 0.5 + level / 2
    count = samples / effect * (stdtrit(samples - 1, quantile) / stdtrit(min(df, samples - 1), quantile)) ** 2
    return Interval(mean, *clopper_pearson(mean * count, count, level))


def _of_difference(table: Floats, factors: list[NDArray], level: float) -> Interval:
    gains, losses = np.maximum(table, 0), np.maximum(-table, 0)
    up, down = (_of_share(part, factors, level) for part in (gains, losses))
    mean, whole, _ = _spread(table, factors)
    of_gains, of_losses = (_spread(part, factors)[1] for part in (gains, losses))
    both = np.sqrt(of_gains * of_losses)
    alike = np.clip((of_gains + of_losses - whole) / (2 * both), -1, 1) if both > 0 else 0.0

    def away(a: float, b: float) -> float:
        return float(np.sqrt(max(a * a + b * b - 2 * alike * a * b, 0.0)))

    low = mean - away(up.mean - up.low, down.high - down.mean)
    return Interval(mean, low, mean + away(up.high - up.mean, down.mean - down.low))


def _spread(table: Floats, factors: list[NDArray]) -> tuple[float, float, float]:
    """Mean, its variance over other members of all factors and other seeds, and its degrees of freedom."""
    mean = table.mean()
    variance, parts = _multiway(table.mean(axis=0) - mean, factors)
    freedom = [int(ids.max()) for ids in factors]  # members less one
    if len(table) > 1:
        parts.append(float(table.mean(axis=1).var(ddof=1)) / len(table))
        freedom.append(len(table) - 1)
        variance += parts[-1]
    if variance == 0:
        return float(mean), 0.0, float(table.shape[1] - 1)
    # Satterthwaite: a part counts by its size, so five seeds that hardly differ do not widen everything
    df = sum(parts) ** 2 / sum(part**2 / n for part, n in zip(parts, freedom, strict=True))
    return float(mean), float(variance), float(df)


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
