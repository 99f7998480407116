"""Metrics equal a direct computation; intervals cover at their rate, also when pictures repeat."""

import numpy as np
import pytest
import torch

from mmbook.evaluate import classification_metrics, interval, paired, regression_metrics


def test_classification_metrics_by_hand():
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(200, 3, generator=g), torch.randint(0, 3, (200,), generator=g)
    found, guess = classification_metrics(logits, labels), logits.argmax(dim=1)
    recall = [(guess[labels == c] == c).float().mean() for c in range(3)]
    precision = [(labels[guess == c] == c).float().mean() for c in range(3)]
    f1 = [2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True)]
    assert found["accuracy"] == pytest.approx((guess == labels).float().mean().item())
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recall))
    assert found["f1"] == pytest.approx(np.mean(f1))
    assert found["nll"] == pytest.approx(-logits.log_softmax(1)[range(200), labels].mean().item())


def test_regression_metrics_by_hand():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=50)
    found = regression_metrics(torch.tensor(a)[:, None], torch.tensor(b))
    assert found["mae"] == pytest.approx(np.abs(a - b).mean(), rel=1e-5)
    assert found["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-4)


def trial(rng, names):
    """200 scores around 0; 20 pictures and 15 voices have an effect each; no sentence occurs twice."""
    ids = {
        "picture": rng.integers(20, size=200),
        "voice": rng.integers(15, size=200),
        "sentence": np.arange(200),
    }
    scores = (
        rng.normal(size=20)[ids["picture"]] + rng.normal(size=15)[ids["voice"]] + rng.normal(size=200) * 2
    )
    return scores, {name: ids[name] for name in names}


def coverage(names, trials=400):
    """How often the interval holds the truth, 0."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(trials):
        found = interval(*trial(rng, names))
        hits += found.low <= 0 <= found.high
    return hits / trials


def test_intervals_cover_at_their_rate_only_when_they_know_what_repeats():
    assert 0.90 < coverage(("picture", "voice")) < 0.98
    assert 0.90 < coverage(("picture", "voice", "sentence")) < 0.98, (
        "a factor that never repeats changes nothing"
    )
    assert coverage(("sentence",)) < 0.75, (
        "ignoring the repeats must be seen to fail, or the test shows nothing"
    )


def test_without_repeats_it_is_the_textbook_interval():
    from scipy.stats import t

    scores = np.random.default_rng(0).normal(size=50)
    half = t.ppf(0.975, 49) * scores.std(ddof=1) / np.sqrt(50)
    found = interval(scores)
    assert (found.mean - found.low, found.high - found.mean) == pytest.approx((half, half))


def test_one_score_a_seed_is_the_textbook_interval_over_seeds():
    from scipy.stats import t

    scores = np.random.default_rng(3).normal(size=6)
    half = t.ppf(0.975, 5) * scores.std(ddof=1) / np.sqrt(6)
    found = interval(scores[:, None])
    assert (found.low, found.high) == pytest.approx((scores.mean() - half, scores.mean() + half))
    assert interval(np.ones((6, 1))) == (1, 1, 1)


def test_seeds_that_differ_widen_the_interval():
    base = np.random.default_rng(0).normal(size=100)
    calm, wild = np.stack([base] * 5), np.stack([base + shift for shift in (-1, -0.5, 0, 0.5, 1)])
    assert interval(wild).high - interval(wild).low > 2 * (interval(calm).high - interval(calm).low)


def test_paired_interval_sees_a_difference_that_unpaired_ones_hide():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=300) * 10
    ours, theirs = difficulty + 0.3 + rng.normal(size=300) * 0.1, difficulty
    assert paired(ours, theirs).low > 0
    assert interval(ours).low < interval(theirs).high


def test_intervals_refuse_what_does_not_fit():
    scores = np.random.default_rng(0).random((3, 40))
    with pytest.raises(ValueError, match="40 samples"):
        interval(scores, {"voice": np.arange(39)})
    with pytest.raises(ValueError, match="one 'voice'"):
        interval(scores, {"voice": np.zeros(40)})
    with pytest.raises(ValueError, match="same samples"):
        paired(scores, scores[:, :39])
