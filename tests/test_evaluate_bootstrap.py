"""Intervals of statistics that are no means cover the truth at their rate, also with seeds and clusters."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from mmbook.evaluate import auroc, bootstrap, bootstrap_paired, interval, paired
from mmbook.evaluate.bootstrap import _clusters
from mmbook.evaluate.metrics import area

SEEDS, SAMPLES, SPREAD = 4, 100, 0.15
THIRD = np.arange(SAMPLES) % 3 == 0


def quick(scores, labels):
    """`area` without ties between classes, in a fifth of the time."""
    return np.searchsorted(np.sort(scores[~labels]), scores[labels]).mean() / (~labels).sum()


def trial(rng, quality, common, labels):
    """Scores ``(S, N)``: seeds differ in quality, and find the same samples hard."""
    ability = quality + SPREAD * rng.normal(size=(SEEDS, 1))
    return labels * ability + 0.8 * common + 0.6 * rng.normal(size=(SEEDS, SAMPLES))


def truth(quality):
    """Mean area over seeds: two normals of deviation 1, `ability` apart."""
    ability = quality + SPREAD * norm.ppf((np.arange(1000) + 0.5) / 1000)
    return norm.cdf(ability / np.sqrt(2)).mean()


def covered(trials, find, value):
    hits = [low <= value <= high for _, low, high in (find(seed) for seed in range(trials))]
    return np.mean(hits)


def test_auroc_by_bootstrap_covers_at_its_rate():
    def find(seed):
        rng = np.random.default_rng(seed)
        scores = trial(rng, 1.2, rng.normal(size=SAMPLES), THIRD)
        return bootstrap(quick, scores, THIRD, draws=100, seed=seed)

    scores = np.random.default_rng(0).normal(size=SAMPLES)
    assert quick(scores, THIRD) == pytest.approx(area(scores, THIRD))
    assert 0.90 < covered(200, find, truth(1.2)) < 0.99


def test_paired_auroc_covers_at_its_rate_and_is_narrower_than_unpaired():
    def two(seed):
        rng = np.random.default_rng(seed)
        common = rng.normal(size=SAMPLES)
        return [trial(rng, quality, common, THIRD) for quality in (1.5, 1.0)]

    def found(seed):
        return bootstrap_paired(quick, *two(seed), THIRD, draws=100, seed=seed)

    assert 0.90 < covered(130, found, truth(1.5) - truth(1.0)) < 0.99
    a, b = (scores[:1] for scores in two(0))
    alone = [found.high - found.low for found in (bootstrap(quick, scores, THIRD) for scores in (a, b))]
    both = bootstrap_paired(quick, a, b, THIRD)
    assert both.high - both.low < 0.9 * np.hypot(*alone), "as if the two had been tested on other samples"


def right(rng, quality, common):
    """Which samples each seed gets right, ``(S, N)``."""
    level = quality + 0.8 * common + 0.25 * rng.normal(size=(SEEDS, 1))
    return rng.random(level.shape) < norm.cdf(level)


def rate(quality):
    """Mean over new samples and new seeds."""
    return norm.cdf(quality / np.sqrt(1 + 0.8**2 + 0.25**2))


def test_mean_accuracy_with_seeds_covers_at_its_rate():
    def answers(seed):
        rng = np.random.default_rng(seed)
        return right(rng, 0.5, rng.normal(size=SAMPLES))

    assert 0.92 < covered(800, lambda seed: interval(answers(seed)), rate(0.5)) < 0.98
    forgetful = covered(800, lambda seed: interval(answers(seed).mean(axis=0)), rate(0.5))
    assert forgetful < 0.9, "forgetting that seeds differ must be seen to fail, or the test shows nothing"


def test_paired_difference_covers_at_its_rate():
    def find(seed):
        rng = np.random.default_rng(seed)
        common = rng.normal(size=SAMPLES)
        return paired(*(right(rng, quality, common) for quality in (0.6, 0.3)))

    assert 0.92 < covered(800, find, rate(0.6) - rate(0.3)) < 0.985


def test_of_a_mean_it_agrees_with_the_closed_form():
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(60), 5)
    right = (rng.normal(size=60)[ids] + rng.normal(size=(1, 300)) > 0).astype(float)
    resampled = bootstrap(lambda a, y: a.mean(), right, ids, ids, draws=2000)
    closed = interval(right, {"picture": ids}, kind="number")
    assert resampled.mean == closed.mean
    assert resampled.high - resampled.low == pytest.approx(closed.high - closed.low, rel=0.07)
    alone = bootstrap(lambda a, y: a.mean(), right, ids, draws=2000)
    assert alone.high - alone.low < 0.8 * (resampled.high - resampled.low), "clusters widen it"


def test_seeds_that_differ_widen_it():
    rng = np.random.default_rng(0)
    labels = rng.random(200) < 0.5
    base = labels + rng.normal(size=200)
    calm = np.stack([base] * 4)
    wild = np.stack([base + shift * labels for shift in (-1, -0.3, 0.3, 1)])
    found = [bootstrap(area, scores, labels, draws=300) for scores in (calm, wild)]
    assert found[1].high - found[1].low > 2 * (found[0].high - found[0].low)


def test_a_method_against_itself_differs_by_zero():
    rng = np.random.default_rng(0)
    logits, labels = torch.tensor(rng.normal(size=(2, 80, 3))), torch.tensor(rng.integers(0, 3, 80))
    found = bootstrap_paired(auroc, logits, logits, labels, bounds=(0, 1), draws=50)
    assert found.mean == 0 and found.low == -found.high < 0, "and 80 samples do not prove it of all others"


def test_one_draw_does_not_depend_on_the_order_of_clusters():
    rng = np.random.default_rng(0)
    labels, scores = rng.random(60) < 0.5, rng.normal(size=(1, 60))
    ids = np.repeat(np.arange(20), 3)
    order = np.random.default_rng(1).permutation(60)
    one = bootstrap(area, scores, labels, ids, draws=200)
    other = bootstrap(area, scores[:, order], labels[order], ids[order], draws=200)
    assert one == pytest.approx(other)


def test_a_cluster_is_drawn_whole_and_as_often_as_it_is_chosen():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30, 200)
    groups, chosen = _clusters(ids, 200), rng.integers(0, len(np.unique(ids)), 50)
    by_hand = [np.flatnonzero(ids == np.unique(ids)[k]) for k in chosen]
    np.testing.assert_array_equal(groups.of(chosen), np.concatenate(by_hand))


def test_the_statistic_is_computed_once_a_draw_a_block_and_a_seed():
    """The cost of a bootstrap is its calls; nothing else loops over the samples."""
    calls = []

    def mean(a, y):
        calls.append(len(a))
        return float(a.mean())

    bootstrap(mean, np.random.default_rng(0).normal(size=(3, 500)), np.zeros(500), draws=70)
    assert len(calls) == 3 * (1 + 70 + 40)


def test_bootstrap_refuses_what_says_nothing():
    rng = np.random.default_rng(0)
    labels, scores = np.arange(50) == 3, rng.normal(size=(1, 50))
    with pytest.raises(ValueError, match="not defined on"):
        bootstrap(area, scores, labels, draws=100)
    with pytest.raises(ValueError, match="on the samples themselves"):
        bootstrap(area, scores, labels & False)
    with pytest.raises(ValueError, match="one cluster"):
        bootstrap(area, scores, labels, np.zeros(50))
    with pytest.raises(ValueError, match="seeds first"):
        bootstrap(area, scores[0], labels)
    with pytest.raises(ValueError, match="same seeds"):
        bootstrap_paired(area, scores, np.concatenate([scores, scores]), labels)
