"""The command `mmbook`: fetch what the book needs, see what this machine can do, train and use models."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

import mmbook
from mmbook.app.evaluate import evaluate
from mmbook.app.export.command import export
from mmbook.app.predict import predict
from mmbook.app.shard import shard
from mmbook.app.train import train

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


for command in (train, evaluate, predict, export, shard):
    app.command()(command)


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


if __name__ == "__main__":
    app()
