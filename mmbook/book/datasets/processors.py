"""From a part of a spoken review, a sentence, a picture or a sound, to the tensor that a row holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from mmbook.book.datasets.joint import MODALITIES

Processors = Mapping[str, Callable[[Any], Tensor]]


def check_modality(name: str) -> str:
    """`name` itself.

    Raises:
        ValueError: it is no modality of the reviews.
    """
    if name not in MODALITIES:
        raise ValueError(f"modality is {name!r}; it must be one of {', '.join(MODALITIES)}")
    return name


def with_defaults(given: Processors, names: Sequence[str]) -> dict[str, Callable[[Any], Tensor]]:
    """The processors of `names`: those `given`, and the defaults of `mmbook.preprocess` for the rest."""
    from mmbook.preprocess import AudioProcessor, ImageProcessor, TextProcessor

    defaults: dict[str, Callable[[], Callable[[Any], Tensor]]] = {
        "text": TextProcessor,
        "image": ImageProcessor,
        "audio": AudioProcessor,
    }
    return {name: given[name] if name in given else defaults[name]() for name in names}
