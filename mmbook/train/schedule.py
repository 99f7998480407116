"""The learning rate's course over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Callable

SCHEDULES = ("constant", "cosine", "linear")


def lr_factor(schedule: str, steps: int, warmup: float) -> Callable[[int], float]:
    """Step -> share of the peak learning rate: a linear rise over ``warmup * steps``, then the schedule.

    A function of the step alone, so a run that goes on needs to remember nothing of it. Beyond the last step
    the share stays what it was there.

    Raises:
        ValueError: an unknown schedule, or a warm-up outside [0, 1).
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is {warmup}; it is a share of all steps, from 0 to below 1")
    rise = int(warmup * steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        done = min(1.0, (step - rise) / max(1, steps - rise))
        return {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[schedule]

    return factor
