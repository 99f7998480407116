"""The trainer: learns, repeats itself exactly, keeps the best, cuts batches without changing the gradient."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmbook import Trainer
from mmbook.data.arrays import from_arrays
from mmbook.models import fusion_on_features
from mmbook.train import build_optimizer, lr_factor
from mmbook.train.batches import parts_of


def data(count=160, seed=0, task="classes"):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(count, 3, 4)), rng.normal(size=(count, 5))
    score = a.mean(axis=1) @ [2, -2, 0, 0] + b @ [1, -1, 0, 0, 0]
    labels = (score > 0).astype(int) if task == "classes" else score
    return from_arrays({"a": a, "b": b}, labels, {"a": rng.integers(1, 4, count)})


def trainer(fusion="concat", model_seed=0, **changes):
    torch.manual_seed(model_seed)
    task = changes.pop("task", "classes")
    train = data(task=task)
    kind = {"num_classes": 2} if task == "classes" else {"num_targets": 1}
    model = fusion_on_features(train.dims, fusion, width=8, **kind, dropout=changes.pop("dropout", 0.0))
    options = {"epochs": 3, "batch_size": 16, "lr": 0.01, "seed": 0, "device": "cpu", "progress": False}
    return Trainer(model, train, data(seed=1, task=task), **(options | changes))


def test_it_learns_and_writes_history():
    run = trainer(epochs=15)
    before = run.evaluate(run.valid_set)
    history = run.fit()
    after = run.evaluate(run.valid_set)
    assert after["accuracy"] > before["accuracy"] and after["accuracy"] > 0.8
    assert list(history.epoch) == list(range(1, 16))
    assert {"loss", "lr", "samples_per_second", "valid_loss", "valid_accuracy"} <= set(history)
    assert history.loss.iloc[-1] < history.loss.iloc[0]


def test_regression_reports_error_and_correlation():
    run = trainer(task="numbers", epochs=15)
    run.fit()
    scores = run.evaluate(run.valid_set)
    assert scores["correlation"] > 0.8 and scores["mse"] == pytest.approx(scores["loss"], rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_two_runs_with_one_seed_are_equal_to_the_last_bit(optimizer):
    first, second = (trainer(dropout=0.2, optimizer=optimizer) for _ in range(2))
    a, b = first.fit(), second.fit()
    weights = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in weights)
    columns = [c for c in a if c != "samples_per_second"]
    assert a[columns].equals(b[columns])
    assert not a[columns].equals(trainer(dropout=0.2, optimizer=optimizer, seed=1).fit()[columns])


def test_the_best_epoch_is_put_back_and_written(tmp_path):
    run = trainer(epochs=8, output_dir=tmp_path)
    run.train_set.labels = 1 - run.train_set.labels  # it learns the opposite: the last epoch is not the best
    history = run.fit()
    assert history.valid_loss.idxmin() < len(history) - 1
    assert run.evaluate(run.valid_set)["loss"] == pytest.approx(history.valid_loss.min(), rel=1e-6)
    saved = load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(saved[k], v) for k, v in run.model.state_dict().items())
    with pytest.raises(ValueError, match="'acuracy'.*accuracy"):
        trainer(monitor="acuracy").fit()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12])
def test_accumulation_gives_the_gradient_of_the_whole_batch(count):
    """Also when the parts are unequal: 10 samples in 4 parts are 3 + 3 + 2 + 2."""
    run = trainer("attention")
    batch = run.collate([run.train_set[i] for i in range(10)])
    run.model(**batch).loss.backward()
    whole = [p.grad.clone() for p in run.model.parameters()]
    run.model.zero_grad()
    parts = parts_of(batch, count)
    assert len(parts) == count and sum(number for _, number in parts) == 10
    for part, number in parts:
        (run.model(**part).loss * number / 10).backward()
    for p, g in zip(run.model.parameters(), whole, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-6)


def test_accumulation_changes_memory_and_not_the_result():
    runs = [trainer(accumulate=k) for k in (1, 4)]
    for run in runs:
        run.fit()
    for p, q in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_mixed_precision_leaves_the_model_as_it_was():
    run = trainer(precision="bf16")
    forward = run.model.forward
    run.fit()
    assert run.model.forward == forward, "autocast must come off again"
    assert next(run.model.parameters()).dtype == torch.float32
    assert trainer(precision="no").fit().loss.notna().all(), "another precision in the same process"


def test_clipping_bounds_the_step():
    plain = {"schedule": "constant", "warmup": 0.0, "weight_decay": 0.0}
    run = trainer(optimizer="sgd", clip=1e-3, lr=1.0, epochs=1, batch_size=160, **plain)
    before = [p.detach().clone() for p in run.model.parameters()]
    run.valid_set = None
    run.fit()
    pairs = zip(run.model.parameters(), before, strict=True)
    moved = math.sqrt(sum((p - q).pow(2).sum().item() for p, q in pairs))
    assert moved == pytest.approx(1e-3, rel=1e-2)


def test_a_loss_that_is_not_finite_stops_and_names_the_samples():
    run = trainer()
    run.train_set.arrays["b"][7] = float("nan")
    with pytest.raises(FloatingPointError, match=r"epoch 1.*ids \[.*\b7\b"):
        run.fit()


def test_frozen_parameters_do_not_move():
    run = trainer()
    run.model.fusion.requires_grad_(False)
    before = {k: v.clone() for k, v in run.model.fusion.state_dict().items()}
    run.fit()
    assert all(torch.equal(before[k], v) for k, v in run.model.fusion.state_dict().items())


def test_only_matrices_decay():
    model = trainer().model
    groups = build_optimizer(model.parameters(), "adamw", 0.1, 0.5).param_groups
    assert {g["weight_decay"]: {p.dim() for p in g["params"]} for g in groups} == {0.5: {2}, 0.0: {1}}


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_learning_rate_rises_then_never_rises_again(schedule):
    factor = lr_factor(schedule, 100, 0.1)
    course = [factor(step) for step in range(100)]
    assert course[:11] == sorted(course[:11]) and course[10] == 1
    assert course[10:] == sorted(course[10:], reverse=True) and 0 <= course[-1] <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "fp64"}, "'fp64'.*bf16"),
        ({"optimizer": "adagrad"}, "'adagrad'.*adamw"),
        ({"schedule": "step"}, "'step'.*cosine"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"device": "gpu"}, "'gpu'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"accumulate": 0}, "accumulate is 0"),
    ],
)
def test_bad_options_name_value_and_choices(options, words):
    with pytest.raises(ValueError, match=words):
        trainer(**options)
