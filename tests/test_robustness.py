"""Corruptions keep every sample, repeat exactly, and nest; curves fall on a case that must fall."""

import numpy as np
import pytest
import torch
from torch import nn

from mmbook import collate
from mmbook.book.written.corrupt import (
    Dropped,
    Hiss,
    MissingWhere,
    Noisy,
    curve_plot,
    deviation,
    robustness_curve,
)
from mmbook.data.arrays import from_arrays
from mmbook.evaluate import AUROC, MissingAtRandom, paired, predict_logits
from mmbook.models import fusion_on_features

RNG = np.random.default_rng(0)
LABELS = np.arange(600) % 2
DATA = from_arrays(
    {
        "a": (2 * LABELS - 1)[:, None] + 0.2 * RNG.normal(size=(600, 1)),
        "b": (2 * LABELS - 1)[:, None] + 0.2 * RNG.normal(size=(600, 1)),
    },
    LABELS,
)
SOUNDS = [
    {"audio": 0.3 * torch.sin(torch.arange(4000) * (0.01 + 0.001 * i)), "labels": i % 2, "id": i}
    for i in range(8)
]
TEXTS = [{"text": torch.arange(101, 121 + i), "labels": i % 2, "id": i} for i in range(50)]


class Reader(nn.Module):
    """Adds up the named modalities' means; what is missing adds nothing."""

    def __init__(self, names):
        super().__init__()
        self.names = names

    def forward(self, **batch):
        values = [(batch[n] * batch[f"{n}_mask"][..., None]).sum(dim=(1, 2)) for n in self.names]
        score = torch.stack(values).sum(dim=0)
        return type("Output", (), {"logits": torch.stack([-score, score], dim=1)})


LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
CORRUPTIONS = {
    "noise": lambda data, level: Noisy(data, "a", 6 * level, scale=deviation(DATA, "a")),
    "missing at random": lambda data, level: MissingAtRandom(data, {"a": level}),
    "missing in a class": lambda data, level: MissingWhere(
        data, "a", (LABELS == 1) & (np.arange(600) < 600 * level)
    ),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_score_falls_and_the_population_stays(kind):
    table = robustness_curve(Reader(["a"]), DATA, CORRUPTIONS[kind], LEVELS)
    assert table.n.tolist() == [600] * 5 and table.level.tolist() == list(LEVELS)
    assert table.score.is_monotonic_decreasing and table.score.iloc[0] - table.score.iloc[-1] > 0.2
    assert (table.low <= table.score).all() and (table.score <= table.high).all()
    assert table[["change", "change_low", "change_high"]].iloc[0].tolist() == [0, 0, 0]
    assert (table.change_high.iloc[1:] < 0).all()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_model_on_the_intact_modality_is_unaffected(kind):
    table = robustness_curve(Reader(["b"]), DATA, CORRUPTIONS[kind], LEVELS)
    assert table.score.nunique() == 1 and (table.change == 0).all()


def test_changes_are_the_paired_intervals_of_all_seeds():
    models = [Reader(["a"]), Reader(["a", "b"])]
    table = robustness_curve(models, DATA, CORRUPTIONS["noise"], (0.0, 1.0))
    right = []
    for level in (0.0, 1.0):
        worse = CORRUPTIONS["noise"](DATA, level)
        right.append([(predict_logits(m, worse).argmax(1) == DATA.labels).double().numpy() for m in models])
    assert table[["change", "change_low", "change_high"]].iloc[1].tolist() == list(paired(right[1], right[0]))


def test_everything_missing_is_answered_by_a_real_model():
    torch.manual_seed(0)
    model = fusion_on_features(DATA.dims, "concat", num_classes=2, width=8)
    table = robustness_curve(model, DATA, MissingAtRandom, (0.0, 0.5, 1.0))
    assert table.n.tolist() == [600] * 3
    answers = predict_logits(model, MissingAtRandom(DATA, 1.0))
    assert torch.allclose(answers, answers[:1].expand_as(answers)), "nothing seen, so all get the same answer"


def test_a_statistic_of_the_whole_set_makes_a_curve_too():
    table = robustness_curve(Reader(["a"]), DATA, CORRUPTIONS["noise"], (0.0, 1.0), score=AUROC)
    assert table.score.iloc[0] == 1 and table.change_high.iloc[1] < 0


def views(seed):
    return [
        Noisy(DATA, "a", 0.5, seed),
        MissingAtRandom(DATA, 0.5, seed),
        Hiss(SOUNDS, 10, seed=seed),
        Dropped(TEXTS, 0.5, seed=seed),
    ]


def same(row, other):
    return row.keys() == other.keys() and all(
        torch.equal(torch.as_tensor(row[k]), torch.as_tensor(other[k])) for k in row
    )


@pytest.mark.parametrize("which", range(4))
def test_a_row_is_a_pure_function_of_seed_and_index(which):
    one, again, other = views(0)[which], views(0)[which], views(1)[which]
    order = torch.randperm(len(one)).tolist()
    rows = {i: again[i] for i in order}  # in another order, after other draws
    assert all(same(one[i], rows[i]) for i in range(len(one)))
    assert not all(same(one[i], other[i]) for i in range(len(one)))
    assert len(one) == len(one.dataset) and [row["id"] for row in one] == list(range(len(one)))
    assert one[-1]["id"] == len(one) - 1
    with pytest.raises(IndexError):
        one[len(one)]


@pytest.mark.parametrize("which", range(4))
def test_the_dataset_itself_is_left_alone(which):
    view = views(0)[which]
    before = [{k: torch.as_tensor(v).clone() for k, v in view.dataset[i].items()} for i in range(8)]
    _ = [view[i] for i in range(8)]
    assert all(same(view.dataset[i], before[i]) for i in range(8))


@pytest.mark.parametrize(
    "nothing",
    [Noisy(DATA, "a", 0), MissingAtRandom(DATA, 0.0), Hiss(SOUNDS, float("inf")), Dropped(TEXTS, 0.0)],
    ids=lambda view: type(view).__name__,
)
def test_level_zero_changes_nothing(nothing):
    assert all(same(nothing[i], nothing.dataset[i]) for i in range(8))


def test_noise_has_the_stated_size_and_the_same_shape_at_every_level():
    changes = []
    for level in (0.5, 2.0):
        noisy = Noisy(DATA, "a", level, scale=0.7)
        changes.append(torch.stack([noisy[i]["a"] - DATA[i]["a"] for i in range(600)]))
        assert changes[-1].std().item() == pytest.approx(0.7 * level, rel=0.1)
    assert torch.allclose(4 * changes[0], changes[1], atol=1e-5)


@pytest.mark.parametrize("snr", [20, 0, -10])
def test_hiss_has_the_stated_signal_to_noise_ratio(snr):
    for row, clean in zip(Hiss(SOUNDS, snr), SOUNDS, strict=True):
        power, noise = (x.square().mean() for x in (clean["audio"], row["audio"] - clean["audio"]))
        assert 10 * torch.log10(power / noise).item() == pytest.approx(snr, abs=0.4)


def gone(view, name):
    return torch.tensor([len(view[i][name]) == 0 for i in range(len(view))])


def test_missing_has_its_rate_and_what_is_gone_stays_gone():
    previous = torch.zeros(600, dtype=torch.bool)
    for rate in LEVELS:
        now = gone(MissingAtRandom(DATA, rate), "a")
        assert now.float().mean().item() == pytest.approx(rate, abs=0.06)
        assert (previous <= now).all()
        previous = now
    half = MissingAtRandom(DATA, 0.5)
    both = (gone(half, "a") & gone(half, "b")).float().mean().item()
    assert both == pytest.approx(0.25, abs=0.06), "the modalities go independently"


def test_a_modality_that_is_not_named_is_always_there():
    view = MissingAtRandom(DATA, {"a": 1.0})
    assert gone(view, "a").all() and not gone(view, "b").any()


def test_structured_gaps_are_where_the_mask_says():
    view = MissingWhere(DATA, "b", DATA.labels == 1)
    assert torch.equal(gone(view, "b"), DATA.labels == 1) and not gone(view, "a").any()


def test_dropped_words_keep_their_order_and_their_frame():
    previous = [row["text"] for row in TEXTS]
    for rate in (0.3, 0.6, 1.0):
        now = [row["text"] for row in Dropped(TEXTS, rate, keep=(101, 120))]
        for row, before in zip(now, previous, strict=True):
            assert set(row.tolist()) <= set(before.tolist()) and (row.diff() > 0).all()
            assert {101, 120} <= set(row.tolist())
        previous = now
    assert all(row.tolist() == [101, 120] for row in previous)
    batch = collate([Dropped(TEXTS, 1.0)[i] for i in range(3)])
    assert not batch["text_mask"].any(), "a text without any word is a missing one"


def test_deviation_is_that_of_all_numbers():
    assert deviation(DATA, "a") == pytest.approx(DATA.arrays["a"].double().std(correction=0).item())
    rows = [
        {"x": torch.tensor([1.0, 5.0]), "labels": 0},
        {"x": None, "labels": 1},
        {"x": torch.tensor([3.0]), "labels": 0},
    ]
    assert deviation(rows, "x") == pytest.approx(np.std([1, 5, 3]))


def test_a_corruption_that_loses_samples_or_labels_is_refused():
    easy = from_arrays({n: DATA.arrays[n][:500] for n in "ab"}, LABELS[:500])
    with pytest.raises(ValueError, match="500 rows, 600 before"):
        robustness_curve(Reader(["a"]), DATA, lambda data, level: easy, (0.0,))
    flipped = from_arrays(DATA.arrays, 1 - LABELS)
    with pytest.raises(ValueError, match="labels"):
        robustness_curve(Reader(["a"]), DATA, lambda data, level: flipped, (0.0,))
    with pytest.raises(ValueError, match="no levels"):
        robustness_curve(Reader(["a"]), DATA, MissingAtRandom, ())


def test_bad_options_are_refused():
    for make, said in [
        (lambda: Noisy(DATA, "x", 1.0), "'x'.*a, b"),
        (lambda: Noisy(DATA, "a", -1.0), "-1.0"),
        (lambda: Noisy(TEXTS, "text", 1.0)[0], "float values only"),
        (lambda: Hiss(SOUNDS, float("nan")), "nan"),
        (lambda: MissingAtRandom(DATA, 1.5), "1.5.*from 0 to 1"),
        (lambda: MissingAtRandom(DATA, {"x": 0.5}), "'x'"),
        (lambda: Dropped(TEXTS, -0.1), "-0.1"),
        (lambda: MissingWhere(DATA, "a", np.ones(600)), "float64"),
        (lambda: MissingWhere(DATA, "a", np.ones(5, dtype=bool)), r"\(5,\)"),
        (lambda: deviation(DATA, "x"), "'x'"),
    ]:
        with pytest.raises(ValueError, match=said):
            make()


def test_the_plot_has_a_line_and_a_band_for_each_curve():
    table = robustness_curve(Reader(["a"]), DATA, MissingAtRandom, (0.0, 1.0))
    ax = curve_plot({"one": table, "two": table})
    assert len(ax.lines) == len(ax.collections) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]
