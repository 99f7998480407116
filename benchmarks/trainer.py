"""What our trainer costs over a bare loop, and beside Lightning and transformers.Trainer, on the CPU."""

from __future__ import annotations

import multiprocessing
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.training_loops import LOOPS, Clock
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.models import fusion_on_features

PAIRS = 40  # of which each is the median of as many steps of ours, and of theirs in between
STEPS = 15
WARM = 10
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
    """Both loops, step by step in turn; the interval is that of the median ratio of the pairs."""
    fresh = multiprocessing.get_context("spawn")
    turns = fresh.Semaphore(0), fresh.Semaphore(0)
    ends = {}
    for who, mine, other in (("ours", *turns), (name, *turns[::-1])):
        ends[who], end = fresh.Pipe(duplex=False)
        what = (who, precision, mine, other, who == "ours", end, torch.get_num_threads())
        fresh.Process(target=run, args=what, daemon=True).start()
    took = {who: np.array(end.recv()) for who, end in ends.items()}
    ours, theirs = (np.median(took[who][WARM:].reshape(PAIRS, STEPS), axis=1) for who in ("ours", name))
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


def run(who: str, precision: str, mine: Any, other: Any, first: bool, end: Any, threads: int) -> None:
    """One of the two loops, in its process."""
    torch.set_num_threads(threads)
    clock = Clock(mine, other, first)
    LOOPS[who](network(), data(), BATCH, 1e-3, precision, clock)
    other.release()  # it need not wait any more
    end.send(clock.steps)


def network() -> nn.Module:
    """Self-attention over the tokens of three modalities: some 20 ms a step on two cores."""
    torch.manual_seed(0)
    return fusion_on_features(DIMS, "self_attention", num_classes=3, width=64, inner_width=64, layers=1)


def data() -> ArrayDataset:
    random_ = np.random.default_rng(0)
    count = BATCH * (WARM + PAIRS * STEPS + 1)
    tokens = {"text": 8, "image": 9, "audio": 12}
    arrays = {name: random_.normal(size=(count, tokens[name], dim)) for name, dim in DIMS.items()}
    lengths = {name: random_.integers(1, tokens[name] + 1, count) for name in DIMS}
    return from_arrays(arrays, random_.integers(0, 3, count), lengths)
