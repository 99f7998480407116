"""What the chapters of *Multimodal Models: Principles, Practice, Comparison* call: encoders, fusion, trainer.

Importing it is cheap: torch, and all that needs it, loads with the first name that is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mmbook.moved import check, put_up
from mmbook.scale import scale  # bound here, so that the function hides the submodule of the same name
from mmbook.versions import versions

if TYPE_CHECKING:
    from mmbook.modality import Modality, collate
    from mmbook.models import MultimodalModel
    from mmbook.train import Trainer

__version__ = "0.2.0"
__all__ = ["Modality", "MultimodalModel", "Trainer", "__version__", "collate", "scale", "versions"]

# Public names that need torch, and where they live.
_HOME = {"Modality": "modality", "collate": "modality", "MultimodalModel": "models", "Trainer": "train"}
# What ``from mmbook import`` takes beside them: the library by its layers, then what stands on it.
_LIBRARY = "modality registry protocols assets plot preprocess data losses evaluate encoders fusion heads"
_PARTS = [*_LIBRARY.split(), "models", "generate", "train", "explain", "app", "book"]

put_up()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"mmbook.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name in _PARTS:
        return importlib.import_module(f"mmbook.{name}")
    check(f"mmbook.{name}")
    raise AttributeError(f"module 'mmbook' has no attribute {name!r}; it has {', '.join(__dir__())}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PARTS])
