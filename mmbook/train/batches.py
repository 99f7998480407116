"""A flat batch, measured and cut along its samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def size_of(batch: Mapping[str, Any]) -> int:
    """The number of samples: the first dimension of the first tensor that has one."""
    return len(next(value for value in batch.values() if isinstance(value, Tensor) and value.dim() > 0))


def parts_of(batch: Mapping[str, Any], count: int) -> Iterator[tuple[dict[str, Any], float]]:
    """The batch cut into `count` parts along its samples, each with its share of them."""
    size = size_of(batch)
    width = -(-size // count)
    for start in range(0, size, width):
        part = {
            key: value[start : start + width]
            if isinstance(value, Tensor) and value.dim() and len(value) == size
            else value
            for key, value in batch.items()
        }
        yield part, min(width, size - start) / size
