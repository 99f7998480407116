"""The section ``data`` of a configuration: a CSV of files, or tar shards, asked what is in them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from mmbook.app.labelled import files_dataset
from mmbook.app.read import text_reader
from mmbook.app.sources import COLUMNS
from mmbook.data.shard_paths import located
from mmbook.data.shard_table import labels_of_cells
from mmbook.data.shards import ShardDataset
from mmbook.heads import Classification, Regression
from mmbook.models import MultimodalModel


class Table:
    """A CSV of files, with labels, as `mmbook.app.labelled.files_dataset` reads it.

    Attributes:
        path: of the file.
        modalities: its columns but id and labels.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no CSV in UTF-8, or one without a column of labels.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"there is no such file: {path}")
        self.path = path
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                header, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row] or [[]]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no CSV in UTF-8: {error}") from error
        self.modalities = tuple(name for name in header if name not in COLUMNS)
        if "labels" not in header:
            raise ValueError(
                f"{path} has the columns {', '.join(header) or 'none'}; training needs one called labels"
            )
        # a row with a cell too many or too few is reported, and left out, by the dataset
        whole = [row for row in rows if len(row) == len(header)]
        self.columns = {name: [row[i] for row in whole] for i, name in enumerate(header)}

    def classes(self) -> tuple[int, list[str]]:
        """How many classes the labels are of, and their names in order, if they have names.

        Raises:
            ValueError: labels that are no classes, or that are missing in some rows.
        """
        labels, names = labels_of_cells([*self.columns["labels"]], self.path)
        if names is not None:
            return len(names), names
        odd = [label for label in labels if type(label) is not int or label < 0]
        if odd or not labels:
            raise ValueError(
                f"{self.path} has labels such as {odd[0] if odd else None!r}; classes are names, or whole "
                f"numbers from 0. For other numbers take model.head.type: Regression"
            )
        return max(labels) + 1, []

    def targets(self) -> int:
        """How many numbers a label has."""
        return len((next(iter(self.columns["labels"]), "") or "0").split())

    def texts(self, name: str) -> Iterator[str]:
        """The texts of a column; of files that cannot be read, none."""
        read = text_reader(str)
        for cell in filter(None, self.columns[name]):
            try:
                yield read(self.path.parent / cell if cell.endswith(".txt") else cell)
            except (ValueError, OSError):
                continue  # the dataset will say so

    def dataset(self, model: MultimodalModel, keep: bool, buffer: int, seed: int) -> Dataset:
        """The rows as the model's processors read them."""
        return files_dataset(model, self.path, keep)


class Shards:
    """Tar shards, as `mmbook.data.ShardDataset` reads them: a folder with its index, or a pattern.

    Attributes:
        path: of the folder, or the pattern.
        modalities: as the index says; None without an index.
        class_names: as the index says; empty where it names none.

    Raises:
        FileNotFoundError: a folder without an index, or a shard that is not there.
        ValueError: no shards.
    """

    def __init__(self, path: Path) -> None:
        gone = [shard for shard in located(path) if not shard.is_file()]
        if gone:
            raise FileNotFoundError(f"there is no such shard: {gone[0]}")
        self.path, self.known = path, ShardDataset(path, {})
        self.modalities: Any = self.known.modalities
        names: Any = self.known.class_names
        self.class_names: list[str] = list(names or ())

    def classes(self) -> tuple[int | None, list[str]]:
        """How many classes there are, if the index says it, and their names, if it has them.

        Raises:
            ValueError: labels that are no classes.
        """
        if self.known.labels.kind != "class":
            raise ValueError(
                f"{self.path} has labels of the kind {self.known.labels.kind!r}; model.head.type: "
                f"Classification needs 'class'"
            )
        return self.known.labels.classes, self.class_names

    def targets(self) -> int:
        """How many numbers a label has."""
        first = next(iter(ShardDataset(self.path, {}, buffer=0, labels="number")))["labels"]
        return 1 if isinstance(first, float) else len(first)

    def texts(self, name: str) -> Iterator[str]:
        """The texts of a modality."""
        as_it_is: Any = {name: str}  # a vocabulary is of strings, not of tensors
        return (row[name] for row in ShardDataset(self.path, as_it_is, buffer=0) if name in row)

    def dataset(self, model: MultimodalModel, keep: bool, buffer: int, seed: int) -> Dataset:
        """The samples as the model's processors read them.

        Raises:
            ValueError: classes that are not the model's; a number of samples that nobody knows.
        """
        head, names = model.head, self.class_names
        kind = {Classification: "class", Regression: "number"}[type(head)]
        count = head.num_classes if isinstance(head, Classification) else None
        if names and model.classes and names != model.classes:
            raise ValueError(
                f"{self.path} has the classes {', '.join(names)}; the model has {', '.join(model.classes)}"
            )
        if count is not None and (self.known.labels.classes or 0) > count:
            raise ValueError(f"{self.path} has {self.known.labels.classes} classes; the model has {count}")
        shards = ShardDataset(
            self.path, model.preprocess, buffer=buffer, seed=seed, labels=kind, classes=count
        )
        try:
            len(shards)
        except TypeError as error:
            raise ValueError(str(error).replace(", or give samples=...", "")) from error
        return shards


def open_data(path: Path) -> Table | Shards:
    """What is at `path`: a table, if it is called so, else shards."""
    return Table(path) if path.suffix.lower() == ".csv" else Shards(path)
