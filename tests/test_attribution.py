"""Shapley values: equal to the mean over all orders, with all four axioms; and those of a real model."""

from itertools import permutations

import numpy as np
import pytest
import torch

from mmbook.data.arrays import from_arrays
from mmbook.evaluate import ACCURACY, Score, interval
from mmbook.explain import attribute, shapley
from mmbook.explain.attribution import subsets
from mmbook.models import fusion_on_features

NAMES = ("text", "image", "audio", "video")


def game(seed, shape=(5,), names=NAMES):
    rng = np.random.default_rng(seed)
    return {some: rng.normal(size=shape) for some in subsets(names)}


def brute(values, names=NAMES):
    """Mean gain over all orders of joining."""
    worth = {frozenset(some): value for some, value in values.items()}
    found = {name: [] for name in names}
    for order in permutations(names):
        for k, name in enumerate(order):
            found[name].append(worth[frozenset(order[: k + 1])] - worth[frozenset(order[:k])])
    return {name: np.mean(gains, axis=0) for name, gains in found.items()}


@pytest.mark.parametrize("names", [NAMES[:1], NAMES[:2], NAMES[:3], NAMES, (*NAMES, "depth", "touch")])
def test_equal_to_all_orders(names):
    values = game(0, names=names)
    ours, theirs = shapley(values), brute(values, names)
    assert ours.keys() == theirs.keys()
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-12)


def test_efficiency():
    values = game(1)
    np.testing.assert_allclose(sum(shapley(values).values()), values[NAMES] - values[()], atol=1e-12)


def test_symmetry():
    """Two modalities that do the same in every company earn the same."""
    values = game(2)
    swap = {"text": "image", "image": "text"}
    alike = {some: (values[some] + values[swapped(some, swap)]) / 2 for some in values}
    found = shapley(alike)
    np.testing.assert_allclose(found["text"], found["image"], atol=1e-12)
    assert not np.allclose(found["text"], found["audio"])


def swapped(some, swap):
    return tuple(name for name in NAMES if name in {swap.get(n, n) for n in some})


def test_dummy():
    values = game(3)
    deaf = {some: values[tuple(n for n in some if n != "audio")] for some in values}
    assert np.abs(shapley(deaf)["audio"]).max() < 1e-12


def test_additivity():
    one, other = game(4), game(5)
    whole = shapley({some: 2 * one[some] + other[some] for some in one})
    for name in NAMES:
        np.testing.assert_allclose(whole[name], 2 * shapley(one)[name] + shapley(other)[name], atol=1e-12)


def test_what_is_not_finite_earns_nothing_that_could_be_told():
    values = game(7)
    values["text", "audio"][2] = np.nan
    with pytest.raises(ValueError, match="1 of 5 values of.*text.*audio.*NaN"):
        shapley(values)


def test_subsets_may_come_as_frozensets_and_numbers():
    values = game(6, shape=())
    found = shapley({frozenset(some): float(value) for some, value in values.items()})
    assert {name: float(found[name]) for name in NAMES} == pytest.approx(
        {name: float(value) for name, value in shapley(values).items()}
    )


def test_incomplete_games_are_refused():
    values = game(7)
    del values["text", "audio"]
    with pytest.raises(ValueError, match="1 of 16 subsets"):
        shapley(values)
    with pytest.raises(ValueError, match="shape"):
        shapley({(): np.zeros(2), ("a",): np.zeros(3)})
    many = [f"m{i}" for i in range(11)]
    with pytest.raises(ValueError, match="11 modalities.*1 to 10"):
        shapley({(): 0.0, tuple(many): 1.0})
    with pytest.raises(ValueError, match="0 modalities"):
        shapley({(): 0.0})


def dataset(count=200, missing=False):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, count)
    arrays = {
        n: (2 * y - 1)[:, None] * scale + rng.normal(size=(count, 1))
        for n, scale in zip("abc", (2, 0.5, 0), strict=True)
    }
    return from_arrays(arrays, y, {"b": rng.integers(0, 2, count)} if missing else None)


class Sum(torch.nn.Module):
    """Logits that add up over the modalities that are there; c is read and then ignored."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = shift

    def forward(self, **batch):
        score = self.shift + sum((batch[n] * batch[f"{n}_mask"][..., None]).sum(dim=(1, 2)) for n in "ab")
        return type("Output", (), {"logits": torch.stack([-score, score], dim=1)})


MARGIN = Score("margin", lambda logits, labels: logits.gather(1, labels[:, None])[:, 0])


def test_of_an_additive_model_it_is_each_modalitys_own_part():
    data = dataset()
    found = attribute(Sum(), data, score=MARGIN)
    sign = 2 * data.labels.double() - 1
    for name in "ab":
        np.testing.assert_allclose(found.values[name][0], sign * data.arrays[name][:, 0, 0], atol=1e-5)
    assert not found.values["c"].any(), "what the model does not use earns nothing"
    assert found.rows["a"].low > found.rows["b"].high and found.rows["c"] == (0, 0, 0)


@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_a_real_model_with_gaps_is_explained_completely(fusion):
    data, models = dataset(missing=True), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(fusion_on_features(data.dims, fusion, num_classes=2, width=8))
    found = attribute(models, data, batch_size=64)
    whole = sum(found.values.values())
    assert whole.shape == (2, 200)
    assert found.full.mean - found.empty.mean == pytest.approx(whole.mean())
    assert found.rows["a"] == interval(found.values["a"], kind="difference")
    gap = data.lengths["b"] == 0
    assert gap.any() and not found.values["b"][:, gap].any(), "what a sample lacks earns nothing in it"
    assert str(found).splitlines()[0].startswith("none") and "all" in str(found).splitlines()[-1]


def test_seeds_and_clusters_enter_the_intervals():
    data = dataset()
    one = attribute(Sum(), data, score=ACCURACY)
    two = attribute([Sum(0.0), Sum(3.0)], data, score=ACCURACY)
    assert two.rows["a"].high - two.rows["a"].low > one.rows["a"].high - one.rows["a"].low
    data.clusters = {"speaker": np.repeat(np.arange(10), 20)}
    told = attribute(Sum(), data)
    assert told.rows["a"] == interval(one.values["a"], data.clusters, kind="difference")
    assert 0 <= told.full.low < told.full.high <= 1, "an accuracy stays a share"
    assert told.rows["c"].low < 0 == told.rows["c"].mean < told.rows["c"].high


def test_unknown_names_and_models_that_cannot_do_without_are_refused():
    with pytest.raises(ValueError, match="'x'.*a, b, c"):
        attribute(Sum(), dataset(), names=["x"])

    class Fragile(Sum):
        def forward(self, **batch):
            output = super().forward(**batch)
            output.logits = (
                output.logits
                / batch["a_mask"].sum(dim=1, keepdim=True)
                * batch["a_mask"].sum(dim=1, keepdim=True)
            )
            return output

    with pytest.raises(ValueError, match="NaN with nothing alone"):
        attribute(Fragile(), dataset())
