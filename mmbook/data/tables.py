"""Tables of files: a CSV with a column for each modality, and perhaps id and labels. The one reader of them.

Training, evaluation, prediction and the writer of shards all read a table by `Table`, so a cell means the
same to each of them. The rule is in its docstring.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mmbook.data.files import FileDataset, Skipped
from mmbook.data.kinds import Processor
from mmbook.data.labels import Labels

COLUMNS = ("id", "labels")  # that a table may have beside the modalities


class Sample(NamedTuple):
    """One row of a table, or the files of one name in a folder.

    Attributes:
        id: from the table, or the row's number, or the name that its files share.
        place: where it stands, for messages.
        items: modality -> path, or the text itself; without those that are missing.
        labels: as written; None where there are none.
        errors: what is wrong with it before any file is opened.
    """

    id: str
    place: str
    items: dict[str, Path | str]
    labels: str | None = None
    errors: tuple[str, ...] = ()


class Table:
    """A CSV in UTF-8, with or without a byte order mark; its first line names the columns.

    Blanks around a cell do not count, and a cell with a comma, a quote or a line break in it stands in double
    quotes. Lines with nothing in them are no rows. An empty cell is a missing modality. Any other cell is the
    path of a file, relative to the table's folder, but for a column of texts. There a cell is

    - the path of a text file, if the whole cell, on one line, ends in ``.txt`` and there is such a file;
    - an error of its row, if it ends in ``.txt``, has no blank in it, and there is no such file;
    - else the text itself, as is "please read notes.txt".

    Rows are read as they are asked for, so that the length of a table does not matter for memory.

    Attributes:
        path: of the file.
        header: the columns.
        modalities: the columns but id and labels.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no CSV in UTF-8, or has a column without a name.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no CSV file at {self.path}")
        _, self.header = next(self._lines(), (0, []))
        self.modalities = tuple(name for name in self.header if name not in COLUMNS)
        if "" in self.header:
            raise ValueError(
                f"{self.path} has a column without a name, the {self.header.index('') + 1}. of "
                f"{len(self.header)}; name it, or leave it out (pandas' index: to_csv(..., index=False))"
            )

    def __len__(self) -> int:
        return sum(1 for _ in self._lines()) - 1

    def labels(self) -> Labels:
        """What the labels are, by all rows that have as many cells as there are columns.

        Raises:
            ValueError: no column of labels, or what `Labels.of_cells` refuses.
        """
        try:
            return Labels.of_cells(self.cells("labels"))
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def cells(self, column: str) -> list[str]:
        """A column, of all rows that have as many cells as there are columns.

        Raises:
            ValueError: there is no such column.
        """
        if column not in self.header:
            raise ValueError(f"{self.path} has the columns {', '.join(self.header)}; add one called {column}")
        place, width = self.header.index(column), len(self.header)
        rows = (cells for _, cells in self._lines() if len(cells) == width)
        return [cells[place] for cells in rows][1:]

    def samples(self, kinds: Mapping[str, str], others: bool = False) -> Iterator[Sample]:
        """The rows in their order.

        Args:
            kinds: modality -> ``"text"``, or any other word where cells are paths.
            others: pass over further columns; else they are an error.

        Raises:
            ValueError: at once, a column that is neither a modality nor id or labels, or stands there twice,
                or no modality at all; later, at a line that is no CSV in UTF-8.
        """
        extra = [] if others else [name for name in self.modalities if name not in kinds]
        extra += [name for name in self.header if self.header.count(name) > 1]
        if extra or not set(kinds) & set(self.header):
            raise ValueError(
                f"{self.path} has the columns {', '.join(self.header) or 'none'}; it may have each of "
                f"{', '.join((*kinds, *COLUMNS))} once, and must have one of {', '.join(kinds)}"
                + (f". Rename {extra[0]}, or leave it out" if extra else "")
            )
        return self._samples(kinds)

    def _samples(self, kinds: Mapping[str, str]) -> Iterator[Sample]:
        lines = self._lines()
        next(lines)
        for number, (line, cells) in enumerate(lines):
            row = dict(zip(self.header, cells, strict=False))
            errors, items = [], {}
            if len(cells) != len(self.header):
                errors.append(
                    f"{len(cells)} cells for the {len(self.header)} columns of {self.path.name}; a text with "
                    f"a comma needs quotes"
                )
            for name in filter(row.get, kinds):
                try:
                    items[name] = self._item(name, row[name], kinds[name])
                except ValueError as error:
                    errors.append(str(error))
            place = f"row {number} (from 0; line {line}) of {self.path.name}"
            yield Sample(row.get("id") or str(number), place, items, row.get("labels") or None, tuple(errors))

    def _item(self, name: str, cell: str, kind: str) -> Path | str:
        """The path or the text that a cell stands for, by the rule above."""
        path = self.path.parent / cell
        if kind != "text":
            return path
        if not cell.lower().endswith(".txt") or len(cell.splitlines()) > 1:
            return cell
        if os.path.isfile(path):  # unlike Path.is_file, says no to a text that is too long for a name
            return path
        if len(cell.split()) > 1:
            return cell
        raise ValueError(
            f"{cell!r} in the column {name!r} is no file in {self.path.parent}. A cell that ends in .txt is "
            f"the path of a text file if there is one; else, with a blank in it, the text itself. Correct "
            f"the path, or, if this is the text, let it end otherwise, as in {cell + '.'!r}"
        )

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Number, from 1, and cells of each line that has any, the header first."""
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            try:
                for cells in filter(None, reader):
                    "".join(cells).encode()  # finds bytes that are not UTF-8, in the line where they are
                    yield reader.line_num, [cell.strip() for cell in cells]
            except (csv.Error, UnicodeEncodeError) as error:
                why = "other bytes" if isinstance(error, UnicodeEncodeError) else error
                line = max(reader.line_num, 1)
                raise ValueError(
                    f"{self.path} is no CSV in UTF-8, at line {line}: {why}; mend it there, or save it anew"
                ) from error


def labelled_files(
    samples: Iterable[Sample], processors: Mapping[str, Processor], labels: Labels, keep: bool = True
) -> FileDataset:
    """The rows of a table or a folder with labels, as a dataset to train and to score on.

    A row with a bad file is left out, named in ``.skipped``, and counted in a warning. A row's "id" is its
    place in the list, from 0, so that left-out rows leave their gaps.

    Args:
        samples: of `Table.samples` or `mmbook.data.Folder.samples`.
        processors, keep: as in `mmbook.data.FileDataset`.
        labels: how the labels are read.

    Raises:
        ValueError: a sample without labels, or with labels that are none of these; not a single one that can
            be read.
    """
    rows, left_out = [], []
    for number, sample in enumerate(samples):
        if sample.errors or not sample.items:
            reason = "; ".join(sample.errors) or f"{sample.place} names no file and no text"
            left_out.append(Skipped(sample.place, reason))
            continue
        if sample.labels is None:
            raise ValueError(f"{sample.place} has no labels; give them in every row")
        try:
            rows.append({**sample.items, "labels": labels.read(sample.labels), "id": number})
        except ValueError as error:
            raise ValueError(f"{sample.place}: {error}") from error
    return FileDataset(rows, processors, keep, left_out)
