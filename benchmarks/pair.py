"""What a benchmark of encoders compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn


class Pair(NamedTuple):
    """Ours beside its reference, with the same weights and the same input.

    Attributes:
        what: name and size, as it stands in the table.
        ours: our encoder, made by its `from_reference`.
        run: calls it; returns a tensor whose mean square is the loss of a training step.
        theirs: the reference; None where there is none, and only our own time is measured.
        reference: calls it.
        amount: how many samples, or seconds of sound, one run takes in.
    """

    what: str
    ours: nn.Module
    run: Callable[[], Tensor]
    theirs: nn.Module | None
    reference: Callable[[], Tensor] | None
    amount: float
