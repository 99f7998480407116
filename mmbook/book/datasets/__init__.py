"""The datasets of the book: real sentences, pictures and X-rays, made voices, known ceilings.

Names load on first use: each dataset brings its own synthesiser or archive.
"""

from __future__ import annotations

import importlib
from typing import Any

# Public names, and the modules they live in.
_HOME = {
    "Clinic": "clinic",
    "Digits": "digits",
    "Emoji": "emoji",
    "EmojiClips": "emoji_clips",
    "EmojiScenes": "emoji_scenes",
    "Post": "post",
    "Reviews": "reviews",
    "Synthetic": "synthetic",
}

__all__ = ["Clinic", "Digits", "Emoji", "EmojiClips", "EmojiScenes", "Post", "Reviews", "Synthetic"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"mmbook.book.datasets.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mmbook.book.datasets' has no attribute {name!r}")
