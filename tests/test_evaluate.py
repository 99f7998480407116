"""Metrics equal a direct computation; intervals cover at their rate, also when pictures repeat."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom, multinomial, norm

from mmbook.evaluate import ACCURACY, MAE, classification_metrics, interval, paired, regression_metrics


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


ENDS = (0.75, 0.9, 0.95, 0.99)


@pytest.mark.parametrize("n", [10, 20, 50, 100, 500])
def test_a_share_is_covered_at_its_rate_exactly_also_at_the_ends(n):
    """All outcomes, weighed by their probability: nothing is simulated."""
    wrong = np.arange(n + 1)
    low, high = np.array([interval(np.arange(n) < n - k)[1:] for k in wrong]).T
    for p in (*ENDS, *(1 - p for p in ENDS)):
        kept = (low <= p) & (p <= high)
        assert binom.pmf(n - wrong, n, p) @ kept >= 0.95
    right = n - wrong
    np.testing.assert_allclose(low[:-1], beta.ppf(0.025, right, wrong + 1)[:-1])
    np.testing.assert_allclose(high[1:], beta.ppf(0.975, right + 1, wrong)[1:])
    assert (low < high).all() and low.min() == 0 and high.max() == 1, "within [0, 1], and never empty"


@pytest.mark.parametrize("n", [10, 20, 50])
def test_a_difference_of_shares_is_covered_at_its_rate_exactly_also_where_hardly_anything_differs(n):
    counts = np.array([(i, j) for i in range(n + 1) for j in range(n + 1 - i) if i + j <= 25])
    found = np.array([paired(np.arange(n) < i, np.arange(n) >= n - j) for i, j in counts])
    assert (found[:, 1] < found[:, 2]).all() and (np.abs(found) <= 1).all()
    for gain, loss in ((0, 0), (0.02, 0), (0.1, 0), (0.02, 0.02), (0.05, 0.02), (0.1, 0.05)):
        chance = multinomial.pmf(np.c_[counts, n - counts.sum(axis=1)], n, [gain, loss, 1 - gain - loss])
        kept = (found[:, 1] <= gain - loss + 1e-12) & (gain - loss - 1e-12 <= found[:, 2])
        assert chance.sum() > 0.999 and chance @ kept >= 0.95


def test_ten_equal_answers_of_ten_prove_no_equality():
    right = np.arange(10) < 7
    ends = 1 - 0.025 ** (1 / 10)  # so often they may differ and not once in ten do it
    assert paired(right, right) == pytest.approx((0, -ends, ends))
    assert paired(right, right, kind="number") == (0, 0, 0), "of numbers nothing is known but their spread"


def shares(p, spread, count, *members):
    """Answers to `count` samples whose mean is p: a member of each factor shifts all that belongs to it."""
    total = np.sqrt(1 + len(members) * spread**2)

    def draw(rng):
        ids = [rng.permutation(np.arange(count) % m) for m in members]
        shift = sum(spread * rng.normal(size=m)[own] for m, own in zip(members, ids, strict=True))
        right = norm.ppf(p) * total + shift + rng.normal(size=count) > 0
        return right, {f"factor {k}": own for k, own in enumerate(ids)}

    return draw


@pytest.mark.parametrize("p", ENDS)
@pytest.mark.parametrize("members", [(20,), (40,), (20, 15)], ids=str)
def test_a_share_with_clusters_is_covered_near_the_ends(p, members):
    draw, rng = shares(p, 0.8, 240, *members), np.random.default_rng(int(1000 * p))
    found = np.array([interval(*draw(rng)) for _ in range(400)])
    covered = ((found[:, 1] <= p) & (p <= found[:, 2])).mean()
    assert covered > 0.93 - 2 * np.sqrt(0.93 * 0.07 / 400), "93 % is what the docstring states"
    assert (found[:, 1] >= 0).all() and (found[:, 2] <= 1).all() and (found[:, 1] < found[:, 2]).all()


def test_what_is_wholly_shared_counts_as_one_sample():
    """Each of 20 pictures is all right or all wrong: the interval is that of 20 samples, nearly."""
    ids, of_picture = np.repeat(np.arange(20), 12), np.arange(20) < 18
    told, twenty = interval(of_picture[ids], {"picture": ids}), interval(of_picture)
    assert told.low <= twenty.low and twenty.high <= told.high, "the design effect is only an estimate"
    assert told[1:] == pytest.approx(twenty[1:], abs=0.03)
    every = np.ones(240)
    assert interval(every, {"picture": ids}) == pytest.approx(interval(np.ones(20)))
    assert interval(every).low > interval(every, {"picture": ids}).low, "what repeats proves less"


def test_one_wrong_answer_more_never_makes_an_interval_much_narrower():
    ids = np.repeat(np.arange(20), 12)
    width = [np.subtract(*interval(np.arange(240) >= k, {"picture": ids})[:0:-1]) for k in range(5)]
    assert min(np.divide(width[1:], width[:-1])) > 0.5, "no leap from 20 samples to 240"


def test_many_right_answers_of_several_seeds():
    found = interval(np.ones((5, 100)))
    assert found == pytest.approx(interval(np.ones(100))), "all answers right say nothing of other seeds"
    assert interval(np.ones((6, 1))) == pytest.approx(interval(np.ones(6))), "one score a seed: six samples"
    rng = np.random.default_rng(0)
    better = interval(rng.random((5, 100)) < 0.95)
    assert 0 < better.high - better.low < 0.12 and better.high < 1


def test_scores_between_0_and_1_are_shares_only_where_they_are_said_to_be():
    """A loss that happens to lie in [0, 1] has no bound at 1, and a recall has."""
    from scipy.stats import t

    scores = np.concatenate([np.full(18, 1.0), [0.5, 0.75]])
    half = t.ppf(0.975, 19) * scores.std(ddof=1) / np.sqrt(20)
    number, share = interval(scores), interval(scores, kind="share")
    assert number[1:] == pytest.approx((scores.mean() - half, scores.mean() + half)) and number.high > 1
    assert share.mean == number.mean and share.low < number.low and number.mean < share.high < 1
    zero_one = torch.tensor([0.0, 1.0, 1.0, 1.0])
    wrong = MAE.measure(zero_one[None], torch.zeros(4))
    assert wrong.interval() == interval(zero_one, kind="amount") and wrong.interval().high > 1
    logits = torch.stack([1 - zero_one, zero_one], dim=1)
    assert ACCURACY.measure(logits[None], torch.ones(4)).interval() == interval(zero_one)


def test_a_share_and_its_complement_mirror_each_other():
    rng = np.random.default_rng(0)
    right, ids = rng.random((3, 120)) < 0.9, {"voice": np.arange(120) % 12}
    one, other = interval(right, ids), interval(~right, ids)
    assert one == pytest.approx((1 - other.mean, 1 - other.high, 1 - other.low))
    ours = rng.random((3, 120)) < 0.8
    there, back = paired(ours, right, ids), paired(right, ours, ids)
    assert there == pytest.approx((-back.mean, -back.high, -back.low))


def test_far_from_the_ends_a_share_is_nearly_students_interval():
    right = np.random.default_rng(0).random((1, 4000)) < 0.7
    assert interval(right) == pytest.approx(interval(right, kind="number"), abs=5e-4)
    ours = np.random.default_rng(1).random((1, 4000)) < 0.7
    assert paired(ours, right) == pytest.approx(paired(ours, right, kind="number"), abs=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_has_no_interval(value):
    scores = np.random.default_rng(0).random((2, 20))
    scores[1, 3] = value
    for find in (interval, lambda s: paired(s, np.zeros_like(s)), lambda s: paired(np.zeros_like(s), s)):
        with pytest.raises(ValueError, match="1 of 40 scores are NaN or infinite"):
            find(scores)
    with pytest.raises(ValueError, match="at least one"):
        interval(np.zeros((1, 0)))


def test_a_difference_with_unknown_ends_excludes_nothing():
    assert not interval([1.0, 2.0, 1.5])._replace(low=np.nan, high=np.nan).excludes_zero
    assert interval([1.0, 1.1, 0.9]).excludes_zero and interval([-1.0, -1.1, -0.9]).excludes_zero


def test_intervals_refuse_what_does_not_fit():
    scores = np.random.default_rng(0).random((3, 40))
    with pytest.raises(ValueError, match="a share lies in"):
        interval(scores - 0.5, kind="share")
    with pytest.raises(ValueError, match="'loss'.*share, difference, number"):
        interval(scores, kind="loss")
    with pytest.raises(ValueError, match="level is 95"):
        interval(scores, level=95)
    with pytest.raises(ValueError, match="40 samples"):
        interval(scores, {"voice": np.arange(39)})
    with pytest.raises(ValueError, match="one 'voice'"):
        interval(scores, {"voice": np.zeros(40)})
    with pytest.raises(ValueError, match="same samples"):
        paired(scores, scores[:, :39])


def test_an_amount_has_no_interval_below_zero():
    errors = np.array([0.0, 0.1, 0.0, 9.0])
    number, amount = interval(errors), interval(errors, kind="amount")
    assert number.low < 0 == amount.low and (amount.mean, amount.high) == (number.mean, number.high)
    far = 5 + errors
    assert interval(far, kind="amount") == interval(far)
    assert paired(errors, errors[::-1], kind="amount") == paired(errors, errors[::-1], kind="number")
    with pytest.raises(ValueError, match=r"-1 to 2.*amount lies in \[0, inf\]"):
        interval([-1.0, 2.0], kind="amount")
