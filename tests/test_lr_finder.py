"""The sweep of the learning rate: a curve, and afterwards everything as it was before."""

import random

import numpy as np
import pytest
import torch

from mmbook import Trainer
from mmbook.book.written.find_lr import find_lr
from mmbook.data.arrays import from_arrays
from mmbook.models import fusion_on_features


def data(count=96):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(count, 6))
    return from_arrays({"a": a, "b": rng.normal(size=(count, 4))}, (a[:, 0] > 0).astype(int))


def model(seed=0):
    torch.manual_seed(seed)
    return fusion_on_features({"a": 6, "b": 4}, "concat", num_classes=2, width=8, hidden=8, dropout=0.2)


def numpy_state():
    return np.random.get_state()[1].tolist()  # noqa: NPY002


OPTIONS = {"batch_size": 32, "seed": 0, "device": "cpu"}


def test_rates_grow_by_a_constant_factor():
    table = find_lr(model(), data(), lowest=1e-4, highest=1e-2, steps=20, **OPTIONS)
    assert list(table) == ["lr", "loss", "smoothed"] and len(table) == 20
    np.testing.assert_allclose(table.lr, np.geomspace(1e-4, 1e-2, 20))
    assert np.isfinite(table.to_numpy()).all()


def test_weights_modes_and_random_states_are_put_back():
    swept = model()
    swept.eval()
    before = {name: value.clone() for name, value in swept.state_dict().items()}
    states = random.getstate(), numpy_state(), torch.get_rng_state()
    find_lr(swept, data(), steps=30, highest=1.0, **OPTIONS)
    assert all(torch.equal(value, before[name]) for name, value in swept.state_dict().items())
    assert not any(module.training for module in swept.modules())
    assert all(p.grad is None for p in swept.parameters())
    assert random.getstate() == states[0] and numpy_state() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_training_after_a_sweep_is_training_without_one():
    swept, fresh = model(), model()
    find_lr(swept, data(), steps=10, **OPTIONS)
    for one in (swept, fresh):
        Trainer(one, data(), epochs=2, lr=0.01, **OPTIONS).fit()
    pairs = zip(swept.parameters(), fresh.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)


def test_it_takes_the_trainers_first_steps():
    """At a rate too small to move anything, the losses are those of an untrained model."""
    options = OPTIONS | {"optimizer": "sgd", "clip": None}
    table = find_lr(model(), data(), lowest=1e-12, highest=1e-11, steps=6, **options)
    run = Trainer(model(), data(), epochs=2, lr=0.0, **options)
    run.fit()
    np.testing.assert_allclose(table.loss, run.curve.loss, rtol=1e-6)
    weights = 0.9 ** np.arange(5, -1, -1)
    assert table.smoothed.iloc[-1] == pytest.approx((weights * table.loss).sum() / weights.sum(), rel=1e-6)


def test_it_stops_where_the_loss_bursts():
    options = OPTIONS | {"optimizer": "sgd", "clip": None}
    swept = model()
    before = {name: value.clone() for name, value in swept.state_dict().items()}
    table = find_lr(swept, data(), lowest=1e-3, highest=1e6, steps=60, **options)
    assert len(table) < 60 and table.lr.iloc[-1] < 1e5
    assert all(torch.equal(value, before[name]) for name, value in swept.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"lowest": 1.0, "highest": 0.1}, ValueError, "lowest"),
        ({"lowest": 0.0}, ValueError, "lowest"),
        ({"steps": 1}, ValueError, "steps"),
        ({"lr": 0.1}, TypeError, "lr"),
        ({"epochs": 3}, TypeError, "epochs"),
    ],
)
def test_what_makes_no_sweep_is_named(changes, error, says):
    with pytest.raises(error, match=says):
        find_lr(model(), data(), **(OPTIONS | changes))
