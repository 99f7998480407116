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
    "Synthetic": "synthetic",
    "from_arrays": "arrays",
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
    "Synthetic",
    "from_arrays",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"mmbook.data.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mmbook.data' has no attribute {name!r}")
