"""Which shards there are, and which reader among many this one is."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

import torch
from torch.utils.data import get_worker_info

from mmbook.data.shard_index import FILE, ShardIndex

Shards = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def readers() -> tuple[int, int, int, int]:
    """Which reader this is: rank, number of ranks, worker, number of workers.

    Ranks are those of torch.distributed where it is initialised, else the environment's RANK and WORLD_SIZE,
    which torchrun and accelerate set, else there is one. Workers are those of torch's data loader.

    Raises:
        ValueError: a rank that is not below the number of ranks.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    else:
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not 0 <= rank < world:
        raise ValueError(f"RANK is {rank} and WORLD_SIZE {world}; set both, the rank from 0 to {world - 1}")
    info = get_worker_info()
    return (rank, world, info.id, info.num_workers) if info else (rank, world, 0, 1)


def located(shards: Shards) -> list[Path]:
    """The paths that a folder, a pattern or a list of them stand for.

    Raises:
        FileNotFoundError: a folder without an index.
        ValueError: none, the same twice, or an address instead of a path.
    """
    if isinstance(shards, str | os.PathLike):
        folder = Path(shards)
        if folder.is_dir():
            return [folder / shard.file for shard in ShardIndex.load(folder).shards]
        shards = [shards]
    paths = [path for pattern in shards for path in _expanded(os.fspath(pattern))]
    if not paths:
        raise ValueError(f"there are no shards at {', '.join(map(str, shards)) or 'an empty list'}")
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise ValueError(f"the shard {twice[0]} is named twice; its samples would be read twice an epoch")
    return paths


def indices_of(paths: Sequence[Path]) -> dict[Path, ShardIndex]:
    """The index of each folder that has one.

    Raises:
        ValueError: they contradict each other.
    """
    folders = dict.fromkeys(path.parent for path in paths)
    found = {folder: ShardIndex.load(folder) for folder in folders if (folder / FILE).is_file()}
    if len({(i.labels, i.classes, i.class_names, i.modalities) for i in found.values()}) > 1:
        raise ValueError(
            f"the indices in {', '.join(map(str, found))} state different labels or modalities; read them as "
            f"separate datasets"
        )
    return found


def _expanded(pattern: str) -> list[Path]:
    from webdataset.shardlists import expand_urls

    if "://" in pattern or pattern.startswith("pipe:"):
        raise ValueError(f"{pattern} is an address; fetch the shards first and give the path of a folder")
    plain = expand_urls(pattern)
    return [Path(path) for name in plain for path in (sorted(glob(name)) if has_magic(name) else [name])]
