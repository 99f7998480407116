"""Metrics equal a direct computation; intervals cover at their rate, also when pictures repeat."""

import numpy as np
import pytest
import torch

from mmbook.evaluate import bootstrap, classification_metrics, paired, regression_metrics


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


def coverage(clustered: bool, trials: int = 200) -> float:
    """How often the interval holds the truth (0) when 20 pictures, each with an effect of its own, repeat."""
    rng, hits = np.random.default_rng(0), 0
    for trial in range(trials):
        picture = rng.integers(20, size=200)
        scores = rng.normal(size=20)[picture] + rng.normal(size=200)
        found = bootstrap(scores, {"picture": picture} if clustered else None, draws=300, seed=trial)
        hits += found.low <= 0 <= found.high
    return hits / trials


def test_intervals_cover_only_when_they_know_what_repeats():
    assert coverage(clustered=True) > 0.87
    assert coverage(clustered=False) < 0.7, "ignoring the repeats must be seen to fail, or the test shows nothing"


def test_paired_interval_sees_a_difference_that_unpaired_ones_hide():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=300) * 10
    ours, theirs = difficulty + 0.3 + rng.normal(size=300) * 0.1, difficulty
    assert paired(ours, theirs).low > 0
    assert bootstrap(ours).low < bootstrap(theirs).high


def test_bootstrap_is_deterministic_and_refuses_shapes_that_do_not_fit():
    scores = np.random.default_rng(0).random((3, 40))
    assert bootstrap(scores, seed=1) == bootstrap(scores, seed=1)
    with pytest.raises(ValueError, match="40 samples"):
        bootstrap(scores, {"voice": np.arange(39)})
    with pytest.raises(ValueError, match="same samples"):
        paired(scores, scores[:, :39])
