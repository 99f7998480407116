"""Files on disk as a dataset: what can be read is read, what cannot is named and counted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmbook.data.kinds import Processor, file_reader, is_deterministic

RESERVED = ("labels", "id")
MOST_KEPT = 2**30  # bytes of tensors that a dataset holds in memory


class Skipped(NamedTuple):
    """A file that was left out."""

    path: str
    reason: str


class FilesSkipped(UserWarning):
    """Some files could not be read and their rows were left out; ``dataset.skipped`` lists them."""


def read_items(
    items: Mapping[str, Any], readers: Mapping[str, Processor]
) -> tuple[dict[str, Tensor], list[Skipped]]:
    """What the readers make of the items of one sample, and those that they refuse.

    Args:
        items: modality -> path, or whatever else the reader takes; None where it is missing.
        readers: of every modality. ``ValueError`` and ``OSError`` are taken for a bad file.
    """
    found, bad = {}, []
    for name, item in items.items():
        if item is None:
            continue
        try:
            found[name] = readers[name](item)
        except (ValueError, OSError) as error:
            bad.append(Skipped(str(item), str(error)))
    return found, bad


class FileDataset(Dataset[dict[str, Any]]):
    """Rows of file paths, read by processors; row ``i`` is ``{name: Tensor, ..., "labels", "id"}``.

    Every file is read once when the dataset is made, so that a bad one is found then and not in the middle of
    an epoch. A row with a bad file is left out whole, with a warning that gives the count and the first name;
    `skipped` has them all. A modality that is absent from a row or None is missing, which is no fault.

    Args:
        rows: each ``{"image": path, "audio": path, "labels": ...}`` with any of the names of `processors`.
            For a processor of text a str is the text itself, and a `pathlib.Path` a file with it.
        processors: ``{name: function}`` from a path to a tensor ``(T, ...)``, such as those of
            `mmbook.preprocess`. What they refuse with ``ValueError`` or ``OSError`` is a bad file.
        keep: hold what was read in memory, up to `MOST_KEPT` bytes (1 GiB); what is beyond is read again at
            each access. What a processor draws at random is never held, or an augmentation would be drawn
            once for ever. One that is none of the package's, and has no attribute ``deterministic``, reads
            each file twice when the dataset is made; where the results differ it draws.
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
        processors: Mapping[str, Processor],
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
        self._readers = {name: file_reader(processor) for name, processor in self.processors.items()}
        # modalities that are held in memory -> whether their processors must still be watched for draws
        self._held = {name: not is_deterministic(p) for name, p in self.processors.items()} if keep else {}
        self._kept: list[dict[str, Tensor]] = []  # of the first rows, as many as fit
        self._bytes = 0
        self.rows: list[dict[str, Any]] = []
        self.skipped = list(skipped)
        for row in rows:
            self._try(dict(row))
        self._report(len(rows))

    def _try(self, row: dict[str, Any]) -> None:
        """Take `row` in, or note which of its files is bad."""
        items = self._items(row)
        found, bad = read_items(items, self._readers)
        self.skipped += bad
        if bad:
            return
        if self._held and len(self._kept) == len(self.rows):  # all rows so far did fit
            for name in [name for name in found if self._held.get(name)]:
                if not torch.equal(found[name], self._readers[name](items[name])):
                    self._drop(name)
            held = {name: value for name, value in found.items() if name in self._held}
            size = sum(value.nbytes for value in held.values())
            if self._bytes + size <= MOST_KEPT:
                self._kept.append(held)
                self._bytes += size
        self.rows.append(row)

    def _drop(self, name: str) -> None:
        """Hold nothing of a modality any more."""
        del self._held[name]
        for kept in self._kept:
            self._bytes -= kept.pop(name).nbytes if name in kept else 0

    def _items(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: item for name, item in row.items() if name in self.processors and item is not None}

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
        kept = self._kept[index] if index < len(self._kept) else {}
        found = {
            name: kept[name] if name in kept else self._readers[name](item)
            for name, item in self._items(row).items()
        }
        labels = {"labels": row["labels"]} if "labels" in row else {}
        return {**found, **labels, "id": row.get("id", index)}
