"""Metrics equal scikit-learn and torchmetrics; undefined cases are said to be so; ties never flatter."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm
from torchmetrics.functional import regression as tr
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_reciprocal_rank

from mmbook.evaluate import (
    auroc,
    brier,
    classification_metrics,
    classification_report,
    confusion_matrix,
    multilabel_metrics,
    ranking_metrics,
    regression_metrics,
    regression_report,
    reliability,
    retrieval_metrics,
)
from mmbook.evaluate.metrics import CLASSIFICATION, REGRESSION

CASES = ["plain", "ties", "imbalance", "two classes", "absent class"]


def case(kind):
    rng = np.random.default_rng(CASES.index(kind))
    classes = 2 if kind == "two classes" else 4
    shares = [0.9, 0.06, 0.03, 0.01] if kind == "imbalance" else np.ones(classes) / classes
    labels = rng.permutation(np.repeat(np.arange(classes), (300 * np.array(shares)).round().astype(int)))
    logits = rng.normal(size=(300, classes)) + 1.5 * np.eye(classes)[labels]
    if kind == "ties":
        logits = np.round(logits)
    if kind == "absent class":
        labels[labels == 3] = 0
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)


@pytest.mark.parametrize("kind", CASES)
def test_classification_equals_both_references(kind):
    logits, labels = case(kind)
    found, y, classes = classification_report(logits, labels), labels.numpy(), logits.shape[1]
    p = np.exp(np.round(np.log(softmax(logits.numpy().astype(float), axis=1)), 12))  # or rounding unties
    guess, q = logits.numpy().argmax(axis=1), torch.tensor(p)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, guess), abs=1e-6)
    assert found["f1"] == pytest.approx(sk.f1_score(y, guess, average="macro"), abs=1e-6)
    assert found["nll"] == pytest.approx(sk.log_loss(y, p, labels=range(classes)), abs=1e-5)
    assert found["ece"] == pytest.approx(tm.multiclass_calibration_error(q, labels, classes).item(), abs=1e-6)
    assert found["brier"] == pytest.approx(((p - np.eye(classes)[y]) ** 2).sum(axis=1).mean())
    if kind != "absent class":
        assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, guess), abs=1e-6)
        ours = found["auroc"]
        one = p[:, 1] if classes == 2 else p
        assert ours == pytest.approx(sk.roc_auc_score(y, one, multi_class="ovr"), abs=1e-9)
        assert ours == pytest.approx(tm.multiclass_auroc(q, labels, classes).item(), abs=1e-6)
    assert {k: v for k, v in found.items() if k in classification_metrics(logits, labels)} == (
        classification_metrics(logits, labels)
    )
    assert (confusion_matrix(logits, labels) == sk.confusion_matrix(y, guess, labels=range(classes))).all()


def test_the_names_of_the_scores_are_known_before_there_is_one():
    y = torch.randn(6, 2)
    assert tuple(classification_metrics(y, torch.arange(6) % 2)) == CLASSIFICATION
    assert tuple(regression_metrics(y, torch.randn(6, 2))) == REGRESSION


def test_a_class_without_samples_is_left_out_of_auroc():
    logits, labels = case("absent class")
    p = softmax(logits.numpy().astype(float), axis=1)
    left = [sk.roc_auc_score(labels == c, p[:, c]) for c in range(3)]
    assert auroc(logits, labels) == pytest.approx(np.mean(left))
    assert np.isnan(auroc(logits, torch.zeros(300, dtype=torch.long))), "one class alone has no area"
    found = classification_metrics(logits, labels)["balanced_accuracy"]
    recalls = [sk.recall_score(labels == c, logits.argmax(1) == c) for c in range(3)]
    assert found == pytest.approx(sum(recalls) / 4), "predicted though absent: counts as 0, as documented"


def test_brier_of_two_classes_is_twice_the_one_of_sklearn():
    logits, labels = case("two classes")
    ours = sk.brier_score_loss(labels, logits.double().softmax(1)[:, 1])
    assert brier(logits, labels) == pytest.approx(2 * ours)


def test_confident_answers_that_differ_are_not_tied():
    """A float32 probability is 1 from a margin of 17 on, but a margin of 30 still ranks above one of 20."""
    labels = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[0.0, 20.0], [0.0, 21.0], [0.0, 30.0], [0.0, 31.0]])
    assert auroc(logits, labels) == 1
    assert tm.binary_auroc(logits.softmax(1)[:, 1], labels) == 0.5


def test_classification_refuses_what_has_no_score():
    logits, labels = case("plain")
    broken = logits.clone()
    broken[7] = float("nan")
    for bad, truth, said in [
        (broken, labels, "1 samples.*at 7"),
        (logits[:, :1], labels, "two classes"),
        (logits, labels + 1, "from 0 to 3"),
        (logits[:0], labels[:0], "at least one sample"),
    ]:
        with pytest.raises(ValueError, match=said):
            classification_report(bad, truth)


def test_multilabel_equals_both_references():
    rng = np.random.default_rng(0)
    labels, logits = (rng.random((200, 6)) < 0.2).astype(int), rng.normal(size=(200, 6)).round(1)
    labels[:, 5] = 0
    found = multilabel_metrics(logits, labels)
    known = slice(0, 5)
    precision = sk.average_precision_score(labels[:, known], logits[:, known], average="macro")
    theirs = tm.multilabel_average_precision(
        torch.tensor(logits).sigmoid()[:, known], torch.tensor(labels)[:, known], 5
    )
    assert found["map"] == pytest.approx(precision, abs=1e-6) and found["map"] == pytest.approx(
        theirs.item(), abs=1e-6
    )
    assert found["micro_f1"] == pytest.approx(sk.f1_score(labels, logits > 0, average="micro"))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, logits > 0, average="macro"))
    assert np.isnan(multilabel_metrics(logits, labels * 0)["map"])
    with pytest.raises(ValueError, match="0 and 1"):
        multilabel_metrics(logits, labels + 1)


@pytest.mark.parametrize("ties", [False, True])
def test_regression_equals_both_references(ties):
    from scipy.stats import pearsonr, spearmanr

    rng = np.random.default_rng(0)
    y = rng.normal(size=(150, 2))
    x = y + rng.normal(size=y.shape) + 0.5
    if ties:
        x, y = x.round(), y.round()
    found, a, b = regression_report(x, y), torch.tensor(x), torch.tensor(y)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, x))
    assert found["mse"] == pytest.approx(sk.mean_squared_error(y, x))
    assert found["correlation"] == pytest.approx(tr.pearson_corrcoef(a, b).mean().item())
    assert found["correlation"] == pytest.approx(np.mean([pearsonr(x[:, k], y[:, k])[0] for k in (0, 1)]))
    assert found["spearman"] == pytest.approx(np.mean([spearmanr(x[:, k], y[:, k])[0] for k in (0, 1)]))
    assert found["spearman"] == pytest.approx(tr.spearman_corrcoef(a, b).mean().item(), abs=1e-4)
    assert found["ccc"] == pytest.approx(tr.concordance_corrcoef(a, b).mean().item(), abs=1 / 150)
    assert {k: pytest.approx(v, rel=1e-4) for k, v in regression_metrics(a, b).items()} == {
        k: found[k] for k in ("mae", "mse", "correlation")
    }


def test_concordance_punishes_what_a_correlation_forgives():
    y = np.random.default_rng(0).normal(size=100)
    for wrong in (y + 3, 3 * y):
        found = regression_report(wrong, y)
        assert found["correlation"] == pytest.approx(1) and found["ccc"] < 0.7
    assert regression_report(y, y)["ccc"] == pytest.approx(1)
    constant = regression_report(np.ones(100), y)
    assert np.isnan(constant["correlation"]) and np.isnan(constant["spearman"]) and constant["ccc"] == 0
    with pytest.raises(ValueError, match="1 of 100 values"):
        regression_report(np.where(np.arange(100) == 3, np.inf, y), y)


def naive(similarity, right):
    """R@5, median rank and MRR by sorting, where nothing is tied."""
    ranks = []
    for row, ok in zip(similarity, right, strict=True):
        ranks.append(1 + min(np.flatnonzero(ok[np.argsort(-row)])))
    ranks = np.array(ranks)
    return {"r5": (ranks <= 5).mean(), "median_rank": np.median(ranks), "mrr": (1 / ranks).mean()}


def test_retrieval_equals_sorting_and_torchmetrics():
    rng = np.random.default_rng(0)
    similarity = rng.random((60, 60)) + 0.5 * np.eye(60)  # above 0: torchmetrics calls all others wrong
    right = (rng.random((60, 60)) < 0.05) | np.eye(60, dtype=bool)
    for truth in (np.eye(60, dtype=bool), right):
        found = ranking_metrics(similarity, truth)
        assert {k: found[k] for k in ("r5", "median_rank", "mrr")} == pytest.approx(naive(similarity, truth))
        rows = [(torch.tensor(s), torch.tensor(t)) for s, t in zip(similarity, truth, strict=True)]
        assert found["r1"] == pytest.approx(np.mean([retrieval_hit_rate(s, t, top_k=1) for s, t in rows]))
        assert found["mrr"] == pytest.approx(np.mean([retrieval_reciprocal_rank(s, t) for s, t in rows]))
    assert ranking_metrics(similarity) == ranking_metrics(similarity, np.eye(60, dtype=bool))


def test_retrieval_in_both_directions_is_that_of_the_cosine_matrix():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(3000, 4))  # more than a chunk
    b = a + rng.normal(size=a.shape)
    cosine = (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    found = retrieval_metrics(a, b)
    for name, table in (("forward", cosine), ("backward", cosine.T)):
        there = ranking_metrics(table)
        assert {f"{name}_{key}": pytest.approx(value) for key, value in there.items()} == {
            key: value for key, value in found.items() if key.startswith(name)
        }


@pytest.mark.parametrize("value", [1.0, 0.1])
def test_a_constant_embedding_scores_chance(value):
    n = 77
    same = np.full((n, 24), value, dtype=np.float32)
    found = retrieval_metrics(same, same)
    chance = {f"r{k}": pytest.approx(k / n) for k in (1, 5, 10)}
    chance |= {"median_rank": (n + 1) / 2, "mrr": pytest.approx((1 / np.arange(1, n + 1)).mean())}
    for name in ("forward", "backward"):
        assert {key: found[f"{name}_{key}"] for key in chance} == chance
    assert ranking_metrics(torch.tensor(same) @ torch.tensor(same).T)["r1"] == pytest.approx(1 / n)


def test_what_differs_by_rounding_only_is_tied():
    """The last bits of a sum depend on its order; here they favour the right item."""
    for dtype in (torch.float32, torch.float64):
        table = torch.full((50, 50), 0.7, dtype=dtype) + torch.finfo(dtype).eps * torch.eye(50, dtype=dtype)
        assert ranking_metrics(table)["r1"] == pytest.approx(1 / 50)


def test_ties_score_their_mean_over_all_orders():
    """Break the ties at random many times, and the mean is what the exact formula says."""
    rng = np.random.default_rng(0)
    similarity = rng.integers(0, 3, (20, 12)).astype(float)
    right = rng.random((20, 12)) < 0.3
    right[:, 0] = True
    broken = [naive(similarity + 0.5 * rng.random(similarity.shape), right) for _ in range(3000)]
    found = ranking_metrics(similarity, right)
    for key in ("r5", "mrr"):
        assert found[key] == pytest.approx(np.mean([b[key] for b in broken]), abs=0.003)


def test_retrieval_refuses_nan_which_would_rank_first():
    table = np.random.default_rng(0).normal(size=(5, 5))
    table[2, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ranking_metrics(table)
    with pytest.raises(ValueError, match="at least one True"):
        ranking_metrics(np.ones((3, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(4, 2\)"):
        retrieval_metrics(np.ones((3, 2)), np.ones((4, 2)))


def test_reliability_bins_hold_all_samples_once():
    logits, labels = case("plain")
    table = reliability(logits, labels)
    assert table.samples.sum() == 300 and len(table.samples) == 15
    confidence = logits.double().softmax(1).amax(1).numpy()
    right = (logits.argmax(1) == labels).numpy()
    for _, row in table.to_frame().iterrows():
        inside = (confidence >= row.low) & (confidence < row.high)
        assert row.samples == inside.sum()
        if inside.any():
            assert row.confidence == pytest.approx(confidence[inside].mean())
            assert row.accuracy == pytest.approx(right[inside].mean())


def test_a_large_set_is_scored_without_a_warning_and_as_by_the_reference():
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50_000, 10, generator=g), torch.randint(0, 10, (50_000,), generator=g)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = classification_report(logits, labels)
    theirs = sk.roc_auc_score(labels, softmax(logits.numpy().astype(float), axis=1), multi_class="ovr")
    assert found["auroc"] == pytest.approx(theirs, abs=1e-9)
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == labels).double().mean().item())


def by_enumeration(similarity, right, cut):
    """R@cut and MRR as the mean over all orders of equal scores, by trying every one of them."""
    hits, reciprocal = [], []
    for row, ok in zip(similarity, right, strict=True):
        groups = [np.flatnonzero(row == value) for value in sorted(set(row), reverse=True)]
        orders = itertools.product(*(itertools.permutations(group) for group in groups))
        ranks = [1 + min(k for k, item in enumerate(itertools.chain(*order)) if ok[item]) for order in orders]
        hits.append(np.mean(np.array(ranks) <= cut))
        reciprocal.append(np.mean(1 / np.array(ranks)))
    return np.mean(hits), np.mean(reciprocal)


MASKS = {
    torch.float16: (-torch.inf, -6e4),
    torch.bfloat16: (-torch.inf, -1e9),
    torch.float32: (-torch.inf, -1e9, -1e30),
    torch.float64: (-torch.inf, -1e9, -1e300),
    torch.int64: (-(10**9),),
    torch.int32: (-(10**9),),
    torch.uint8: (0,),
}


@pytest.mark.parametrize("dtype", MASKS, ids=str)
def test_masked_pairs_and_ties_rank_as_by_enumeration_in_every_type(dtype):
    rng = np.random.default_rng(0)
    for mask in MASKS[dtype]:
        for trial in range(6):
            table = torch.tensor(rng.integers(1, 5, (5, 6)), dtype=dtype)
            if dtype.is_floating_point:
                table = table / 5 - 0.5  # around 0, and equal scores stay equal
            right = rng.random((5, 6)) < 0.35  # one right answer or several
            right[np.arange(5), rng.integers(0, 6, 5)] = True
            hidden = torch.tensor(rng.random((5, 6)) < 0.2)  # right ones, too
            table = torch.where(hidden, torch.tensor(mask, dtype=dtype), table)
            found = ranking_metrics(table, right, cuts=(2,))
            expected = by_enumeration(table.double().numpy(), right, 2)
            assert (found["r2"], found["mrr"]) == pytest.approx(expected), (mask, trial)


@pytest.mark.parametrize("mask", [-1e9, -torch.inf, -1.0])
def test_one_masked_pair_ties_nothing_else(mask):
    table = torch.eye(4)
    table[0, 1] = mask
    assert ranking_metrics(table)["r1"] == 1


def test_what_is_nearly_equal_is_not_tied_where_its_own_size_tells_it_apart():
    table = torch.eye(6, dtype=torch.float64) * 1e-9
    table[0, 1] = 1e3
    assert ranking_metrics(table)["r1"] == pytest.approx(5 / 6)
    half = (0.70 + 0.004 * torch.eye(6)).to(torch.bfloat16)
    assert len(half.unique()) == 2 and ranking_metrics(half)["r1"] == 1
