"""Where files are listed: a CSV with a column for each modality, or a folder of files that share names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mmbook.models import MultimodalModel
from mmbook.preprocess import AudioProcessor, ImageProcessor, TextProcessor, VideoProcessor, WordProcessor

COLUMNS = ("id", "labels")  # that a CSV may have beside the modalities
TEXT = (TextProcessor, WordProcessor)
EXTENSIONS: dict[type, tuple[str, ...]] = {
    TextProcessor: (".txt",),
    WordProcessor: (".txt",),
    ImageProcessor: (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    AudioProcessor: (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"),
    VideoProcessor: (".mp4", ".mkv", ".webm", ".avi", ".mov"),
}


class Sample(NamedTuple):
    """One row of a list of files.

    Attributes:
        id: from the list, or the row's number, or the name that its files share.
        place: where it stands, for messages.
        items: modality -> path, or the text itself; without those that are missing.
        labels: as written, or None.
        errors: what is wrong with the row before any file is opened.
    """

    id: str
    place: str
    items: dict[str, Path | str]
    labels: str | None = None
    errors: tuple[str, ...] = ()


class CsvSource:
    """The rows of a CSV file, a few at a time: its length does not matter for memory.

    Columns are the model's modalities, any of them, and perhaps id and labels. A path is relative to the
    CSV's folder. A cell of text is the text itself, unless it ends in .txt: then it is a path. An empty cell
    is a missing modality.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column that is neither, none of the modalities, or a column twice.
    """

    def __init__(self, model: MultimodalModel, path: Path) -> None:
        self.path, self.processors = path, readers(model)
        self.header = next(self._cells(), [])
        known = (*self.processors, *COLUMNS)
        wrong = [name for name in self.header if name not in known or self.header.count(name) > 1]
        if wrong or not any(name in self.processors for name in self.header):
            raise ValueError(
                f"{path} has the columns {', '.join(self.header)}; it may have each of {', '.join(known)} "
                f"once, and must have one of {', '.join(self.processors)}"
            )

    def __len__(self) -> int:
        return sum(1 for _ in self._cells()) - 1

    def batches(self, size: int) -> Iterator[list[Sample]]:
        """The rows in their order, `size` at a time.

        Raises:
            ValueError: what is no CSV in UTF-8.
        """
        rows = enumerate(islice(self._cells(), 1, None))
        while batch := [self._sample(number, cells) for number, cells in islice(rows, size)]:
            yield batch

    def _cells(self) -> Iterator[list[str]]:
        """The header, then the rows; lines with nothing in them are no rows."""
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            try:
                yield from ([cell.strip() for cell in cells] for cells in reader if cells)
            except (csv.Error, UnicodeDecodeError) as error:
                raise ValueError(
                    f"{self.path} is no CSV in UTF-8, at line {reader.line_num + 1}: {error}"
                ) from error

    def _sample(self, number: int, cells: list[str]) -> Sample:
        row = dict(zip(self.header, cells, strict=False))
        items = {name: self._item(name, row[name]) for name in self.processors if row.get(name)}
        place = f"row {number} (from 0) of {self.path.name}"
        errors = []
        if len(cells) != len(self.header):
            errors.append(
                f"{len(cells)} cells for the {len(self.header)} columns of {self.path.name}; a text with a "
                f"comma needs quotes"
            )
        return Sample(row.get("id") or str(number), place, items, row.get("labels") or None, tuple(errors))

    def _item(self, name: str, cell: str) -> Path | str:
        is_text = isinstance(self.processors[name], TEXT) and not cell.endswith(".txt")
        return cell if is_text else self.path.parent / cell


class FolderSource:
    """Files of a folder and its subfolders: a.png, a.wav and a.txt are one sample, whose id is a.

    Which file is which modality its extension says. Two files for one modality are an error of that sample.
    Files of other kinds are in `ignored`.

    Raises:
        ValueError: two modalities of one kind, or a processor of an unknown kind (both need a CSV); no files.
    """

    def __init__(self, model: MultimodalModel, path: Path) -> None:
        self.path = path
        modality = _by_extension(readers(model))
        self.ignored: list[Path] = []
        self.groups: dict[str, dict[str, list[Path]]] = {}
        for file in sorted(path.rglob("*")):
            if not file.is_file() or any(part.startswith(".") for part in file.relative_to(path).parts):
                continue
            name = modality.get(file.suffix.lower())
            if name is None:
                self.ignored.append(file)
                continue
            stem = file.relative_to(path).with_suffix("").as_posix()
            self.groups.setdefault(stem, {}).setdefault(name, []).append(file)
        if not self.groups:
            raise ValueError(f"{path} holds no file that the model reads: {', '.join(modality)}")

    def __len__(self) -> int:
        return len(self.groups)

    def batches(self, size: int) -> Iterator[list[Sample]]:
        """The samples in the order of their names, `size` at a time."""
        names = list(self.groups)
        for start in range(0, len(names), size):
            yield [self._sample(stem, self.groups[stem]) for stem in names[start : start + size]]

    def _sample(self, stem: str, found: Mapping[str, list[Path]]) -> Sample:
        twice = tuple(
            f"several files for {name!r}: {', '.join(file.name for file in files)}; keep one"
            for name, files in found.items()
            if len(files) > 1
        )
        items: dict[str, Path | str] = {name: files[0] for name, files in found.items()}
        return Sample(stem, f"{stem} in {self.path}", items, errors=twice)


def open_source(model: MultimodalModel, source: str | Path) -> CsvSource | FolderSource:
    """The folder or the CSV at `source`.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: as the two do.
    """
    path = Path(source)
    if path.is_dir():
        return FolderSource(model, path)
    if not path.is_file():
        raise FileNotFoundError(f"no CSV file and no folder at {path}")
    return CsvSource(model, path)


def readers(model: MultimodalModel) -> dict[str, Any]:
    """The model's processors.

    Raises:
        ValueError: it has none.
    """
    if not model.preprocess:
        raise ValueError(
            "the model has no processors, so it cannot read files; make it with preprocess={...}"
        )
    return model.preprocess


def _by_extension(processors: Mapping[str, Any]) -> dict[str, str]:
    """Extension -> modality."""
    found: dict[str, str] = {}
    for name, processor in processors.items():
        kinds = [kind for kind in EXTENSIONS if isinstance(processor, kind)]
        if not kinds or EXTENSIONS[kinds[0]][0] in found:
            raise ValueError(
                f"extensions do not say which files are {name!r} ({type(processor).__name__}); list the "
                f"files in a CSV with the columns {', '.join(processors)}"
            )
        found |= dict.fromkeys(EXTENSIONS[kinds[0]], name)
    return found
