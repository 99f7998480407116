"""Made data: the declared table is what is drawn, the ceilings are exact, rows are pure functions."""

import itertools

import numpy as np
import pytest
import torch

from mmbook import collate
from mmbook.book.datasets import Synthetic
from mmbook.book.written.information import co_information, mutual_information

MIXED = {"redundancy": 0.5, "uniqueness": {"a": 0.4}, "synergy": {"bc": 0.8}}
TASKS = {
    "redundancy": {"redundancy": 0.6},
    "uniqueness": {"uniqueness": 0.6},
    "synergy": {"synergy": 0.6},
    "mixed, spoiled": MIXED | {"noise": {"a": 0.3, "c": 0.1}, "missing": 0.2},
}
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
each_form = pytest.mark.parametrize("form", ["vectors", "sequences"])


def binary_entropy(rate):
    return -sum(x * np.log2(x) for x in (rate, 1 - rate) if x > 0)


@each_task
@pytest.mark.parametrize("modalities", [3, 4])
def test_rows_follow_the_table(task, modalities):
    data = Synthetic("train", modalities=modalities, size=60_000, **task)
    counts = np.zeros(data.table.shape)
    np.add.at(counts, (*data.symbols.numpy().T, data.labels.numpy()), 1 / len(data))
    assert data.table.sum() == pytest.approx(1)
    # every cell within 6 standard deviations, and nothing where nothing can be
    deviation = np.sqrt(data.table * (1 - data.table) / len(data))
    assert (np.abs(counts - data.table) <= 6 * deviation + 1e-12).all()


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_who_knows_what(modalities):
    """Bits of every subset, from the definition of the three kinds."""
    everyone = range(modalities)
    for size in range(modalities + 1):
        for seen in itertools.combinations(everyone, size):
            bits = {
                kind: mutual_information(
                    Synthetic("valid", modalities=modalities, size=1, **{kind: 0.6}).table, seen
                )
                for kind in ("redundancy", "uniqueness", "synergy")
            }
            expected = (0.6 * (size > 0), 0.6 * size, 0.6 * (size == modalities))
            np.testing.assert_allclose(list(bits.values()), expected, atol=1e-9)
    sign = (-1) ** (modalities + 1)  # of pure synergy, by the alternating sum
    table = Synthetic("valid", modalities=modalities, size=1, synergy=0.6).table
    assert co_information(table) == pytest.approx(0.6 * sign)


def test_bits_and_flips():
    for bits in (0.01, 0.5, 0.999, 1.0):
        (question,) = Synthetic("valid", redundancy=bits, size=1).questions
        assert 1 - binary_entropy(question.flip) == pytest.approx(bits, abs=1e-9)


@each_task
def test_ceilings_are_what_enumeration_gives(task):
    data = Synthetic("valid", size=1, **task)
    for subset, found in data.ceilings().items():
        axes = [data.modalities.index(name) for name in subset]
        both = {}
        for cell in np.ndindex(data.table.shape):
            both.setdefault(tuple(cell[a] for a in axes), np.zeros(data.table.shape[-1]))[cell[-1]] += (
                data.table[cell]
            )
        assert found.accuracy == pytest.approx(sum(p.max() for p in both.values()), abs=1e-12)
        entropy = -sum(x * np.log(x / p.sum()) for p in both.values() for x in p if x > 0)
        assert found.cross_entropy == pytest.approx(entropy, abs=1e-12)


def test_noise_at_one_or_loss_at_one_leaves_nothing_of_a_modality():
    clean = Synthetic("valid", size=1, **MIXED).ceilings()
    for spoiled in ({"noise": {"a": 1.0}}, {"missing": {"a": 1.0}}):
        found = Synthetic("valid", size=1, **MIXED, **spoiled).ceilings()
        for subset, ceiling in found.items():
            without = tuple(name for name in subset if name != "a")
            np.testing.assert_allclose(ceiling, clean[without], atol=1e-12)


@each_task
def test_the_posterior_reaches_the_ceiling_and_regrets_nothing(task):
    data = Synthetic("test", size=40_000, **task)
    best = data.posterior().argmax(dim=1)
    assert data.regret(best).max() == 0
    everything = data.ceilings()[data.modalities]
    assert (best == data.labels).double().mean().item() == pytest.approx(everything.accuracy, abs=0.015)
    nll = -data.posterior().gather(1, data.labels[:, None]).log().mean().item()
    assert nll == pytest.approx(everything.cross_entropy, abs=0.02)
    assert data.regret((best + 1) % data.table.shape[-1]).min() >= 0
    assert data.regret((best + 1) % data.table.shape[-1]).mean() > 0.1


@each_form
def test_rows_are_a_pure_function_of_seed_split_and_index(form):
    long = Synthetic("train", seed=3, form=form, size=50, **TASKS["mixed, spoiled"])
    short = Synthetic("train", seed=3, form=form, size=7, **TASKS["mixed, spoiled"])
    for i in range(7):
        for key, value in long[i].items():
            other = short[i][key]
            assert (value is None and other is None) or torch.equal(
                torch.as_tensor(value), torch.as_tensor(other)
            )
    for other in (("train", 4), ("test", 3)):
        assert not torch.equal(Synthetic(*other, form=form, size=50, **MIXED).labels, long.labels)


@each_form
def test_symbols_are_recovered_by_the_nearest_vector(form):
    """Codes estimated from data without jitter; nothing else may lie as close, distractors included."""
    task = TASKS["mixed, spoiled"]
    clean = Synthetic("test", form="vectors", size=500, jitter=0, **task)
    data = Synthetic("test", form=form, size=500, **task)
    assert 0 < data.misread < 1e-7
    for m, name in enumerate(data.modalities):
        symbols = clean.symbols[:, m]
        count = data.table.shape[m] - 1
        codes = torch.stack([clean.arrays[name][symbols == k][0, 0] for k in range(count)])
        torch.testing.assert_close(codes @ codes.T, 8 * torch.eye(count), atol=1e-4, rtol=0)
        for i in range(len(data)):
            tokens = data[i][name]
            if tokens is None:
                assert data.symbols[i, m] == count
                continue
            near = (tokens @ codes.T > 4).nonzero()  # half way to a code of squared length 8
            assert near[:, 1].tolist() == [data.symbols[i, m].item()]


def test_sequences_have_unequal_lengths_and_the_symbol_anywhere():
    data = Synthetic("train", form="sequences", redundancy=1.0, size=2000)
    assert set(data.lengths["a"].tolist()) == set(range(4, 13))
    batch = collate([data[i] for i in range(8)])
    assert batch["a"].shape[0] == 8 and batch["a_mask"].sum(dim=1).tolist() == data.lengths["a"][:8].tolist()


def test_more_noise_or_loss_spoils_the_same_samples_and_further_ones():
    kept = [Synthetic("test", **MIXED, noise=rate).symbols for rate in (0.0, 0.2, 0.6)]
    changed = [symbols != kept[0] for symbols in kept]
    assert (changed[1] <= changed[2]).all() and changed[1].sum() < changed[2].sum()
    lost = [Synthetic("test", **MIXED, missing=rate).lengths["b"] == 0 for rate in (0.0, 0.2, 0.6)]
    assert not lost[0].any() and (lost[1] <= lost[2]).all()
    assert lost[2].double().mean().item() == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"redundancy": 1, "modalities": 5}, "modalities is 5.*2 to 4"),
        ({}, "every dial is at 0"),
        ({"synergy": 1.5}, "synergy of 'abc' is 1.5.*0 to 1"),
        ({"synergy": {"a": 0.5}}, "synergy is asked of 'a'.*two or more"),
        ({"uniqueness": {"ab": 0.5}}, "uniqueness is asked of 'ab'.*one of"),
        ({"synergy": {"ae": 0.5}}, "'ae'.*a, b, c"),
        ({"synergy": {"aba": 0.5}}, "'aba'.*each once"),
        ({"redundancy": 1, "noise": 2}, "noise of 'a' is 2"),
        ({"redundancy": 1, "missing": {"d": 0.1}}, "missing of 'd' is 0.1.*a, b, c"),
        ({"redundancy": 1, "form": "pictures"}, "'pictures'.*vectors, sequences"),
        ({"redundancy": 1, "uniqueness": 1, "synergy": 1, "form": "sequences"}, "dim is 8.*distractor"),
    ],
)
def test_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        Synthetic("train", **options)


def test_refuses_a_split_and_predictions_that_do_not_fit():
    with pytest.raises(ValueError, match="'dev'.*train, valid, test"):
        Synthetic("dev", redundancy=1)
    with pytest.raises(ValueError, match=r"shape \(3,\).*10 samples"):
        Synthetic("test", redundancy=1, size=10).regret([0, 1, 0])
