"""Kinds of modalities: which file extensions belong to one, and which kind a processor reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmbook.preprocess import AudioProcessor, ImageProcessor, TextProcessor, VideoProcessor, WordProcessor

Processor = Callable[[Any], Tensor]

# Kind -> extensions. Tables, folders and shards all go by this.
KINDS: dict[str, tuple[str, ...]] = {
    "text": ("txt",),
    "image": ("png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff"),
    "audio": ("wav", "flac", "ogg", "mp3", "aiff", "aif"),
    "video": ("mp4", "mkv", "webm", "avi", "mov"),
}
KIND_OF_EXTENSION = {extension: kind for kind, extensions in KINDS.items() for extension in extensions}
OTHER = "other"  # the kind of what is read from files of any extension
_PROCESSORS: dict[type, str] = {
    TextProcessor: "text",
    WordProcessor: "text",
    ImageProcessor: "image",
    AudioProcessor: "audio",
    VideoProcessor: "video",
}


def kind_of(processor: Processor) -> str:
    """A key of `KINDS`, or `OTHER`: the processor's attribute ``kind``, else that of its class.

    A processor of text is given strings, one of another kind paths.
    """
    found = (kind for known, kind in _PROCESSORS.items() if isinstance(processor, known))
    return getattr(processor, "kind", None) or next(found, OTHER)


def kinds_of(processors: Mapping[str, Processor]) -> dict[str, str]:
    """Modality -> kind."""
    return {name: kind_of(processor) for name, processor in processors.items()}


def is_deterministic(processor: Processor) -> bool:
    """Whether a processor is known to draw no random numbers: by its attribute, or as one of the package's.

    A subclass may well draw, and is not taken for its parent.
    """
    stated = getattr(processor, "deterministic", None)
    return type(processor) in _PROCESSORS if stated is None else bool(stated)


def file_reader(processor: Processor) -> Processor:
    """The processor; one of text also takes the `pathlib.Path` of a file in UTF-8."""
    return text_reader(processor) if kind_of(processor) == "text" else processor


def text_reader(processor: Callable[[str], Any]) -> Callable[[Path | str], Any]:
    """`processor` for a string, or for the path of a file in UTF-8.

    Raises:
        FileNotFoundError: from the function, where no such file is.
        ValueError: from the function, for a file that is not UTF-8.
    """

    def read(item: Path | str) -> Any:
        if not isinstance(item, Path):
            return processor(item)
        if not item.is_file():
            raise FileNotFoundError(f"no text file at {item}")
        try:
            return processor(item.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{item} is not text in UTF-8: {error}. Convert it or leave it out") from error

    return read
