"""`mmbook shard`: files into tar shards, and the index of shards that others have written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmbook.app.console import plainly

if TYPE_CHECKING:
    from mmbook.data import ShardIndex


def shard(
    source: Annotated[
        Path | None, typer.Argument(metavar="DATA.csv", help="CSV of texts, paths and labels.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(metavar="OUT_FOLDER", help="Where to; must not exist yet.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the index of a folder of tars instead.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="A modality's column, if called otherwise than its kind; several times."),
    ] = None,
    prefix: Annotated[str, typer.Option(help="What file names start with.")] = "train",
    per_shard: Annotated[int, typer.Option(min=1, help="Most samples in a shard.")] = 1000,
    max_bytes: Annotated[int, typer.Option(min=1, help="Most bytes in a shard.")] = 2**30,
    seed: Annotated[int, typer.Option(help="Of the order of the rows; -1 keeps that of the CSV.")] = 0,
    labels: Annotated[str | None, typer.Option(help="With --index: class, number or none.")] = None,
    classes: Annotated[int | None, typer.Option(help="With --index: how many there are.")] = None,
) -> None:
    """Pack the files that a CSV names into tar shards, from which training reads at any scale."""
    with plainly():
        from mmbook.app.shard_csv import shard_csv
        from mmbook.data import index_shards

        if index is not None:
            if source is not None:
                raise ValueError(f"{source} and --index {index} are two tasks; give one")
            typer.echo(_said(index_shards(index, labels=labels, classes=classes), index))
            return
        if source is None or folder is None:
            raise ValueError("give DATA.csv and OUT_FOLDER, or --index FOLDER")
        if not source.is_file():
            raise ValueError(f"no CSV file at {source}")
        written = shard_csv(
            source,
            folder,
            columns=column or None,
            prefix=prefix,
            per_shard=per_shard,
            max_bytes=max_bytes,
            seed=None if seed < 0 else seed,
        )
        typer.echo(_said(written.contents, folder))


def _said(found: ShardIndex, folder: Path) -> str:
    size = f"{found.samples} samples in {len(found.shards)} shards, {found.bytes / 1e6:.1f} MB"
    return f"{size}, with {', '.join(found.modalities)}: {folder}"
