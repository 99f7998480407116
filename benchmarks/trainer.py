"""What our trainer costs over a bare loop, and beside Lightning and transformers.Trainer, on the CPU."""

from __future__ import annotations

import copy
import random

import numpy as np
import torch
from torch import nn

from benchmarks.training_loops import LOOPS, Clock
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.models import fusion_on_features

PAIRS = 30
STEPS = 20
WARM = 5
BATCH = 64
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
    """Both loops in turn; the interval is that of the median ratio of the pairs.

    A pair is ours, theirs, theirs, ours, or the other way round, so that a machine that grows slower or
    faster meanwhile favours neither. Of each run the quarter of the steps that were least disturbed counts.
    """
    rows, model = data(), network()
    pairs, random_ = [], random.Random(0)
    for _ in range(PAIRS + 1):
        order = random_.sample(["ours", name], 2)
        took: dict[str, float] = dict.fromkeys(order, 0.0)
        for who in (*order, *order[::-1]):
            clock = Clock()
            LOOPS[who](copy.deepcopy(model), rows, BATCH, 1e-3, precision, clock)
            took[who] += float(np.quantile(np.diff(clock.times[WARM:]), 0.25)) / 2
        pairs.append((took["ours"], took[name]))
    ours, theirs = np.array(pairs[1:]).T  # the first pair warms up
    draws = np.random.default_rng(0).integers(0, PAIRS, (10_000, PAIRS))
    low, high = np.quantile(np.median((ours / theirs)[draws], axis=1), [0.025, 0.975])
    return {
        "precision": "float32" if precision == "no" else precision,
        "against": name,
        "ratio": float(np.median(ours / theirs)),
        "low": float(low),
        "high": float(high),
        "ours_ms": 1000 * float(np.median(ours)),
        "theirs_ms": 1000 * float(np.median(theirs)),
        "samples_per_second": BATCH / float(np.median(ours)),
        "pairs": PAIRS,
        "batch_size": BATCH,
    }


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
