"""The two-sample score and mode coverage, each against its definition and against chance."""

import numpy as np
import pytest

from mmbook.book.written.mode_coverage import mode_coverage
from mmbook.evaluate.two_sample import SCALES, _halvings, _mmd2, gaussian_kernel, median_distance, two_sample

RANDOM = np.random.default_rng(0)


def naive_mmd2(x, y, scale):
    def k(a, b):
        return np.mean([np.exp(-((a - b) ** 2).sum() / (2 * (s * scale) ** 2)) for s in SCALES])

    n = len(x)
    within = sum(k(p[i], p[j]) for p in (x, y) for i in range(n) for j in range(n) if i != j)
    across = sum(k(a, b) for a in x for b in y)
    return within / (n * (n - 1)) - 2 * across / n**2


def test_score_is_the_double_loop():
    real, generated = RANDOM.normal(size=(14, 3)), RANDOM.normal(1, 1, size=(7, 3))
    found = two_sample(real, generated, permutations=9)
    assert found.score == pytest.approx(naive_mmd2(real[7:], generated, median_distance(real)), abs=1e-12)
    distances = [np.linalg.norm(a - b) for i, a in enumerate(real) for b in real[:i]]
    assert median_distance(real) == pytest.approx(np.median(distances))


def test_unbiased():
    """Over many equal pairs the score's mean is 0, within its own error; with self-pairs it would not be."""
    n, scores, selfish = 20, [], []
    for _ in range(400):
        kernel = gaussian_kernel(RANDOM.normal(size=(2 * n, 2)), 1.5)
        score = _mmd2(kernel, np.repeat([[1.0], [0.0]], n, axis=0))[0]
        scores.append(score)
        selfish.append(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean())
    error = np.std(scores) / 20
    assert abs(np.mean(scores)) < 4 * error
    assert np.mean(selfish) > 20 * error


def test_halvings_halve():
    halves = _halvings(6, 50, np.random.default_rng(0))
    assert (halves.sum(axis=0) == 6).all() and set(np.unique(halves)) == {0.0, 1.0}


def test_false_alarms_are_as_rare_as_stated_and_a_shift_is_found():
    alarms = above = 0
    for seed in range(100):
        found = two_sample(
            RANDOM.normal(size=(80, 2)), RANDOM.normal(size=(40, 2)), permutations=99, seed=seed
        )
        alarms += found.p_value <= 0.05
        above += found.ratio > 1
    assert alarms <= 12 and above <= 14  # each is 5 in expectation
    shifted = two_sample(RANDOM.normal(size=(400, 2)), RANDOM.normal(0.5, 1, size=(200, 2)))
    assert shifted.p_value < 0.01 and shifted.ratio > 3
    narrow = two_sample(RANDOM.normal(size=(400, 2)), RANDOM.normal(0, 0.5, size=(200, 2)))
    assert narrow.p_value < 0.01 and narrow.ratio > 3  # same mean: a distance of means would not see it


def ring(n, modes):
    centres = np.array([[np.cos(a), np.sin(a)] for a in np.arange(8) * np.pi / 4])
    return centres, centres[RANDOM.choice(modes, size=n)] + 0.02 * RANDOM.normal(size=(n, 2))


def test_coverage_counts_modes_and_says_what_real_samples_reach():
    centres, real = ring(2000, range(8))
    _, half = ring(1000, range(4))
    found = mode_coverage(real, half, centres)
    assert (found.covered, found.floor, found.modes) == (4, 8, 8)
    assert found.imbalance == pytest.approx(0.5, abs=0.06) and found.imbalance_floor < 0.1
    same = mode_coverage(np.concatenate([real[:1000]] * 2), real[:1000], centres)
    assert same.imbalance == same.imbalance_floor == 0 and same.covered == 8


def test_what_is_far_from_every_mode_is_in_none():
    centres, real = ring(400, range(8))
    middle = np.zeros((200, 2))
    assert mode_coverage(real, middle, centres, radius=0.2).covered == 0
    assert mode_coverage(real, middle, centres, radius=0.2).imbalance == 1
    assert mode_coverage(real, middle, centres).covered == 1  # without a radius it belongs to the nearest


def test_errors_name_the_shapes():
    with pytest.raises(ValueError, match=r"\(5, 2\).*\(3, 2\).*twice as many"):
        two_sample(np.zeros((5, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"\(6, 2\).*\(3, 2\).*\(8, 3\)"):
        mode_coverage(np.zeros((6, 2)), np.zeros((3, 2)), np.zeros((8, 3)))
