"""The files that a table names, as tar shards."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mmbook.data import Labels, Table, write_shards
from mmbook.data.kinds import KINDS
from mmbook.data.shard_writer import WrittenShards
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
) -> WrittenShards:
    """Write the files that a CSV names into shards, as the command ``mmbook shard`` does.

    What a cell means is said in `mmbook.data.tables.Table`, and what labels are in `Labels.of_cells`; words
    become classes in the order of the alphabet, with their names in the index. Nothing is written if a row
    has too many or too few cells.

    Args:
        source: the table, with columns text, image, audio, video, and, where there are, labels and id.
        folder: where to write; must not exist yet, or be empty.
        columns: names of the modalities, where they are others than those four. The table's further columns
            are then passed over. A name that begins with "text" holds texts.
        prefix, per_shard, max_bytes: as in `write_shards`.
        seed: of the order in which the rows are dealt to shards, since a reader mixes only neighbours; None
            keeps the table's own. The id of a row without one is its number in the table, counted from 0.

    Raises:
        ValueError: what `Table`, `Labels.of_cells` and `write_shards` refuse; a row with an error.
    """
    table = Table(source)
    kinds = {name: "text" if name.startswith("text") else name for name in columns or KINDS}
    missing = [name for name in columns or () if name not in table.header]
    if missing:
        raise ValueError(f"{source} has the columns {', '.join(table.header)}, and none called {missing[0]}")
    labels = table.labels() if "labels" in table.header else Labels("none")
    rows = []
    for number, sample in enumerate(table.samples(kinds, others=columns is not None)):
        if sample.errors:
            raise ValueError(f"{sample.place}: {'; '.join(sample.errors)}")
        label = {} if labels.kind == "none" else {"labels": labels.read(sample.labels or "")}
        rows.append({**sample.items, **label, "id": number if sample.id == str(number) else sample.id})
    if seed is not None:
        rows = [rows[i] for i in stream("csv", seed).permutation(len(rows))]
    return write_shards(
        rows,
        folder,
        per_shard=per_shard,
        max_bytes=max_bytes,
        prefix=prefix,
        classes=labels.classes,
        class_names=labels.names or None,
        text=[name for name, kind in kinds.items() if kind == "text"],
    )
