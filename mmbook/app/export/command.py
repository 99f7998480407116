"""`mmbook export`: a saved model as files that run without mmbook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmbook.app.console import opened, plainly

if TYPE_CHECKING:
    from torch import Tensor

    from mmbook.models import MultimodalModel


def export(
    model: Annotated[str, typer.Argument(help="Folder where the model is saved.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT_FOLDER", help="Where to write the files.")],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="onnx or torch; several times for both. Both if not given."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="CSV or folder for one real batch; the data that the model was trained on, if not given."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in that batch.")] = 4,
) -> None:
    """Write a model as ONNX and as a program of torch.export, each checked to equal it on real samples."""
    with plainly():
        from mmbook.app.export import FORMATS, export_model

        ready = opened(model)
        batch = real_batch(ready, data or _trained_on(Path(model)), batch_size)
        _print(export_model(ready, folder, batch, formats or list(FORMATS)))


def real_batch(model: MultimodalModel, source: Path, size: int) -> dict[str, Tensor]:
    """The first `size` samples of a CSV or a folder that can be read and lack nothing.

    Raises:
        ValueError: there are none.
    """
    from mmbook.app.predict import read_sample
    from mmbook.data import open_files
    from mmbook.data.kinds import file_reader, kinds_of
    from mmbook.modality import collate

    rows: list[dict[str, Tensor]] = []
    readers = {name: file_reader(processor) for name, processor in model.preprocess.items()}
    for sample in open_files(source).samples(kinds_of(model.preprocess)):
        row, errors = read_sample(sample, readers)
        if not errors and set(row) == set(model.encoders):
            rows.append(row)
        if len(rows) >= size:
            break
    if not rows:
        raise ValueError(
            f"no sample of {source} can be read and has all of {', '.join(model.encoders)}; give others by "
            f"--data"
        )
    return collate(rows[:size])


def _trained_on(folder: Path) -> Path:
    """The CSV that the configuration beside the model names."""
    from mmbook.app.config_file import read_yaml
    from mmbook.app.config_output import FILE

    file = folder / FILE
    named = read_yaml(file)["data"]["train"] if file.is_file() else ""
    if not named.endswith(".csv"):
        raise ValueError(f"{folder} does not say which CSV it was trained on; give --data DATA.csv")
    return folder / named


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    head = rows[0]
    title = f"batch of {head['batch_size']}, {head['threads']} threads"
    table = Table("format", "file", "MB", "largest difference", "ms", "PyTorch ms", "ratio", title=title)
    for row in rows:
        times = [f"{row[name]:.2f}" for name in ("latency_ms", "model_ms", "ratio")]
        table.add_row(
            row["format"], row["file"], f"{row['size_bytes'] / 1e6:.1f}", f"{row['difference']:.1e}", *times
        )
    Console().print(table)
    if head["fixed"]:
        lengths = ", ".join(f"{name} {length}" for name, length in head["fixed"].items())
        typer.echo(f"Of fixed length, to which shorter samples are padded: {lengths}.")
