"""What training and evaluation are pointed at: a table, a folder for each class, or tar shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from mmbook.data import FileDataset, Labels, ShardDataset, Table, labelled_files, open_files
from mmbook.data.kinds import OTHER, kinds_of, text_reader
from mmbook.data.shard_format import INDEX
from mmbook.data.shards import shard_paths
from mmbook.heads import Classification, Regression
from mmbook.models import MultimodalModel


class Files:
    """A table of files with labels (`mmbook.data.Table`), or a folder for each class (`mmbook.data.Folder`).

    Attributes:
        path: of the table or the folder.
        modalities: the table's columns but id and labels; None for a folder, whose files have only a kind.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a table that cannot be read, or has no column of labels.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.source = path, open_files(path)
        self.modalities = self.source.modalities
        if isinstance(self.source, Table):
            self.source.cells("labels")

    def classes(self) -> tuple[int | None, list[str]]:
        """How many classes the labels are of, and their names in order, if they have names.

        Raises:
            ValueError: labels that are no classes, or that are missing in some rows.
        """
        labels = self.source.labels()
        if labels.kind != "class":
            raise ValueError(
                f"{self.path} has labels of the kind {labels.kind!r}; classes are names, or whole numbers "
                f"from 0. For other numbers take model.head.type: Regression"
            )
        return labels.classes, list(labels.names)

    def targets(self) -> int:
        """How many numbers a label has."""
        return self.source.labels().width or 1

    def labels(self, wanted: Labels) -> list[Any]:
        """The label of each row, as `wanted` reads it; no file is opened."""
        kinds = dict.fromkeys(self.modalities or (), OTHER)
        return [wanted.read(s.labels) for s in self.source.samples(kinds) if s.labels is not None]

    def texts(self, name: str) -> Iterator[str]:
        """The texts of a modality; of files that cannot be read, none."""
        read = text_reader(str)
        for sample in self.source.samples(dict.fromkeys(self.modalities or (), OTHER) | {name: "text"}):
            try:
                if name in sample.items and not sample.errors:
                    yield read(sample.items[name])
            except (ValueError, OSError):
                continue  # the dataset will say so

    def dataset(
        self, model: MultimodalModel, keep: bool = True, buffer: int = 0, seed: int = 0
    ) -> FileDataset:
        """The rows as the model's processors read them, with labels as its head takes them.

        Raises:
            ValueError: a label that the head does not know; no file for one of the modalities of a folder.
        """
        kinds = kinds_of(processors_of(model))
        samples = list(self.source.samples(kinds))
        for name in () if self.modalities else kinds:
            if not any(name in sample.items for sample in samples):
                raise ValueError(f"{self.path} has no file for {name!r}, of the kind {kinds[name]}")
        return labelled_files(samples, model.preprocess, labels_for(model), keep)


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
        gone = [shard for shard in shard_paths(path) if not shard.is_file()]
        if gone:
            raise FileNotFoundError(f"there is no such shard: {gone[0]}")
        self.path, self.known = path, ShardDataset(path, {})
        self.modalities = self.known.modalities
        self.class_names = list(self.known.class_names or ())

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
        return len(first) if isinstance(first, list) else 1

    def texts(self, name: str) -> Iterator[str]:
        """The texts of a modality."""
        as_it_is: Any = {name: str}  # a vocabulary is of strings, not of tensors
        return (row[name] for row in ShardDataset(self.path, as_it_is, buffer=0) if name in row)

    def dataset(
        self, model: MultimodalModel, keep: bool = True, buffer: int = 1000, seed: int = 0
    ) -> Dataset:
        """The samples as the model's processors read them.

        Raises:
            ValueError: classes that are not the model's; a number of samples that nobody knows.
        """
        wanted, names = labels_for(model), self.class_names
        if names and model.classes and names != model.classes:
            raise ValueError(
                f"{self.path} has the classes {', '.join(names)}; the model has {', '.join(model.classes)}"
            )
        if wanted.classes is not None and (self.known.labels.classes or 0) > wanted.classes:
            raise ValueError(
                f"{self.path} has {self.known.labels.classes} classes; the model has {wanted.classes}"
            )
        shards = ShardDataset(
            self.path,
            model.preprocess,
            buffer=buffer,
            seed=seed,
            labels=wanted.kind,
            classes=wanted.classes,
        )
        try:
            len(shards)
        except TypeError as error:
            raise ValueError(str(error).replace(", or give samples=...", "")) from error
        return shards


def open_data(path: Path) -> Files | Shards:
    """What is at `path`: a table, if it is called so; a folder without shards; else shards.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: what `Files` or `Shards` refuses.
    """
    shards = path.is_dir() and ((path / INDEX).exists() or any(path.glob("*.tar")))
    if path.suffix.lower() == ".csv" or (path.is_dir() and not shards):
        return Files(path)
    return Shards(path)


def files_dataset(model: MultimodalModel, path: str | Path, keep: bool = True) -> FileDataset:
    """The labelled rows of a table or of a folder for each class, as the model reads them.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: what `Files` refuses.
    """
    return Files(Path(path)).dataset(model, keep)


def processors_of(model: MultimodalModel) -> dict[str, Any]:
    """The model's processors.

    Raises:
        ValueError: it has none.
    """
    if not model.preprocess:
        raise ValueError(
            "the model has no processors, so it cannot read files; make it with preprocess={...}"
        )
    return model.preprocess


def class_names(model: MultimodalModel) -> list[str]:
    """The model's classes; their numbers where it has no names."""
    head: Any = model.head  # of a Classification, or of what stands for one
    return model.classes or [str(k) for k in range(head.num_classes)]


def labels_for(model: MultimodalModel) -> Labels:
    """The labels that the model's head takes.

    Raises:
        ValueError: it is no head for classification or regression.
    """
    head = model.head
    if isinstance(head, Classification):
        return Labels("class", head.num_classes, tuple(class_names(model)))
    if isinstance(head, Regression):
        return Labels("number", width=0 if head.num_targets == 1 else head.num_targets)
    raise ValueError(
        f"the head is {type(head).__name__}; files have labels for Classification and Regression"
    )
