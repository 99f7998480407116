"""Files on disk as a dataset: what can be read is read, what cannot is named and counted."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

RESERVED = ("labels", "id")


class Skipped(NamedTuple):
    """A file that was left out."""

    path: str
    reason: str


class FilesSkipped(UserWarning):
    """Some files could not be read and their rows were left out; ``dataset.skipped`` lists them."""


class FileDataset(Dataset[dict[str, Any]]):
    """Rows of file paths, read by processors; row ``i`` is ``{name: Tensor, ..., "labels", "id"}``.

    Every file is read once when the dataset is made, so that a bad one is found then and not in the middle of
    an epoch. A row with a bad file is left out whole, with a warning that gives the count and the first name;
    `skipped` has them all. A modality that is absent from a row or None is missing, which is no fault.

    Args:
        rows: each ``{"image": path, "audio": path, "labels": ...}`` with any of the names of `processors`.
        processors: ``{name: function}`` from a path to a tensor ``(T, ...)``, such as those of
            `mmbook.preprocess`. What they refuse with ``ValueError`` or ``OSError`` is a bad file.
        keep: hold what was read in memory. Turn it off for data that do not fit: each access then reads the
            files again.
        skipped: files that whoever listed the rows has left out already; they are reported with the others.

    Attributes:
        rows: those that are left, in their order.
        skipped: ``(path, reason)`` of each file that cannot be read.

    Raises:
        ValueError: no rows, a name without a processor, or not a single row that can be read.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        processors: Mapping[str, Callable[[Any], Tensor]],
        keep: bool = True,
        skipped: Sequence[Skipped] = (),
    ) -> None:
        if not rows and not skipped:
            raise ValueError("there are no rows; give at least one, as {'audio': path, 'labels': 3}")
        self.processors = dict(processors)
        for name in dict.fromkeys(name for row in rows for name in row):
            if name not in self.processors and name not in RESERVED:
                known = ", ".join(self.processors) or "none"
                raise ValueError(f"rows hold {name!r}, but there are processors for {known}; add one")
        self.rows: list[dict[str, Any]] = []
        self.skipped = list(skipped)
        self._kept: list[dict[str, Any]] | None = [] if keep else None
        for row in rows:
            self._try(dict(row))
        self._report(len(rows))

    def _try(self, row: dict[str, Any]) -> None:
        """Take `row` in, or note which of its files is bad."""
        found, bad = {}, []
        for name, path in self._paths(row).items():
            try:
                found[name] = self.processors[name](path)
            except (ValueError, OSError) as error:
                bad.append(Skipped(os.fspath(path), str(error)))
        self.skipped += bad
        if not bad:
            self.rows.append(row)
            if self._kept is not None:
                self._kept.append(found)

    def _paths(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: path for name, path in row.items() if name in self.processors and path is not None}

    def _report(self, count: int) -> None:
        if not self.skipped:
            return
        summary = (
            f"{len(self.skipped)} files cannot be used, such as {self.skipped[0].path}: "
            f"{self.skipped[0].reason}"
        )
        if not self.rows:
            raise ValueError(f"none of the {count} rows can be read; {summary}")
        warnings.warn(f"{summary}; .skipped lists them all", FilesSkipped, stacklevel=3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]  # IndexError where it should be, and negative indices
        row = self.rows[index]
        found = (
            {name: self.processors[name](path) for name, path in self._paths(row).items()}
            if self._kept is None
            else self._kept[index]
        )
        labels = {"labels": row["labels"]} if "labels" in row else {}
        return {**found, **labels, "id": row.get("id", index)}
