"""The datasets of the book. Names load on first use, so that importing the package stays cheap."""

from __future__ import annotations

import importlib
from typing import Any

# Public names, and the modules they live in.
_HOME = {
    "ArrayDataset": "arrays",
    "Clinic": "clinic",
    "Digits": "digits",
    "Emoji": "emoji_names",
    "EmojiClips": "emoji_clips",
    "EmojiScenes": "emoji_scenes",
    "FSDD": "fsdd",
    "FileDataset": "files",
    "FilesSkipped": "files",
    "Post": "reviews",
    "Reviews": "reviews",
    "ShardDataset": "shards",
    "ShardIndex": "shard_index",
    "Skipped": "files",
    "Synthetic": "synthetic",
    "from_arrays": "arrays",
    "index_shards": "shard_index",
    "shard_csv": "shard_table",
    "write_shards": "shard_writer",
}

__all__ = [
    "FSDD",
    "ArrayDataset",
    "Clinic",
    "Digits",
    "Emoji",
    "EmojiClips",
    "EmojiScenes",
    "FileDataset",
    "FilesSkipped",
    "Post",
    "Reviews",
    "ShardDataset",
    "ShardIndex",
    "Skipped",
    "Synthetic",
    "from_arrays",
    "index_shards",
    "shard_csv",
    "write_shards",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"mmbook.data.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mmbook.data' has no attribute {name!r}")
