"""What our trainer costs over a bare loop, and beside Lightning and transformers.Trainer, on the CPU."""

from __future__ import annotations

import copy
import random

import numpy as np
import torch
from greenlet import greenlet
from torch import nn

from benchmarks.training_loops import LOOPS, Clock
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.models import fusion_on_features

PAIRS = 40
STEPS = 40
WARM = 5
BATCH = 80
DIMS = {"text": 128, "image": 256, "audio": 64}


def main() -> list[dict[str, object]]:
    """A row for each precision and loop: the ratio of the seconds a step, ours over theirs."""
    rows = []
    for precision in ("no", "bf16"):
        for name in LOOPS:
            if name != "ours":
                rows.append(ratio(name, precision))
                print(rows[-1], flush=True)
    return rows


def ratio(name: str, precision: str) -> dict[str, object]:
    """The interval is that of the median over the pairs; of a pair counts the median ratio of its steps."""
    model, rows, random_ = network(), data(), random.Random(0)
    took = []
    for _ in range(PAIRS + 1):
        steps = in_turn(random_.sample(["ours", name], 2), model, rows, precision)
        took.append((steps["ours"], steps[name]))
    ours, theirs = np.array(took[1:]).transpose(1, 0, 2)  # the first pair warms up
    ratios = np.median(ours / theirs, axis=1)
    draws = np.random.default_rng(0).integers(0, PAIRS, (10_000, PAIRS))
    low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
    return {
        "precision": "float32" if precision == "no" else precision,
        "against": name,
        "ratio": float(np.median(ratios)),
        "low": float(low),
        "high": float(high),
        "ours_ms": 1000 * float(np.median(ours)),
        "theirs_ms": 1000 * float(np.median(theirs)),
        "samples_per_second": BATCH / float(np.median(ours)),
        "pairs": PAIRS,
        "batch_size": BATCH,
    }


def in_turn(names: list[str], model: nn.Module, rows: ArrayDataset, precision: str) -> dict[str, np.ndarray]:
    """Seconds of each step of two runs that take turns, step by step, in one thread.

    A machine that grows slower for a second then slows both; of two runs one after the other it slows one.
    """
    clocks = {name: Clock() for name in names}
    runs = [
        greenlet(lambda n=n: LOOPS[n](copy.deepcopy(model), rows, BATCH, 1e-3, precision, clocks[n]))
        for n in names
    ]
    while not all(run.dead for run in runs):
        for run in runs:
            if not run.dead:
                run.switch()
    return {name: np.array(clock.seconds[WARM:]) for name, clock in clocks.items()}


def network() -> nn.Module:
    """Self-attention over the tokens of three modalities: some 20 ms a step on two cores."""
    torch.manual_seed(0)
    return fusion_on_features(DIMS, "self_attention", num_classes=3, width=64, inner_width=64, layers=1)


def data() -> ArrayDataset:
    numbers = np.random.default_rng(0)
    count = BATCH * (WARM + STEPS + 1)
    tokens = {"text": 8, "image": 9, "audio": 12}
    arrays = {name: numbers.normal(size=(count, tokens[name], dim)) for name, dim in DIMS.items()}
    lengths = {name: numbers.integers(1, tokens[name] + 1, count) for name in DIMS}
    return from_arrays(arrays, numbers.integers(0, 3, count), lengths)
