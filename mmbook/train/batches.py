"""A flat batch, measured and cut along its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmbook.train.loading import share


def size_of(batch: Mapping[str, Any]) -> int:
    """The number of samples: the first dimension of the first tensor that has one."""
    return len(next(value for value in batch.values() if isinstance(value, Tensor) and value.dim() > 0))


def parts_of(
    batch: Mapping[str, Any], count: int, real: int | None = None
) -> list[tuple[dict[str, Any], int]]:
    """The batch cut into `count` parts along its samples, as equal as can be, each with how many count.

    Args:
        batch: flat dict; what has the batch's size as its first dimension is cut, the rest goes to all parts.
        count: of parts. Where there are fewer samples, some parts repeat the first one and count for 0.
        real: samples of the batch that count; None for all.
    """
    size = size_of(batch)
    real = size if real is None else real
    if count == 1:
        return [(dict(batch), real)]
    parts, start = [], 0
    for i in range(count):
        number = share(real, i, count)
        rows = slice(start, start + number) if number else slice(0, 1)
        part = {
            key: value[rows] if isinstance(value, Tensor) and value.dim() and len(value) == size else value
            for key, value in batch.items()
        }
        parts.append((part, number))
        start += number
    return parts
