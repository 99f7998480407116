"""Are these samples drawn from the same distribution as those? Never without what chance alone would give.

A score of generated samples means nothing by itself: two draws of *real* samples differ, too. So each score
comes with its floor, the same number between real samples and other real samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmbook.evaluate.inputs import finite, p_value

Floats = NDArray[np.float64]
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernel, times the median distance of real samples


class TwoSample(NamedTuple):
    """How far generated samples are from real ones.

    Attributes:
        score: unbiased squared MMD; its mean is 0 where both have the same distribution, so it may be below.
        floor: the 95 % point of the same score between real samples and other real samples.
        p_value: share of random relabellings of real and generated samples that score as high or higher; at
            least ``1 / (permutations + 1)``.
        ratio: score / floor. Below 1 this many samples cannot be told from real ones by this kernel.
    """

    score: float
    floor: float
    p_value: float

    @property
    def ratio(self) -> float:
        return self.score / self.floor

    def __str__(self) -> str:
        return f"MMD² {self.score:.4f}, real against real up to {self.floor:.4f}, p = {self.p_value:.3f}"


def two_sample(real: ArrayLike, generated: ArrayLike, *, permutations: int = 500, seed: int = 0) -> TwoSample:
    """Kernel two-sample test, with the real-versus-real floor.

    The maximum mean discrepancy is the distance between the mean embeddings of two distributions; with
    Gaussian kernels it is zero only where they are equal. The kernel is the mean of five Gaussians, a quarter
    to four times the median distance of the real samples wide; where most of them are equal, the median of
    the pairs that differ. Half of the real samples are compared with the generated ones; the floor comes from
    random halvings of all real samples.

    Args:
        real: ``(2 n, D)`` samples, or features of them: the score sees what the features see.
        generated: ``(n, D)``.
        permutations: of the test, and halvings for the floor.
        seed: of both.

    Raises:
        ValueError: shapes that are not ``(2 n, D)`` and ``(n, D)``, n below 2, samples that are not finite,
            or real ones that are all equal: they have no scale.

    Source: Gretton, Borgwardt, Rasch, Schölkopf and Smola 2012, https://jmlr.org/papers/v13/gretton12a.html.
    """
    x, y = finite(real, "real samples"), finite(generated, "generated samples")
    n = len(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape != (2 * n, y.shape[1]) or n < 2:
        raise ValueError(
            f"real has shape {x.shape} and generated {y.shape}; they must be (2 n, D) and (n, D) with n at "
            f"least 2: twice as many real samples, so that real can be compared with real"
        )
    random = np.random.default_rng(seed)
    kernel = gaussian_kernel(np.concatenate([x, y]), median_distance(x))
    ours = np.arange(n, 3 * n)  # the second half of the real samples, and the generated ones
    test = kernel[np.ix_(ours, ours)]
    score = _mmd2(test, np.repeat([[1.0], [0.0]], n, axis=0))[0]
    null = _mmd2(test, _halvings(n, permutations, random))
    floor = _mmd2(kernel[: 2 * n, : 2 * n], _halvings(n, permutations, random))
    p = p_value(float(score), null)
    return TwoSample(float(score), float(np.quantile(floor, 0.95)), p)


def median_distance(x: Floats) -> float:
    """The median distance between different rows of ``(N, D)``: a scale that the data themselves have.

    Where it is 0, as of samples most of which are equal, it is that of the pairs that differ: a kernel of no
    width would say nothing.

    Raises:
        ValueError: rows that are all equal.
    """
    squared = _squared_distances(x)[np.triu_indices(len(x), 1)]
    if not squared.any():
        raise ValueError(
            f"all {len(x)} real samples are equal, so there is no distance to measure by; give samples that "
            f"differ, or other features of them"
        )
    return float(np.sqrt(np.median(squared) or np.median(squared[squared > 0])))


def gaussian_kernel(x: Floats, scale: float) -> Floats:
    """Mean over `SCALES` of ``exp(-||a - b||² / (2 (s * scale)²))`` for all pairs of rows: ``(N, N)``."""
    squared = _squared_distances(x)
    return np.mean([np.exp(-squared / (2 * (s * scale) ** 2)) for s in SCALES], axis=0)


def _squared_distances(x: Floats) -> Floats:
    """``(N, N)``; exactly 0 where two rows differ by no more than the rounding of the sums."""
    x = x - x.mean(axis=0)
    norms = (x**2).sum(axis=1)
    squared = norms[:, None] + norms - 2 * x @ x.T
    rounding = 8 * x.shape[1] * np.finfo(float).eps * (norms[:, None] + norms)
    return np.where(squared > rounding, squared, 0.0)


def _halvings(n: int, count: int, random: np.random.Generator) -> Floats:
    """``(2 n, count)``: columns with n ones at random places."""
    halves = np.zeros((2 * n, count))
    for column in halves.T:
        column[random.permutation(2 * n)[:n]] = 1
    return halves


def _mmd2(kernel: Floats, first: Floats) -> Floats:
    """Unbiased squared MMD between two halves of 2 n samples, for each column of `first` ``(2 n, count)``.

    ``mean of k(a, a') + mean of k(b, b') - 2 mean of k(a, b)`` over pairs of *different* samples: with the
    pairs of a sample with itself, two equal distributions would never come out as equal.
    """
    n, second = len(kernel) // 2, 1 - first
    diagonal = np.diag(kernel)
    to_first, to_second = kernel @ first, kernel @ second
    within = (first * to_first).sum(0) - diagonal @ first + (second * to_second).sum(0) - diagonal @ second
    return within / (n * (n - 1)) - 2 * (first * to_second).sum(0) / n**2
