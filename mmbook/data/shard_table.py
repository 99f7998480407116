"""A table of files into shards: what the command ``mmbook shard`` does."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmbook.data.shard_members import KINDS
from mmbook.data.shard_writer import RESERVED, Written, write_shards
from mmbook.seeding import stream


def shard_csv(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    prefix: str = "train",
    per_shard: int = 1000,
    max_bytes: int = 2**30,
    seed: int | None = 0,
) -> Written:
    """Write the files that a CSV table names into shards; see `mmbook.data.write_shards`.

    The first line names the columns: text, image, audio, video, and, where there are, labels and id. A cell
    of text holds the text itself, unless it is one word that ends in ``.txt``; all other cells are paths,
    seen from the table's folder. An empty cell is a missing modality.

    Labels may be integers from 0 (classes), other numbers, or words, which become classes in the order of the
    alphabet, with their names in the index.

    Args:
        source: the table, UTF-8.
        folder: where to write; must not exist yet, or be empty.
        columns: names of the modalities, where they are others than those four. The table's further columns
            are then passed over. A name that begins with "text" holds text.
        prefix, per_shard, max_bytes: as in `write_shards`.
        seed: of the order in which the rows are dealt to shards, since a reader mixes only neighbours; None
            keeps the table's own. The id of a row without one is its number in the table, counted from 0.

    Raises:
        ValueError: a column that is no modality, none that is, a line with too few or too many cells, labels
            in some lines only, numbers and words mixed; and what `write_shards` refuses.
    """
    source = Path(source)
    with source.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file, strict=True)
        header = list(table.fieldnames or [])
        names = _modalities(header, columns, source)
        lines = [_line(cells, len(header), f"{source}, line {table.line_num}") for cells in table]
    labels, class_names = labels_of_cells([line.get("labels") for line in lines], source)
    rows = []
    for number, (line, label) in enumerate(zip(lines, labels, strict=True)):
        row = {name: _value(name, line[name], source.parent) for name in names if line[name]}
        rows.append(row | {"labels": label, "id": line.get("id") or number})
    if seed is not None:
        rows = [rows[i] for i in stream("csv", seed).permutation(len(rows))]
    return write_shards(
        rows,
        folder,
        per_shard=per_shard,
        max_bytes=max_bytes,
        prefix=prefix,
        class_names=class_names,
        text=[name for name in names if name.startswith("text")],
    )


def _modalities(header: Sequence[str], columns: Sequence[str] | None, source: Path) -> list[str]:
    known = list(KINDS if columns is None else columns)
    names = [name for name in header if name in known]
    missing = [] if columns is None else [name for name in columns if name not in header]
    others = [name for name in header if name not in known and name not in RESERVED]
    if not names or missing or (others and columns is None):
        wrong = missing or others
        raise ValueError(
            f"{source} has the columns {', '.join(header) or 'none'}; expected are {', '.join(known)}, with "
            f"labels and id{f' (see {wrong[0]!r})' if wrong else ''}. Rename, or say which columns to take"
        )
    return names


def _line(cells: dict[Any, Any], width: int, where: str) -> dict[str, str]:
    count = sum(value is not None for key, value in cells.items() if key is not None) + len(
        cells.get(None, [])
    )
    if count != width:
        raise ValueError(f"{where}: {count} cells under {width} columns; put quotes around commas")
    return cells


def labels_of_cells(cells: Sequence[str | None], source: Path) -> tuple[list[Any], list[str] | None]:
    """The labels as numbers, and the names of the classes if they were words."""
    given = [cell for cell in cells if cell]
    if not given:
        return [None] * len(cells), None
    if len(given) < len(cells):
        raise ValueError(
            f"{source} has no label in {len(cells) - len(given)} of {len(cells)} rows; fill them in"
        )
    numbers = [_number(cell) for cell in given]
    words = sorted({cell for cell, number in zip(given, numbers, strict=True) if number is None})
    if not words:
        whole = all(type(number) is int for number in numbers)
        return numbers if whole else [float(number) for number in numbers if number is not None], None
    odd = next((cell for cell, number in zip(given, numbers, strict=True) if number is not None), None)
    if odd is not None:
        raise ValueError(
            f"{source} has labels that are numbers, such as {odd!r}, and words, such as {words[0]!r}"
        )
    return [words.index(cell) for cell in given], words


def _number(cell: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return None


def _value(name: str, cell: str, folder: Path) -> str | Path:
    is_text = name.startswith("text") and not (cell.endswith(".txt") and len(cell.split()) == 1)
    return cell if is_text else folder / cell
