"""The trainer beside its loop: averages, groups, early stopping, logs, callbacks, turns, streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset

from mmbook import Trainer
from mmbook.data.files import Skipped
from mmbook.models import MultimodalOutput
from mmbook.train import Callback, build_optimizer
from mmbook.train.batches import Batches, Repeatable
from tests import runs

OPTIONS = {"epochs": 3, "batch_size": 16, "lr": 0.02, "seed": 3, "device": "cpu", "progress": False}


def trainer(valid=True, callbacks=(), model=None, train=None, **changes):
    torch.manual_seed(0)
    net = runs.Net() if model is None else model
    rows = runs.Rows(58, 0) if train is None else train
    return Trainer(net, rows, runs.Rows(23, 1) if valid else None, callbacks=callbacks, **(OPTIONS | changes))


def test_the_average_is_that_of_the_weights_after_each_step():
    class Weights(Callback):
        def __init__(self):
            self.seen = []

        def on_step(self, run, values):
            self.seen.append([p.detach().clone() for p in run.model.parameters()])

    watch = Weights()
    run = trainer(valid=False, ema=0.6, callbacks=[watch])
    average = [p.detach().clone() for p in run.model.parameters()]
    run.fit()
    for count, weights in enumerate(watch.seen, 1):
        stays = min(0.6, (1 + count) / (10 + count))
        average = [stays * a + (1 - stays) * w for a, w in zip(average, weights, strict=True)]
    for ours, expected in zip(run.model.parameters(), average, strict=True):
        torch.testing.assert_close(ours, expected)


def test_groups_have_their_own_rates():
    model = runs.Net()
    groups = {"first": {"lr": 0.5, "weight_decay": 0.0}, "last": {"lr": 0.0}}
    made = build_optimizer(model.named_parameters(), "adamw", 0.1, 0.3, groups).param_groups
    found = {id(p): (group["lr"], group["weight_decay"]) for group in made for p in group["params"]}
    assert len(found) == len(list(model.parameters()))
    assert found[id(model.first.weight)] == (0.5, 0.0) and found[id(model.last.weight)] == (0.0, 0.3)
    assert found[id(model.last.bias)] == (0.0, 0.0) and found[id(model.norm.weight)] == (0.1, 0.0)
    run = trainer(groups={"last": {"lr": 0.0, "weight_decay": 0.0}})
    before = run.model.last.weight.clone(), run.model.first.weight.clone()
    run.fit()
    assert torch.equal(run.model.last.weight, before[0]) and not torch.equal(
        run.model.first.weight, before[1]
    )
    with pytest.raises(ValueError, match="'encoders'.*first.*last"):
        trainer(groups={"encoders": {"lr": 1.0}})
    with pytest.raises(ValueError, match="momentum.*lr, weight_decay"):
        trainer(groups={"first": {"momentum": 1.0}})


def test_early_stopping_waits_for_patience():
    rows = runs.Rows(58, 0)
    rows.labels = 1 - rows.labels  # what is learned is the opposite of what is asked
    history = trainer(train=rows, patience=2, epochs=20).fit()
    assert len(history) == history.valid_loss.idxmin() + 3


def test_logs_hold_every_step_once_also_after_a_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Broken(Exception):
        pass

    class Break(Callback):
        def on_step(self, run, values):
            if values["step"] == 7:
                raise Broken

    options = {"output_dir": tmp_path, "logs": ("csv", "tensorboard"), "save_every": 3}
    with pytest.raises(Broken):
        trainer(callbacks=[Break()], **options).fit()
    run = trainer(resume=True, **options)
    history = run.fit()
    steps, epochs = pd.read_csv(tmp_path / "steps.csv"), pd.read_csv(tmp_path / "epochs.csv")
    assert steps.step.tolist() == run.curve.step.tolist() == list(range(1, 13))
    torch.testing.assert_close(torch.tensor(steps.loss), torch.tensor(run.curve.loss))
    assert epochs.epoch.tolist() == [1, 2, 3] and set(epochs) == set(history)
    board = EventAccumulator(str(tmp_path / "tensorboard"), purge_orphaned_data=True)
    board.Reload()
    assert [event.step for event in board.Scalars("step/loss")] == list(range(1, 13))


def test_options_that_do_not_exist_are_answered_with_those_that_do():
    with pytest.raises(TypeError, match="'learning_rate'.*lr, seed"):
        trainer(learning_rate=0.1)
    with pytest.raises(TypeError, match="needs epochs"):
        Trainer(runs.Net(), runs.Rows(5, 0), batch_size=2, lr=0.1, seed=0)
    for options, words in (
        ({"ema": 1.0}, "ema is 1.0"),
        ({"keep_best": 0}, "keep_best is 0"),
        ({"logs": ("json",)}, "'json'.*csv"),
        ({"resume": True}, "give output_dir"),
        ({"save_every": 2.5}, "save_every is 2.5"),
    ):
        with pytest.raises(ValueError, match=words):
            trainer(**options)


def test_a_loss_that_is_not_finite_leaves_the_ids_and_the_weights(tmp_path):
    rows = runs.Rows(58, 0)
    rows.x[7] = float("nan")
    run = trainer(train=rows, output_dir=tmp_path)
    with pytest.raises(FloatingPointError):
        run.fit()
    (path,) = tmp_path.glob("not_finite-*.json")
    found = json.loads(path.read_text())
    assert 7 in found["ids"] and found["epoch"] == 1
    assert all(p.isfinite().all() for p in run.model.parameters())


class Root(nn.Module):
    """A finite loss with an infinite gradient, where x is 0."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))

    def forward(self, x, ids, labels, **batch):
        return MultimodalOutput(loss=(x[:, 0] * self.weight).abs().sqrt().mean())


def test_an_infinite_gradient_of_a_finite_loss_is_stopped_before_it_reaches_the_weights(tmp_path):
    rows = runs.Rows(58, 0)
    rows.x[7] = 0
    run = trainer(train=rows, model=Root(), valid=False, output_dir=tmp_path)
    with pytest.raises(FloatingPointError, match="norm nan"):
        run.fit()
    (path,) = tmp_path.glob("not_finite-*.json")
    assert 7 in json.loads(path.read_text())["ids"]
    assert run.model.weight.isfinite().all() and len(run.curve) == run.progress.step - 1


class Game(nn.Module):
    """Two players; each wants what the other has: the smallest GAN-like game."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 1), nn.Linear(6, 1)
        self.turns = {"one": self.one, "two": self.two}

    def forward(self, turn, x, **batch):
        gap = (self.one(x[:, 0]) - self.two(x[:, 0])).mean()
        return MultimodalOutput(loss=gap.square() if turn == "one" else -gap)


def test_turns_are_two_optimisers_in_turn():
    """Equal to the loop one would write by hand."""
    torch.manual_seed(0)
    ours, theirs = Game(), Game()
    theirs.load_state_dict(ours.state_dict())
    plain = {"schedule": "constant", "warmup": 0.0, "optimizer": "sgd", "clip": None, "weight_decay": 0.0}
    rows = runs.Rows(58, 0)
    run = trainer(valid=False, model=ours, train=rows, **plain)
    history = run.fit()
    optimizers = {
        name: torch.optim.SGD(part.parameters(), 0.02, momentum=0.9) for name, part in theirs.turns.items()
    }
    batches = Batches(58, 16, 0, 1, seed=3)
    for epoch in range(3):
        batches.epoch = epoch
        for keys in batches:
            x = torch.stack([rows[i]["x"] for _, i in keys])
            for turn, optimizer in optimizers.items():
                optimizer.zero_grad()
                theirs(turn, x).loss.backward()
                optimizer.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert {"one_loss", "two_loss"} <= set(history)
    torch.testing.assert_close(torch.tensor(history.loss), torch.tensor(history.one_loss + history.two_loss))


class Flow(IterableDataset):
    """Rows one after another, some of which cannot be read."""

    def __init__(self, count, broken=()):
        self.rows, self.broken = runs.Rows(count, 0), set(broken)

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        return (row for row in self.positions(0) if isinstance(row, dict))

    def positions(self, epoch, skip=0):
        for i in range(len(self.rows)):
            if i < skip:
                yield None
            elif i in self.broken:
                yield Skipped(f"sample {i}", "broken")
            else:
                yield self.rows[i]


def test_a_stream_trains_and_its_faults_are_counted(tmp_path):
    run = trainer(train=Flow(58, broken=[3, 20, *range(32, 48)]), output_dir=tmp_path, epochs=2)
    history = run.fit()
    assert history.skipped.tolist() == [18, 18] and {s.path for s in run.skipped} >= {"sample 3", "sample 20"}
    assert len(run.curve) == 2 * 3, "a batch of which nothing is left is no step"
    with pytest.raises(ValueError, match="no sample could be read.*sample 0"):
        trainer(train=Flow(20, broken=range(20))).fit()


def test_a_stream_goes_on_where_it_was(tmp_path):
    class Broken(Exception):
        pass

    class Break(Callback):
        def on_step(self, run, values):
            if values["step"] == 6:
                raise Broken

    whole = trainer(train=Flow(58, [3]), output_dir=tmp_path / "whole")
    whole.fit()
    options = {"output_dir": tmp_path / "broken", "save_every": 2}
    with pytest.raises(Broken):
        trainer(train=Flow(58, [3]), callbacks=[Break()], **options).fit()
    run = trainer(train=Flow(58, [3]), resume=True, **options)
    run.fit()
    assert (run.curve == whole.curve).all(axis=None)


@pytest.mark.parametrize("workers", [0, 2])
def test_random_draws_are_a_function_of_seed_epoch_and_index(workers):
    rows = Repeatable(runs.Rows(8, 0, augment=True), seed=5)

    def read(epoch, indices):
        keys = [(epoch, i) for i in indices]
        return {row["id"]: row["x"] for row in rows.__getitems__(keys)}

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again = read(2, [0, 1, 2, 3]), read(2, [3, 1])
    assert torch.equal(before, torch.get_rng_state()), "the model's random numbers are left alone"
    assert torch.equal(first[3], again[3]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[3], read(3, [3])[3])
    curves = []
    for number in (0, workers):  # without dropout, whose draws go another way when there are workers
        torch.manual_seed(0)
        run = trainer(model=runs.Net(dropout=0.0), train=runs.Rows(58, 0, augment=True), workers=number)
        run.fit()
        curves.append(run.curve)
    assert curves[0].equals(curves[1])


def test_the_batches_of_all_processes_are_those_of_one():
    for count, world in ((58, 2), (49, 3), (7, 4)):
        alone = Batches(count, 16, 0, 1, seed=1)
        together = [Batches(count, 16, rank, world, seed=1) for rank in range(world)]
        for step, (whole, *parts) in enumerate(zip(alone, *together, strict=True)):
            real = [part[: each.real(step)] for part, each in zip(parts, together, strict=True)]
            assert [key for part in real for key in part] == whole
            assert alone.total(step) == len(whole) and all(len(part) >= 1 for part in parts)
        alone.start = 1
        assert list(alone) == list(Batches(count, 16, 0, 1, seed=1))[1:]


def test_torchrun_starts_two_processes(tmp_path):
    """The command that the book gives, and what it prints."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\nfrom tests import runs\nruns.run('net', sys.argv[1], dict(dropout=0.0, device=None))\n",
        encoding="utf-8",
    )
    root = str(Path(__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    alone, together = tmp_path / "1", tmp_path / "2"
    for folder in (alone, together):
        folder.mkdir()
    runs.finish(runs.start("net", alone, {"dropout": 0.0}, 1)[0])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(script), str(together)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {world: runs.final(tmp_path / str(world)) for world in (1, 2)}
    torch.testing.assert_close(found[1]["loss"], found[2]["loss"], rtol=0, atol=1e-6)
    speed = {world: float((tmp_path / str(world) / "speed.txt").read_text()) for world in found}
    print(f"strong scaling, samples/s: {speed}; efficiency {speed[2] / speed[1] / 2:.2f}")


def test_processes_that_do_not_meet_are_an_error(monkeypatch):
    """Each would train alone, on everything, and nobody would notice."""
    trainer(epochs=1).fit()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="WORLD_SIZE is 2, but 1 .*torchrun"):
        trainer(epochs=1).fit()
