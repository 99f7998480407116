"""What the chapters of *Multimodal Models: Principles, Practice, Comparison* call: encoders, fusion, trainer.

Importing it is cheap: transformers, torchvision and torchmetrics load only where they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

from mmbook.modality import Modality, collate
from mmbook.scale import scale  # bound here, so that the function hides the submodule of the same name
from mmbook.versions import versions

__version__ = "0.1.0"

# Public names that cost seconds to import, and where they live; looked up on first use.
_HOME = {
    "MultimodalModel": "models",
    "Trainer": "train",
}

__all__ = ["Modality", "MultimodalModel", "Trainer", "__version__", "collate", "scale", "versions"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"mmbook.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mmbook' has no attribute {name!r}")
