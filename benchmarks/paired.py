"""How much time ours takes over the reference's, measured so that a busy machine does not decide."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch


def seconds(step: Callable[[], object]) -> float:
    """Wall time of one call, until the GPU, where there is one, has finished."""
    start = time.perf_counter()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def paired(ours: Callable[[], object], reference: Callable[[], object], repeats: int) -> dict[str, float]:
    """Run the two in turn, in changing order, and compare each pair.

    What else the machine does slows both of a pair alike, so the ratio within a pair is steadier than the two
    times.

    Returns:
        Median ratio, its 95 % interval (bootstrap over the pairs), and the median times in milliseconds.
    """
    for step in (ours, reference, ours, reference):  # memory is taken and kernels are chosen
        step()
    times = []
    for i in range(repeats):
        if i % 2:
            second, first = seconds(reference), seconds(ours)
        else:
            first, second = seconds(ours), seconds(reference)
        times.append((first, second))
    first, second = np.array(times).T
    ratios = first / second
    draws = np.random.default_rng(0).integers(0, repeats, (10_000, repeats))
    low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
    return {
        "ratio": float(np.median(ratios)),
        "low": float(low),
        "high": float(high),
        "ours_ms": 1000 * float(np.median(first)),
        "reference_ms": 1000 * float(np.median(second)),
    }
