"""NaN is neither large nor small, and what is constant says nothing: neither passes for a result."""

import numpy as np
import pytest
import torch
from torch import nn

from mmbook.book.written.correlation import agreement
from mmbook.book.written.corrupt import deviation
from mmbook.book.written.mode_coverage import mode_coverage
from mmbook.book.written.sanity import sanity_check
from mmbook.data.arrays import from_arrays
from mmbook.evaluate import (
    ACCURACY,
    Statistic,
    auroc,
    bootstrap,
    bootstrap_paired,
    classification_metrics,
    detection_metrics,
    equal_mass,
    interval,
    paired,
    ranking_metrics,
    regression_report,
    reliability,
    retrieval_metrics,
    temperature,
    two_sample,
)
from mmbook.evaluate.inputs import p_value
from mmbook.evaluate.two_sample import median_distance
from mmbook.explain import attribute, shapley

N = 24
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % 2
LOGITS = RNG.normal(size=(N, 2)) + 2 * np.eye(2)[LABELS]
PAIRS = [(i, i + 1) for i in range(0, N, 2)]
BOX = [{"boxes": torch.tensor([[0.0, 0, 2, 2]]), "scores": torch.ones(1), "labels": torch.zeros(1).long()}]
OBJECT = torch.tensor([[[0.0, 1, 1, 2, 2]]])


def spoilt(values, value):
    """The same with one value in the middle that is not finite."""
    found = np.array(values, dtype=float)
    found.flat[found.size // 2] = value
    return found


def symmetric(values):
    return values + values.T


def boxes(value, key):
    return [BOX[0] | {key: torch.full_like(BOX[0][key], value)}]


SQUARE = RNG.normal(size=(N, N))
FINDERS = {
    "interval": lambda v: interval(spoilt(LOGITS.T, v)),
    "interval of a share": lambda v: interval(spoilt(LABELS, v), kind="share"),
    "paired": lambda v: paired(LABELS, spoilt(LABELS, v)),
    "two_sample, real": lambda v: two_sample(spoilt(LOGITS, v), LOGITS[: N // 2]),
    "two_sample, generated": lambda v: two_sample(LOGITS, spoilt(LOGITS[: N // 2], v)),
    "mode_coverage": lambda v: mode_coverage(LOGITS, spoilt(LOGITS[: N // 2], v), np.eye(2)),
    "mode_coverage, centres": lambda v: mode_coverage(LOGITS, LOGITS[: N // 2], spoilt(np.eye(2), v)),
    "agreement": lambda v: agreement(symmetric(SQUARE), symmetric(spoilt(SQUARE, v)), PAIRS),
    "bootstrap": lambda v: bootstrap(lambda a, y: a.mean(), spoilt(LOGITS, v)[None], LABELS, draws=20),
    "bootstrap, labels": lambda v: bootstrap(lambda a, y: 0.5, LOGITS[None], spoilt(LABELS, v), draws=20),
    "bootstrap_paired": lambda v: bootstrap_paired(auroc, LOGITS[None], spoilt(LOGITS, v)[None], LABELS),
    "reliability": lambda v: reliability(spoilt(LOGITS, v), LABELS),
    "equal_mass": lambda v: equal_mass(spoilt(LOGITS, v)),
    "temperature": lambda v: temperature(spoilt(LOGITS, v), LABELS),
    "regression_report": lambda v: regression_report(spoilt(LABELS, v), LABELS),
    "retrieval_metrics": lambda v: retrieval_metrics(LOGITS, spoilt(LOGITS, v)),
    "ranking_metrics": lambda v: ranking_metrics(spoilt(SQUARE, v)),
    "shapley": lambda v: shapley({(): 0.0, ("a",): v}),
    "detection_metrics, box": lambda v: detection_metrics(boxes(v, "boxes"), OBJECT),
    "detection_metrics, score": lambda v: detection_metrics(boxes(v, "scores"), OBJECT),
    "deviation": lambda v: deviation([{"a": torch.tensor([v, 1.0])}], "a"),
    "measure": lambda v: ACCURACY.__class__("x", lambda a, y: a[:, 0]).measure(
        torch.tensor(spoilt(LOGITS, v))[None], torch.tensor(LABELS)
    ),
}


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("name", FINDERS)
def test_what_is_not_finite_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=r"NaN|not numbers|not defined|infin|finite"):
        FINDERS[name](value)


EMPTY = {
    "interval": lambda: interval([]),
    "paired": lambda: paired([], []),
    "two_sample": lambda: two_sample(np.zeros((0, 2)), np.zeros((0, 2))),
    "mode_coverage": lambda: mode_coverage(np.zeros((0, 2)), np.zeros((0, 2)), np.eye(2)),
    "agreement": lambda: agreement(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((0, 2), dtype=int)),
    "bootstrap": lambda: bootstrap(auroc, np.zeros((1, 0, 2)), []),
    "no draws": lambda: bootstrap(auroc, LOGITS[None], LABELS, draws=0),
    "no permutations": lambda: two_sample(LOGITS, LOGITS[: N // 2], permutations=0),
    "reliability": lambda: reliability(np.zeros((0, 2)), np.zeros(0, dtype=int)),
    "no bins": lambda: equal_mass(LOGITS, 0),
    "temperature": lambda: temperature(np.zeros((0, 2)), np.zeros(0, dtype=int)),
    "retrieval_metrics": lambda: retrieval_metrics(np.zeros((0, 2)), np.zeros((0, 2))),
    "ranking_metrics": lambda: ranking_metrics(np.zeros((0, 0))),
    "attribute": lambda: attribute(Answer(), from_arrays({"a": np.zeros((0, 1))}, np.zeros(0, dtype=int))),
    "sanity_check": lambda: sanity_check(lambda *_: torch.ones(2, 3), nn.Identity(), {}, "a", seeds=0),
}


class Answer(nn.Module):
    def forward(self, **batch):
        return torch.cat([batch["a"][:, 0], -batch["a"][:, 0]], dim=1)


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_is_refused(name):
    with pytest.raises((ValueError, RuntimeError)) as told:
        EMPTY[name]()
    assert str(told.value)


def test_two_draws_of_one_coin_are_not_told_apart():
    """Most distances are 0, and so is their median: the kernel takes its width from those that are not."""
    found = []
    for seed in range(60):
        draws = (np.random.default_rng(seed).random((120, 1)) < 0.2).astype(float)
        found.append(two_sample(draws[:80], draws[80:], permutations=99, seed=seed))
    assert np.isfinite([one[:2] for one in found]).all()
    alarms = sum(one.p_value <= 0.05 for one in found)
    assert alarms <= 9, "3 of 60 in expectation, 9 or fewer in 999 of 1,000 cases"
    rng = np.random.default_rng(0)
    other = two_sample(rng.random((200, 1)) < 0.2, rng.random((100, 1)) < 0.6)
    assert other.p_value < 0.01, "and another coin still is"


def test_samples_that_are_all_equal_have_no_scale():
    for value in (0.0, 0.1, 1e6 + 0.1):  # whose squares do not cancel exactly
        with pytest.raises(ValueError, match="8 real samples are equal.*give samples that differ"):
            two_sample(np.full((8, 5), value), RNG.normal(size=(4, 5)))
    shifted = RNG.normal(size=(20, 3))
    assert median_distance(shifted + 1e6) == pytest.approx(median_distance(shifted), rel=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_constant_similarities_have_no_ranks(which):
    tables = [symmetric(SQUARE), np.full((N, N), 0.3)]
    with pytest.raises(ValueError, match="all 12 similarities of (ours|theirs) are 0.3.*no ranks"):
        agreement(tables[which], tables[1 - which], PAIRS)


def test_a_p_value_never_takes_nan_for_small():
    chance = np.arange(100.0)
    assert p_value(97.0, chance) == pytest.approx((1 + 3) / 101)
    chance[:5] = np.nan
    assert p_value(97.0, chance) == pytest.approx((1 + 3 + 5) / 101), "what cannot be said is no evidence"
    with pytest.raises(ValueError, match="not defined on 6 of 100"):
        p_value(97.0, np.where(np.arange(100) < 6, np.nan, 1.0))
    with pytest.raises(ValueError, match="NaN"):
        p_value(np.nan, chance)


def test_a_statistic_that_never_varies_gets_the_interval_of_a_share_or_none():
    """All right in ten clusters of the rarer class: AUROC is 1 in every draw, and 10 of 10 prove less."""
    labels = np.repeat([0, 1], [30, 10])
    logits = 3.0 * np.eye(2)[labels][None]
    found = bootstrap(auroc, logits, labels, bounds=(0, 1), draws=50)
    assert found == pytest.approx(interval(np.ones(10)))
    grouped = bootstrap(auroc, logits, labels, np.arange(40) // 2, bounds=(0, 1), draws=50)
    assert grouped == pytest.approx(interval(np.ones(5))), "five clusters hold the rarer class"
    both = bootstrap_paired(auroc, logits, logits, labels, bounds=(0, 1), draws=50)
    assert both == pytest.approx((0, found.low - 1, 1 - found.low))
    with pytest.raises(ValueError, match=r"1 in all draws.*bounds=\(0, 1\)"):
        bootstrap(auroc, logits, labels, draws=50)


def test_an_interval_stays_within_the_bounds_of_its_statistic():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    seeds = [labels * d + rng.normal(size=60) for d in (0.5, 2.5, 6.0)]
    logits = np.stack([np.stack([0 * s, s], axis=1) for s in seeds])
    free = bootstrap(auroc, logits, labels, draws=100)
    kept = bootstrap(auroc, logits, labels, bounds=(0, 1), draws=100)
    assert free.high > 1 == kept.high and (kept.mean, kept.low) == (free.mean, free.low)
    measured = Statistic("auroc", auroc, draws=100, bounds=(0, 1)).measure(
        torch.tensor(logits), torch.tensor(labels)
    )
    assert measured.interval() == kept


def test_logits_that_are_nan_have_no_accuracy():
    logits = torch.tensor(LOGITS)
    logits[3, 0] = torch.nan  # the largest, to argmax
    assert all(np.isnan(score) for score in classification_metrics(logits, torch.tensor(LABELS)).values())


def test_a_map_that_is_not_finite_fails_the_sanity_check_loudly():
    for value in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            sanity_check(lambda *_, v=value: torch.tensor([[v, 1.0, 2.0]] * 2), nn.Linear(2, 2), {}, "a")
    with pytest.raises(ValueError, match="the same size everywhere"):
        sanity_check(lambda *_: torch.ones(2, 3), nn.Linear(2, 2), {}, "a")
