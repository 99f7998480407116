"""Control rows: they come unasked, fall to chance where they must, and no sample is lost or doubled."""

import itertools

import numpy as np
import pytest
import torch

from mmbook import Trainer, collate
from mmbook.data.arrays import from_arrays
from mmbook.evaluate import (
    ACCURACY,
    MACRO_F1,
    NLL,
    Only,
    Shuffled,
    ShuffledLabels,
    TestSet,
    compare,
    confusion_matrix,
    controls,
    interval,
    paired,
    predict_logits,
)
from mmbook.evaluate.comparison import THIS_TEST, TRAINING, constant_answers
from mmbook.models import fusion_on_features


def data(count, seed):
    """XOR of the signs of a and b, three quarters of them 1; c says nothing."""
    rng = np.random.default_rng(seed)
    y = (rng.random(count) < 0.7).astype(int)
    a = rng.choice([-1, 1], count)
    b = np.where(y == 1, -a, a)
    arrays = {"a": a, "b": b, "c": rng.normal(size=count)}
    return from_arrays({n: v[:, None] + 0.1 * rng.normal(size=(count, 1)) for n, v in arrays.items()}, y)


TRAIN, VALID, TEST = data(240, 0), data(60, 1), data(300, 2)


class Rows(torch.utils.data.Dataset):
    """The same as a plain dataset of rows."""

    def __init__(self, dataset):
        self.rows = [dataset[i] for i in range(len(dataset))]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def nearest(train, valid, seed):
    """The label of the nearest training sample in all modalities: no training, and it can do XOR."""
    batch = collate([train[i] for i in range(len(train))])
    names = [key for key in batch if f"{key}_mask" in batch]
    known = torch.cat([batch[n].flatten(1) for n in names], dim=1)

    def answer(dataset):
        rows = collate([dataset[i] for i in range(len(dataset))])
        x = torch.cat([rows[n].flatten(1) for n in names], dim=1)
        vote = torch.cdist(x, known).topk(9, largest=False).indices
        return torch.nn.functional.one_hot(batch["labels"][vote], 2).float().mean(dim=1)

    return answer


def test_every_control_is_where_it_must_be():
    found = controls(nearest, TRAIN, VALID, TEST, seeds=range(3))
    constant = [f"majority class {of}" for of in (TRAINING, THIS_TEST)]
    assert list(found) == constant + [f"{kind} {name}" for kind in ("only", "shuffled") for name in "abc"] + [
        "shuffled labels"
    ]
    accuracy = {
        name: np.mean([(one.argmax(1) == TEST.labels).float().mean() for one in logits])
        for name, logits in found.items()
    }
    majority = (TEST.labels == 1).float().mean().item()
    assert accuracy[constant[0]] == accuracy[constant[1]] == pytest.approx(majority)
    assert accuracy["shuffled c"] > 0.95, "c says nothing, so nothing is lost with it"
    best = found[constant[1]].argmax(-1) == TEST.labels
    for name in found.keys() - {"shuffled c"}:
        gain = paired(found[name].argmax(-1) == TEST.labels, best)
        assert gain.low <= 0, f"XOR: no modality alone says anything, but {name} does"


def test_on_shuffled_labels_any_method_falls_to_chance():
    """Balanced accuracy, for which chance is one half whatever the classes' shares."""
    found = controls(nearest, TRAIN, VALID, TEST, seeds=range(20), names=["a"])["shuffled labels"]
    counts = [confusion_matrix(one, TEST.labels) for one in found]
    chance = [np.mean(c.diagonal() / c.sum(axis=1)) for c in counts]
    assert abs(np.mean(chance) - 0.5) < 0.04


def test_a_leak_is_seen_on_shuffled_labels():
    """A method that looks at the test labels stays good when the training labels are shuffled."""
    leaky = lambda train, valid, seed: lambda test: torch.nn.functional.one_hot(test.labels, 2)  # noqa: E731
    table = compare({"leaky": leaky}, TRAIN, VALID, TEST, seeds=(0, 1)).report([ACCURACY])
    assert "leaky is not clearly better than" in str(table) and "shuffled labels" in table.footnotes()[1]


def test_views_of_rows_equal_those_of_arrays():
    rows = Rows(TEST)
    for ours, theirs in [
        (Only(rows, ["b", "c"]), TEST.select(["b", "c"])),
        (Shuffled(rows, "b", 5), TEST.shuffled("b", 5)),
    ]:
        a, b = (collate([d[i] for i in range(len(d))]) for d in (ours, theirs))
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_shuffling_keeps_what_is_there_and_only_moves_it():
    rows = Rows(TEST)
    dealt, blind = Shuffled(rows, "a", 1), ShuffledLabels(rows, 1)
    assert len(dealt) == len(blind) == len(TEST)
    values = torch.stack([row["a"] for row in dealt]).flatten()
    assert not torch.equal(values, TEST.arrays["a"].flatten())
    assert torch.equal(values.sort().values, TEST.arrays["a"].flatten().sort().values)
    assert torch.equal(blind.labels.bincount(), TEST.labels.bincount())
    assert not torch.equal(blind.labels, TEST.labels)
    assert all(row["labels"] == label for row, label in zip(blind, blind.labels, strict=True))
    assert all(torch.equal(row["a"], own["a"]) for row, own in zip(blind, rows, strict=True))
    for view, other in itertools.product((dealt, blind), (Shuffled(rows, "a", 2), ShuffledLabels(rows, 2))):
        assert [row["id"] for row in view] == [row["id"] for row in other] == list(range(len(TEST)))


def test_every_set_and_every_seed_is_dealt_out_otherwise():
    """Else sets of one size would keep a tie between them, and seeds would repeat one luck."""
    seen = []

    def watch(train, valid, seed):
        def answer(dataset):
            seen.extend(data.arrays["a"].flatten() for data in (train, valid, dataset))
            return torch.zeros(len(dataset), 2)

        return answer

    controls(watch, TRAIN, TRAIN, TRAIN, seeds=(0, 1), names=["a"])
    dealt = seen[:6]  # of "shuffled a"; only the labels are dealt out after that
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(dealt, 2))


def test_views_refuse_unknown_names():
    for make in (lambda: Only(TEST, ["x"]), lambda: Shuffled(TEST, "x")):
        with pytest.raises(ValueError, match="'x'.*a, b, c"):
            make()
    with pytest.raises(ValueError, match="no modality is left"):
        Only(TEST, [])


def test_rows_and_arrays_give_the_same_controls():
    by_arrays = controls(nearest, TRAIN, VALID, TEST, seeds=(0, 1))
    by_rows = controls(nearest, Rows(TRAIN), Rows(VALID), Rows(TEST), seeds=(0, 1))
    assert by_arrays.keys() == by_rows.keys()
    assert all(torch.allclose(by_arrays[name], by_rows[name]) for name in by_arrays)


def test_a_comparison_brings_its_controls_and_pairs_them():
    two = {
        "near": nearest,
        "blind": lambda train, valid, seed: (
            lambda test: constant_answers(train.labels, torch.ones(1, len(test), 2), "")["majority class "][0]
        ),
    }
    found = compare(two, TRAIN, VALID, TEST, seeds=(0, 1, 2))
    table = found.report([ACCURACY], ceiling={"accuracy": 1.0})
    assert [row.name for row in table.rows if not row.control] == ["near", "blind"]
    assert sum(row.control for row in table.rows) == 9
    right = {
        n: (a.argmax(-1) == TEST.labels).double() for n, a in {**found.methods, **found.controls}.items()
    }
    for row in table.rows:
        assert row.values["accuracy"] == interval(right[row.name])
        if row.name != "near":
            assert row.differences["accuracy"] == paired(right["near"], right[row.name])
    assert "near is not clearly better than shuffled c." in str(table)
    assert list(found.methods) == ["near", "blind"] and str(found) == str(found.report())


def test_the_real_trainer_and_statistics_of_the_whole_set():
    def fit(train, valid, seed):
        torch.manual_seed(seed)
        model = fusion_on_features(train.dims, "concat", num_classes=2, width=16, hidden=16)
        run = Trainer(
            model, train, valid, epochs=6, batch_size=64, lr=0.03, seed=seed, device="cpu", progress=False
        )
        run.fit()
        return run if seed else model  # both are taken

    table = compare({"concat": fit}, TRAIN, VALID, TEST, seeds=(0, 1)).report([ACCURACY, MACRO_F1])
    by_name = {row.name: row for row in table.rows}
    assert by_name["concat"].values["accuracy"].mean > 0.9
    for name in (f"majority class {TRAINING}", "only a", "shuffled b", "shuffled labels"):
        assert table.ahead(by_name[name], "accuracy") and table.ahead(by_name[name], "f1")


def test_numbers_are_compared_with_their_mean():
    rng = np.random.default_rng(0)

    def make(count):
        x = rng.normal(size=(count, 1))
        return from_arrays({"a": x, "b": rng.normal(size=(count, 1))}, x[:, 0] + 5)

    train, valid, test = make(100), make(20), make(50)

    def fit(train, valid, seed):
        names = list(train.arrays)
        design = lambda d: torch.cat([torch.ones(len(d), 1), *(d.arrays[n][:, 0] for n in names)], dim=1)  # noqa: E731
        weights = torch.linalg.lstsq(design(train), train.labels[:, None]).solution
        return lambda data: (design(data) @ weights)[:, 0]

    found = compare({"line": fit}, train, valid, test, seeds=(0, 1))
    for of, labels in ((TRAINING, train.labels), (THIS_TEST, test.labels)):
        assert torch.allclose(found.controls[f"mean {of}"], labels.mean())
        assert torch.allclose(found.controls[f"median {of}"], labels.quantile(0.5))
    table = found.report()
    by_name = {row.name: row for row in table.rows}
    assert table.metrics == ["mae", "mse"] and table.lower_is_better == ("mae", "mse")
    assert table.ahead(by_name[f"mean {TRAINING}"], "mae") and not table.ahead(by_name["shuffled b"], "mae")


def drawn(count, share, seed):
    """Two classes in given shares, and an input that says nothing of them."""
    y = (np.arange(count) < share * count).astype(int)
    rng = np.random.default_rng(seed)
    return from_arrays({"a": rng.normal(size=(count, 1)), "b": rng.normal(size=(count, 1))}, y)


def always(answer):
    return lambda train, valid, seed: lambda test: torch.tensor(answer).expand(len(test), -1)


@pytest.mark.parametrize("scores", [[ACCURACY, NLL], [MACRO_F1]], ids=["single samples", "statistic"])
@pytest.mark.parametrize("best", [0, 1])
def test_no_constant_answer_beats_a_control_because_shares_shift(best, scores):
    """Training is three quarters class 0, the test set three quarters class 1."""
    train, valid, test = drawn(400, 0.25, 0), drawn(80, 0.25, 1), drawn(400, 0.75, 2)
    methods = {"constant": always([1.0 - best, 1.0 * best]), "near": nearest}
    found = compare(methods, train, valid, test, seeds=(0, 1))
    table = found.report(scores)
    rows = {row.name: row for row in table.rows}
    known = [rows[f"majority class {of}"] for of in (TRAINING, THIS_TEST)]
    if scores[0] is ACCURACY:
        assert [row.values["accuracy"].mean for row in known] == [0.25, 0.75], "both are shown, by name"
        assert best == 0 or known[0].differences["accuracy"].low > 0.4, "and the shift is to be seen"
    for row in table.rows:
        for metric in table.metrics if row.control else ():
            assert not table.ahead(row, metric)
            worse = row.differences[metric].high < 0 if metric != "nll" else row.differences[metric].low > 0
            assert table.marked(row, metric) == worse, "an asterisk only where the constant answer is worse"
    assert f"is not clearly better than majority class {TRAINING}" in str(table)
    frame = table.to_frame().query("control and metric != 'nll'")
    assert not (frame.clear & (frame.difference > 0)).any()


def test_several_labels_are_controlled_on_the_scale_of_logits():
    """Always "no" is right as often as the frequencies say, and beats nothing that knows them."""
    rng = np.random.default_rng(0)
    shares = np.array([0.2, 0.4, 0.02])

    def make(count):
        labels = (rng.random((count, 3)) < shares).astype(np.float32)
        return from_arrays({"a": rng.normal(size=(count, 1)), "b": rng.normal(size=(count, 1))}, labels)

    train, valid, test = make(500), make(50), make(500)
    found = compare({"no": always([-3.0, -3.0, -3.0])}, train, valid, test, seeds=(0, 1))
    logits = found.controls[f"frequency of each label {TRAINING}"]
    assert torch.allclose(logits[0, 0].sigmoid(), train.labels.mean(dim=0), atol=0.01)
    assert (logits < 0).all(), "a share below one half is a logit below 0"
    table = found.report()
    assert table.metrics == ["label accuracy", "label nll"]
    for row in table.rows[1:]:
        if row.constant or TRAINING in row.name:
            assert row.values["label accuracy"] == table.rows[0].values["label accuracy"]
        assert not table.ahead(row, "label accuracy") and not table.marked(row, "label accuracy")


def test_the_median_of_the_test_set_keeps_a_skewed_target_from_flattering():
    """By absolute error the median is the best constant, and the mean is far behind it."""
    rng = np.random.default_rng(0)

    def make(count, shift):
        return from_arrays({"a": rng.normal(size=(count, 1))}, rng.exponential(size=count) ** 2 + shift)

    train, valid, test = make(300, 0), make(50, 0), make(300, 2)
    median = float(test.labels.quantile(0.5))
    table = compare({"median": always([median])}, train, valid, test, seeds=(0, 1)).report()
    for row in table.rows[1:]:
        assert not any(table.ahead(row, metric) for metric in table.metrics), row.name


def test_clusters_of_the_test_set_are_used_unasked():
    test = data(300, 2)
    test.clusters = {"picture": np.repeat(np.arange(6), 50)}
    free, grouped = (compare({"near": nearest}, TRAIN, VALID, t, seeds=(0, 1)) for t in (TEST, test))
    one, other = (c.report([ACCURACY]).rows[1].values["accuracy"] for c in (free, grouped))
    assert other.mean == one.mean and other.high - other.low != one.high - one.low


def test_leaving_controls_out_takes_a_reason_that_is_printed():
    found = compare({"near": nearest}, TRAIN, VALID, TEST, seeds=(0, 1), without_controls="shown in table 1")
    assert not found.controls and "No control rows: shown in table 1" in str(found)


def test_the_test_set_counts_its_uses():
    locked = TestSet(TEST)
    with pytest.raises(TypeError, match="open"):
        locked[0]
    with pytest.raises(ValueError, match="what the test set is opened for"):
        locked.open(" ")
    assert "used 0 times" in str(locked) and len(locked) == len(TEST)
    first = compare({"near": nearest}, TRAIN, VALID, locked, seeds=(0, 1))
    second = compare({"near": nearest}, TRAIN, VALID, locked, seeds=(0, 1))
    assert "Test set used 1 time: comparison of near." in str(first)
    assert "Test set used 2 times" in str(second)


def test_answers_that_lose_samples_are_refused():
    with pytest.raises(ValueError, match="299 answers to 300 rows"):
        predict_logits(lambda dataset: torch.zeros(299, 2), TEST)
    with pytest.raises(ValueError, match="no seeds"):
        controls(nearest, TRAIN, VALID, TEST, seeds=())
    with pytest.raises(ValueError, match="names="):
        controls(nearest, TRAIN, VALID, TEST.select(["a", "b"]))
    with pytest.raises(ValueError, match="'far'.*near"):
        compare({"near": nearest}, TRAIN, VALID, TEST, controlled="far")


def test_a_module_answers_in_order_and_keeps_its_mode():
    torch.manual_seed(0)
    model = fusion_on_features(TEST.dims, "concat", num_classes=2, width=8, dropout=0.5).train()
    with torch.no_grad():
        whole = model.eval()(**collate(TEST.__getitems__(range(len(TEST))))).logits
    model.train()
    assert torch.allclose(predict_logits(model, TEST, batch_size=7), whole, atol=1e-5)
    assert model.training
