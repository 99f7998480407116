"""Weights that FSDP has cut into shards, one for each process: put together, and cut again."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def whole(value: Any) -> Any:
    """The tensor whose shard this is (all processes must ask for it together); anything else as it is."""
    return value.full_tensor() if is_shard(value) else value


def cut_as(value: Tensor, own: Tensor) -> Tensor:
    """This process's shard of the whole tensor `value`, cut as `own` is."""
    if not is_shard(own):
        return value
    from torch.distributed.tensor import distribute_tensor

    # each process has the whole: nothing needs to be sent
    where: Any = own
    return distribute_tensor(value.to(own.device), where.device_mesh, where.placements, src_data_rank=None)


def is_shard(value: Any) -> bool:
    """By what it can do: importing the class takes seconds, which only a sharded run should spend."""
    return hasattr(value, "full_tensor")
