"""Faults of the loop that a strict reading found, each as the right value."""

from __future__ import annotations

import csv
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from mmbook import Trainer, collate
from mmbook.answers import answers, evaluating
from mmbook.data import Skipped, from_arrays
from mmbook.evaluate import predict_logits
from mmbook.models import encode_dataset, fusion_on_features
from mmbook.train.batches import Repeatable

USUAL = {"epochs": 2, "batch_size": 5, "lr": 0.05, "seed": 0, "device": "cpu", "progress": False}


def data(count=12, labelled=True):
    g = torch.Generator().manual_seed(0)
    arrays = {"a": torch.randn(count, 3, generator=g), "b": torch.randn(count, 2, generator=g)}
    found = from_arrays(arrays, torch.arange(count) % 2)
    return found if labelled else [{k: v for k, v in row.items() if k != "labels"} for row in found]


def net(seed=0):
    torch.manual_seed(seed)
    return fusion_on_features({"a": 3, "b": 2}, "concat", num_classes=2, width=4)


class Sometimes(Dataset):
    """Row 3 cannot be read from the second epoch on."""

    def __init__(self):
        self.rows, self.asked = list(data()), 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        if i == 3:
            self.asked += 1
            if self.asked > 1:
                return Skipped("3.png", "cut off")
        return self.rows[i]


def test_epochs_have_one_set_of_columns_though_a_file_goes_bad_late(tmp_path):
    options = USUAL | {"output_dir": tmp_path, "logs": ("csv",), "epochs": 3}
    history = Trainer(net(), Sometimes(), **options).fit()
    with (tmp_path / "epochs.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(header)} and len(rows) == 3
    skipped = [int(row[header.index("skipped")]) for row in rows]
    assert skipped == history.skipped.tolist() == [0, 1, 1]
    # a run that goes on keeps them all
    Trainer(net(), Sometimes(), **options | {"resume": True}).fit()
    with (tmp_path / "epochs.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [header, *rows]


def test_a_second_fit_is_a_new_training_of_the_model_as_it_is():
    twice = Trainer(net(), data(), **USUAL)
    twice.fit()
    middle = {k: v.clone() for k, v in twice.model.state_dict().items()}
    second = twice.fit()
    fresh = net()
    fresh.load_state_dict(middle)
    expected = Trainer(fresh, data(), **USUAL).fit()
    torch.testing.assert_close(torch.tensor(second.loss), torch.tensor(expected.loss), rtol=0, atol=0)
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, twice.model.state_dict()[name]), name


def test_the_curve_has_the_learning_rate_of_each_group():
    model = net()
    groups = {"fusion": {"lr": 1e-3}, "head": {"weight_decay": 0.1}}
    run = Trainer(model, data(), **USUAL, groups=groups)
    seen = []
    step = next(iter(run.optimizers.values()))
    step.register_step_pre_hook(lambda o, *_: seen.append({g["initial_lr"]: g["lr"] for g in o.param_groups}))
    run.fit()
    assert list(run.curve)[-1] == "lr_fusion" and "lr_head" not in run.curve
    assert run.curve.lr.tolist() == pytest.approx([rates[0.05] for rates in seen])
    assert run.curve.lr_fusion.tolist() == pytest.approx([rates[1e-3] for rates in seen])


class Drawn(Dataset):
    """Each row draws from all three global generators."""

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return i, torch.rand(1).item(), random.random(), np.random.rand()  # noqa: NPY002


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_a_row_draws_does_not_depend_on_the_batch_it_is_read_in(depth):
    dataset = Drawn()
    for _ in range(depth):
        dataset = Subset(dataset, range(6))
    rows = Repeatable(dataset, seed=3)
    together = rows.__getitems__([(0, i) for i in range(6)])
    alone = [rows.__getitems__([(0, i)])[0] for i in range(6)]
    assert together == alone
    assert rows.__getitems__([(1, 2)])[0] != alone[2]


def test_prediction_needs_no_labels():
    run = Trainer(net(), data(), **USUAL)
    run.fit()
    known, unknown = run.predict(data()), run.predict(data(labelled=False))
    assert torch.equal(known.logits, unknown.logits)
    assert known.loss is not None and unknown.loss is None and not len(unknown.labels)
    torch.testing.assert_close(predict_logits(run.model, data(labelled=False)), known.logits)


def test_ids_may_be_text_and_are_named():
    rows = [{**row, "id": f"film {i}"} for i, row in enumerate(data())]
    assert collate(rows[:2])["ids"] == ["film 0", "film 1"]
    for accumulate in (1, 3):
        Trainer(net(), rows, **USUAL, accumulate=accumulate).fit()
    rows[7]["a"] = torch.full_like(rows[7]["a"], float("nan"))
    with pytest.raises(FloatingPointError, match="film 7"):
        Trainer(net(), rows, **USUAL).fit()


class ByName(nn.Module):
    """A module of somebody who knows no mask, no labels and no output object."""

    def __init__(self):
        super().__init__()
        self.net, self.drop = nn.Linear(5, 2), nn.Dropout(0.5)

    def forward(self, a, b):
        return self.net(self.drop(torch.cat([a, b], dim=-1)))[:, 0]


class Positional(nn.Sequential):
    """Takes one tensor."""


def test_a_plain_module_is_asked_by_what_its_forward_takes():
    model, rows = ByName(), data()
    x = collate(list(rows))
    expected = model.eval()(x["a"], x["b"])
    model.train()
    torch.testing.assert_close(predict_logits(model, rows, batch_size=5), expected)
    assert model.training and model.drop.training
    only = [{"a": row["a"], "labels": row["labels"]} for row in rows]
    layer = Positional(nn.Linear(3, 2), nn.Flatten())
    torch.testing.assert_close(predict_logits(layer, only), layer(x["a"]))
    with pytest.raises(ValueError, match=r"takes input.*a, b"):
        predict_logits(layer, rows)


def test_modes_come_back_one_by_one_also_after_an_error():
    model = ByName()
    model.drop.eval()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.training and not torch.is_grad_enabled()
        1 / 0  # noqa: B018
    assert model.training and not model.drop.training and torch.is_grad_enabled()
    with pytest.raises(KeyError):
        answers(model, [collate(list(data()))], lambda output, batch: batch["nothing"])
    assert model.training and not model.drop.training


def test_encoding_holds_no_more_raw_rows_than_a_batch():
    class Watched(Dataset):
        alive = most = 0

        def __len__(self):
            return 40

        def __getitem__(self, i):
            row = Row(a=torch.ones(1 + i % 7, 3), labels=i)
            Watched.alive += 1
            Watched.most = max(Watched.most, Watched.alive)
            return row

    class Row(dict):
        def __del__(self):
            Watched.alive -= 1

    encode_dataset({"a": net().encoders["a"]}, Watched(), batch_size=8)
    assert Watched.most <= 8 + 8  # those of the batch before may still be held while the next is read


def test_a_full_disk_is_told_though_the_folder_was_never_made(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    run = Trainer(net(), data(), **USUAL, output_dir=tmp_path / "not" / "yet")
    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(OSError, match="no earlier one; .* MB are free"):
        run.fit()
