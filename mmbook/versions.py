"""What a page was made with."""

from __future__ import annotations

import platform
from importlib.metadata import version

PACKAGES = ("mmbook", "torch", "torchvision", "torchaudio", "transformers", "accelerate", "torchmetrics")


def versions() -> dict[str, str]:
    """Name -> version of Python and of the packages that decide a chapter's numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
