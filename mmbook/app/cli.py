"""The command `mmbook`: fetch what the book needs, see what this machine can do, train and use models.

Here stand the arguments. What needs torch loads when a command runs, so that help comes at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import mmbook
from mmbook.app.console import opened, plainly
from mmbook.app.evaluate import evaluate
from mmbook.app.shard import shard

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmbook {mmbook.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    """The companion of the book Multimodal Models: Principles, Practice, Comparison."""
    if (here := str(Path.cwd())) not in sys.path:
        # for classes of one's own, as with python -m; last, so that no library is hidden
        sys.path.append(here)


ModelFolder = Annotated[str, typer.Argument(metavar="MODEL", help="Folder where the model is saved.")]


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file that says what to train on what.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the config, as in --set training.lr=1e-4."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that was broken off, to the same result.")
    ] = False,
) -> None:
    """Train a model as a YAML file says, and save it with all it needs to read files."""
    with plainly():
        from mmbook.app.train import train

        train(config, set_ or [], resume)


app.command()(evaluate)


@app.command()
def predict(
    model: ModelFolder,
    source: Annotated[Path, typer.Argument(help="CSV of texts and paths; or a folder of files.")],
    out: Annotated[Path, typer.Option(help="CSV to write.")] = Path("predictions.csv"),
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a forward pass.")] = 32,
) -> None:
    """Write a table with the model's answer for each sample, and the reason where there is none."""
    with plainly():
        from mmbook.app.predict import predict_to_csv

        written = predict_to_csv(opened(model), source, out, batch_size)
        typer.echo(f"{written.rows - written.failed} of {written.rows} samples predicted: {written.file}")


@app.command()
def export(
    model: ModelFolder,
    folder: Annotated[Path, typer.Argument(metavar="OUT_FOLDER", help="Where to write the files.")],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="onnx or torch; several times for both. Both if not given."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="CSV or folder for one real batch; the training data, if not given."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in that batch.")] = 4,
) -> None:
    """Write a model as ONNX and as a program of torch.export, each checked to equal it on real samples."""
    with plainly():
        from mmbook.app.export import FORMATS, example_batch, export_model

        ready = opened(model)
        batch = example_batch(ready, Path(model), data, batch_size)
        rows = export_model(ready, folder, batch, formats or list(FORMATS))
        _print_exported(rows)


app.command()(shard)


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Assets to fetch; all if none is named.")] = None,
) -> None:
    """Get the data and weights of the book. Safe to run again: what is intact is not fetched twice."""
    from mmbook import assets

    try:
        found = assets.fetch(names or None)
    except (assets.AssetError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    size = sum(assets.registry()[name].size for name in found)
    typer.echo(f"{len(found)} assets, {size / 1e6:.1f} MB, are here and intact: {assets.cache_dir()}")


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Print what this machine has, which assets are here, and what of the book it can run."""
    from mmbook.app.doctor import examine

    found = examine()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print_tables(found)


def _print_tables(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    gib = 2**30
    memory = {
        key: "unknown" if size is None else f"{size / gib:.1f} GiB" for key, size in found["memory"].items()
    }
    machine = Table("", "", title="This machine", title_justify="left", show_header=False)
    machine.add_row("Python", f"{found['python']} on {found['platform']}")
    for name, number in found["packages"].items():
        machine.add_row(name, number or "not installed")
    gpus = "\n".join(f"{gpu['name']}, {gpu['memory'] / gib:.1f} GiB" for gpu in found["gpus"])
    machine.add_row("GPU", gpus or "none")
    machine.add_row("CPU", f"{found['cpus']} cores, {found['threads']} threads used by torch")
    machine.add_row("", "{name}, {instructions}; {advice}".format(**found["processor"]))
    machine.add_row("memory", f"{memory['total']}, {memory['available']} available")
    machine.add_row("cache", f"{found['cache']['folder']}, {found['cache']['free'] / gib:.1f} GiB free")
    for name, value in found["settings"].items():
        machine.add_row(name, "not set" if value is None else value)

    kept = Table("asset", "status", "MB", "licence", "rights", title="Assets", title_justify="left")
    for name, asset in found["assets"].items():
        kept.add_row(name, asset["status"], f"{asset['size'] / 1e6:.1f}", asset["licence"], asset["rights"])

    runs = Table(
        "what", "able", "what is in the way", title="What this machine can run", title_justify="left"
    )
    for run in found["runs"]:
        runs.add_row(run["what"], "yes" if run["able"] else "no", run["why"])

    console = Console()
    for table in (machine, kept, runs):
        console.print(table)


def _print_exported(rows: list[dict[str, Any]]) -> None:
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


if __name__ == "__main__":
    app()
