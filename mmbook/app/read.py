"""One sample read from its files, with every fault named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmbook.app.sources import TEXT, Sample
from mmbook.models import MultimodalModel


def loaded(model: MultimodalModel | str | Path) -> MultimodalModel:
    """The model itself, or the one saved in that folder."""
    return model if isinstance(model, MultimodalModel) else MultimodalModel.from_pretrained(str(model))


def item_readers(processors: Mapping[str, Any]) -> dict[str, Callable[[Any], Tensor]]:
    """The processors, those of text taking the path of a text file, too."""
    return {
        name: text_reader(processor) if isinstance(processor, TEXT) else processor
        for name, processor in processors.items()
    }


def text_reader(processor: Callable[[str], Any]) -> Callable[[Path | str], Any]:
    """`processor` for a string, or for the path of a file in UTF-8."""

    def read(item: Path | str) -> Tensor:
        if not isinstance(item, Path):
            return processor(item)
        if not item.is_file():
            raise FileNotFoundError(f"no text file at {item}")
        try:
            return processor(item.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{item} is not text in UTF-8: {error}. Convert it or leave it out") from error

    return read


def read_sample(
    sample: Sample, readers: Mapping[str, Callable[[Any], Tensor]]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a sample, and what is wrong with it: nothing, if the list is empty."""
    if not sample.items:
        return {}, [f"nothing to read: each of {', '.join(readers)} is missing"]
    row, errors = {}, list(sample.errors)
    for name, item in sample.items.items():
        try:
            row[name] = readers[name](item)
        except (ValueError, OSError) as error:
            errors.append(str(error))
    return row, errors
