"""Small training runs in processes of their own, which the tests break off, double and compare."""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import random
import signal
import socket
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

import mmbook.train.trainer
from mmbook import Trainer
from mmbook.book.written.pretrain import ContrastivePretraining
from mmbook.data.arrays import from_arrays
from mmbook.models import Features, MultimodalOutput
from mmbook.train import Callback
from mmbook.train.accelerator import is_sharded, whole

# children start from a server that has imported everything, and not from scratch
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.runs", "torchmetrics.functional.classification", "torch._dynamo"])


class Rows(torch.utils.data.Dataset):
    """Random rows; with `augment` each draws noise from the three global random number generators."""

    def __init__(self, count: int, seed: int, augment: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.x = torch.tensor(rng.normal(size=(count, 6)), dtype=torch.float32)
        self.labels = (self.x.sum(dim=1) > 0).long()
        self.augment = augment

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict:
        x = self.x[i]
        if self.augment:
            x = x + torch.rand(6) + random.random() + np.random.rand()  # noqa: NPY002
        return {"x": x[None], "labels": self.labels[i], "id": i}


class Net(nn.Module):
    """A layer, a batch norm, dropout, a layer."""

    def __init__(self, norm: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        # no bias before the norm: its gradient is rounding alone, which Adam would blow up to full steps
        self.first, self.last = nn.Linear(6, 8, bias=False), nn.Linear(8, 2)
        self.norm = nn.BatchNorm1d(8) if norm else nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, labels, x_mask=None, ids=None):
        logits = self.last(self.dropout(self.norm(self.first(x[:, 0])).relu()))
        return MultimodalOutput(loss=F.cross_entropy(logits, labels), logits=logits)


class Counter(Callback):
    """Counts the steps where the parent sees it, and takes its time."""

    def __init__(self, steps, pause: float) -> None:
        self.steps, self.pause = steps, pause

    def on_step(self, trainer, values) -> None:
        self.steps.value += 1
        time.sleep(self.pause)


def pairs(count: int, seed: int):
    """Two views of the same numbers, for contrastive learning; the second lacks some samples."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(count, 4))
    a, b = hidden @ rng.normal(size=(4, 5)), hidden @ rng.normal(size=(4, 3))
    return from_arrays(
        {"a": a, "b": b}, np.zeros(count, int), {"b": rng.integers(0, 2, count) | (np.arange(count) % 3 > 0)}
    )


def run(kind: str, folder: str, options: dict, steps=None, pause: float = 0.0) -> None:
    """Train a small model of the given kind and write its weights, its losses and its skipped samples."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if kind == "every step":
        return resolve("tests.test_loss_seam.every_step")(folder)
    if kind == "sharded":
        shard()
    augment = options.pop("augment", False)
    norm, dropout, count = options.pop("norm", True), options.pop("dropout", 0.2), options.pop("count", 58)
    train, valid, model = Rows(count, 0, augment), Rows(23, 1), Net(norm, dropout)
    if kind == "contrastive":
        train, valid = pairs(count, 0), None
        model = ContrastivePretraining({"a": Features(5), "b": Features(3)}, width=4)
    usual = {"epochs": 3, "batch_size": 16, "lr": 0.02, "seed": 3, "device": "cpu", "progress": False}
    watch = [Counter(steps, pause)] if steps is not None else []
    trainer = Trainer(model, train, valid, callbacks=watch, **(usual | options))
    history = trainer.fit()
    assert any(is_sharded(p) for p in model.parameters()) == (kind == "sharded")
    norm = sum(whole(p).detach().norm() for p in model.parameters()).reshape(1)
    everywhere = trainer.accelerator.gather(norm)
    assert (everywhere == everywhere[0]).all()  # the best weights are put back on each process
    state = {f"weight.{k}": whole(v).contiguous() for k, v in model.state_dict().items()}
    if trainer.accelerator.is_main_process:
        state["loss"] = torch.tensor(trainer.curve.loss.to_numpy())
        if valid is not None:
            state["valid"] = torch.tensor(history.valid_loss.to_numpy())
        (Path(folder) / "speed.txt").write_text(str(history.samples_per_second.max()), encoding="utf-8")
        save_file(state, Path(folder) / "final.part")
        (Path(folder) / "final.part").rename(Path(folder) / "final.safetensors")


def shard() -> None:
    """Have accelerate shard the model (FSDP 2), which it does on GPUs alone; torch can on the CPU."""
    usual = mmbook.train.trainer.make_accelerator

    def sharding(settings, model):
        accelerator = usual(settings, model)
        os.environ["ACCELERATE_USE_FSDP"] = "true"
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="NO_WRAP"
        )
        accelerator.state.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        return accelerator

    mmbook.train.trainer.make_accelerator = sharding


def final(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final.safetensors")


def _child(rank: int, world: int, port: int, *what) -> None:
    multiprocessing.set_start_method("fork", force=True)  # data loading workers need not start from scratch
    os.setsid()  # so that its data loading workers can be killed with it
    os.environ.update({"OMP_NUM_THREADS": "1"})
    if world > 1:
        os.environ.update(
            {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
            | {"LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        )
    run(*what)


def start(kind: str, folder: Path, options: dict, world: int = 1, pause: float = 0.0):
    """The processes of a run, and the counter of its steps."""
    steps = FORKS.Value("i", 0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        FORKS.Process(target=_child, args=(rank, world, port, kind, str(folder), dict(options), steps, pause))
        for rank in range(world)
    ]
    for process in processes:
        process.counter = steps  # or it could be gone before the child has found it
        process.start()
    return processes, steps


def finish(processes) -> None:
    for process in processes:
        process.join(120)
    assert [p.exitcode for p in processes] == [0] * len(processes)


def kill(processes) -> None:
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.join(60)


def resolve(name: str):
    """The module or attribute of that dotted name."""
    return pkgutil.resolve_name(name)
