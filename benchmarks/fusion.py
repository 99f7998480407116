"""Every fusion on data whose best possible score is known: regret, cost, missing modalities, noise.

For each task and method, three learning rates are tried on two tuning seeds, the one with the lowest
validation loss is kept, and five other seeds are trained with it. The test set is one and the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from functools import cache
from multiprocessing import get_context
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.paired import seconds
from mmbook import Modality, MultimodalModel, Trainer, collate
from mmbook.book.datasets import Synthetic
from mmbook.book.written.encoder_costs import flops
from mmbook.data import ArrayDataset
from mmbook.evaluate import interval
from mmbook.fusion import FUSIONS
from mmbook.models import fusion_on_features

Row = dict[str, object]
TASKS: dict[str, dict[str, Any]] = {
    "redundancy": {"redundancy": 0.6},
    "uniqueness": {"uniqueness": 0.6},
    "synergy": {"synergy": {"ab": 0.6}},  # c shows a coin that means nothing
    "synergy of three": {"synergy": 0.6},
}
LRS, TUNING, SEEDS = (3e-3, 1e-2, 3e-2), (5, 6), (0, 1, 2, 3, 4)
EPOCHS, BATCH, WIDTH = 20, 256, 32
LEVELS = (0.2, 0.4, 0.6, 0.8)  # of missing modalities and of noise at test time
CONTROL = "gated"  # the method behind the rows with one modality, or with one shuffled
WORKERS = 2  # with one thread each: a model this small does not gain from a second one
# Where a method's default is large, its inner width is set such that no fusion has more than 25,000 numbers.
OPTIONS: dict[str, dict[str, Any]] = {
    "self_attention": {"inner_width": 16},
    "cross_attention": {"inner_width": 8, "heads": 2},
    "bottleneck": {"inner_width": 16},
    "tensor": {"inner_width": 8},
}


def main(tasks: tuple[str, ...] = tuple(TASKS), methods: tuple[str, ...] = tuple(FUSIONS)) -> list[Row]:
    """Rows of four parts: `table`, `control`, and the curves `missing` and `noise` over `level`."""
    jobs = [(task, method) for task in tasks for method in (*methods, "")]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        return [row for rows in pool.map(job, jobs) for row in rows]


def job(what: tuple[str, str]) -> list[Row]:
    """One method on one task, or the task's controls."""
    torch.set_num_threads(1)
    task, method = what
    return list(method_rows(task, method) if method else control_rows(task))


def method_rows(task: str, method: str) -> Iterator[Row]:
    """The row of the table, then those of the two curves."""
    lr = tuned(task, method)
    models = [trained(task, method, lr, seed) for seed in SEEDS]
    cost = {
        "parameters": sum(p.numel() for p in models[0].parameters()),
        "kflops": flops(_Whole(models[0]), torch.zeros(1, 1, 8))[0] / 1000,
        "step_ms": 1000 * step_seconds(task, models[0]),
        "lr": lr,
    }
    yield {"part": "table", "task": task, "method": method, "level": 0.0} | scored(models, test(task)) | cost
    for kind in ("missing", "noise"):
        for level in LEVELS:
            row: Row = {"part": kind, "task": task, "method": method, "level": level}
            yield row | scored(models, test(task, kind, level))


def control_rows(task: str) -> Iterator[Row]:
    """Always the first class; each modality by itself; all three, one of them dealt out anew."""
    data = test(task)
    row: Row = {"part": "control", "task": task, "level": 0.0}
    yield row | {"method": "majority class"} | regrets(np.stack([data.regret(torch.zeros_like(data.labels))]))
    for name in data.modalities:
        lr = tuned(task, CONTROL, names=(name,))
        models = [trained(task, CONTROL, lr, seed, names=(name,)) for seed in SEEDS]
        yield row | {"method": f"{name} only"} | scored(models, data) | {"lr": lr}
    lr = tuned(task, CONTROL, shuffled="a")
    models = [trained(task, CONTROL, lr, seed, shuffled="a") for seed in SEEDS]
    answers = [predicted(model, data.shuffled("a")) for model in models]
    yield row | {"method": "a shuffled"} | regrets(np.stack([data.regret(a) for a in answers])) | {"lr": lr}


def tuned(task: str, method: str, **options: Any) -> float:
    """The learning rate with the lowest validation loss, over the tuning seeds."""

    def loss(lr: float) -> float:
        return mean(
            Trainer(
                trained(task, method, lr, seed, **options),
                valid := rows(task, "valid", seed, **options),
                epochs=1,
                batch_size=BATCH,
                lr=lr,
                seed=seed,
                device="cpu",
            )
            .predict(valid)
            .loss
            for seed in TUNING
        )

    return min(LRS, key=loss)


def trained(task: str, method: str, lr: float, seed: int, **options: Any) -> MultimodalModel:
    """A fusion and a linear head, trained for `EPOCHS` on the training split of `seed`."""
    data = rows(task, "train", seed, **options)
    torch.manual_seed(seed)
    sizes = OPTIONS.get(method, {}) | ({} if method == "late" else {"width": WIDTH})
    classes = test(task).table.shape[-1]
    model = fusion_on_features(data.dims, method, num_classes=classes, **sizes)
    Trainer(model, data, epochs=EPOCHS, batch_size=BATCH, lr=lr, seed=seed, device="cpu").fit()
    return model.eval()


def rows(
    task: str, split: str, seed: int, names: tuple[str, ...] | None = None, shuffled: str | None = None
) -> ArrayDataset:
    """A split; of `names` only, or with one modality dealt out anew."""
    data: ArrayDataset = Synthetic(split, seed, **TASKS[task])
    data = data.select(names) if names else data
    return data.shuffled(shuffled, seed) if shuffled else data


@cache
def test(task: str, kind: str = "noise", level: float = 0.0) -> Synthetic:
    """The test set, the same rows at every level."""
    return Synthetic("test", **TASKS[task], **{kind: level})


def scored(models: list[MultimodalModel], data: Synthetic) -> Row:
    """Regret of several seeds with its interval, accuracy on the labels that were drawn, and the ceiling."""
    answers = [predicted(model, data.select(list(model.encoders))) for model in models]
    right = np.mean([(a == data.labels).double().mean() for a in answers])
    ceiling = data.ceilings()[data.modalities].accuracy
    found = regrets(np.stack([data.regret(a) for a in answers]))
    return found | {"accuracy": float(right), "ceiling": ceiling}


def regrets(table: NDArray[np.float64]) -> Row:
    """Mean and 95 % interval of regrets ``(seeds, samples)``."""
    return dict(zip(("regret", "low", "high"), interval(table), strict=True))


@torch.no_grad()
def predicted(model: MultimodalModel, data: ArrayDataset) -> Tensor:
    """Classes ``(N,)``."""
    logits = model(**collate(data.__getitems__(range(len(data))))).logits
    assert logits is not None
    return logits.argmax(dim=1)


def step_seconds(task: str, model: MultimodalModel) -> float:
    """Median time of a forward and backward pass of one batch."""
    batch = collate(test(task).__getitems__(range(BATCH)))

    def step() -> None:
        model(**batch).loss.backward()

    step()
    return median(seconds(step) for _ in range(20))


class _Whole(nn.Module):
    """A model as `flops` takes one: every modality gets the same features."""

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        # without gradients: the counter's hooks trip over shared parameters that have one
        self.model = deepcopy(model).requires_grad_(False)

    def forward(self, modality: Modality) -> Modality:
        logits = self.model(**dict.fromkeys(self.model.encoders, modality.values)).logits
        return Modality(logits[:, None], modality.mask)
