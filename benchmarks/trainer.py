"""What our trainer costs over a bare loop, and beside Lightning and transformers.Trainer."""

from __future__ import annotations

import copy
import random

import numpy as np
import torch
from torch import nn

from benchmarks.training_loops import LOOPS, Loop, ours
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.models import fusion_on_features

PAIRS = 30
STEPS = 30
BATCH = 64
DIMS = {"text": 128, "image": 256, "audio": 64}


def main() -> list[dict[str, object]]:
    """A row for each precision and loop: the ratio of the seconds a step, ours over theirs."""
    rows = []
    for precision in ("no", "bf16"):
        for name, loop in LOOPS.items():
            rows.append(ratio(name, loop, precision))
            print(rows[-1], flush=True)
    return rows


def ratio(name: str, loop: Loop, precision: str) -> dict[str, object]:
    """Both loops in turn, `PAIRS` times, in random order; the interval is that of the median ratio."""
    rows, model = data(), network()
    pairs, order = [], random.Random(0)
    for _ in range(PAIRS + 1):
        took = {}
        for who in order.sample(["ours", "theirs"], 2):
            run = ours if who == "ours" else loop
            took[who] = run(copy.deepcopy(model), rows, BATCH, 1e-3, precision)
        pairs.append((took["ours"], took["theirs"]))
    first, second = np.array(pairs[1:]).T  # the first pair warms up
    ratios = first / second
    draws = np.random.default_rng(0).integers(0, PAIRS, (10_000, PAIRS))
    low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
    return {
        "precision": "float32" if precision == "no" else precision,
        "against": name,
        "ratio": float(np.median(ratios)),
        "low": float(low),
        "high": float(high),
        "ours_ms": 1000 * float(np.median(first)),
        "theirs_ms": 1000 * float(np.median(second)),
        "samples_per_second": BATCH / float(np.median(first)),
        "pairs": PAIRS,
        "batch_size": BATCH,
    }


def network() -> nn.Module:
    """Self-attention over the tokens of three modalities: some 20 ms a step on two CPU cores."""
    torch.manual_seed(0)
    return fusion_on_features(DIMS, "self_attention", num_classes=3, width=64, inner_width=64, layers=1)


def data() -> ArrayDataset:
    random_ = np.random.default_rng(0)
    count = BATCH * STEPS
    tokens = {"text": 8, "image": 9, "audio": 12}
    arrays = {name: random_.normal(size=(count, tokens[name], dim)) for name, dim in DIMS.items()}
    lengths = {name: random_.integers(1, tokens[name] + 1, count) for name in DIMS}
    return from_arrays(arrays, random_.integers(0, 3, count), lengths)
