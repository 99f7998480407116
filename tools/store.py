"""Executed notebooks, kept by key, and the jupyter-cache and the list of run times made from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TypedDict

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from tools.keys import BENCHMARKS
from tools.pages import docname

ROOT = Path(".exec")
EXECUTED = ROOT / "executed"
CACHE = ROOT / "jupyter_cache"
RUNTIMES = ROOT / "runtimes.json"
BENCH = BENCHMARKS / "notebooks.json"


class Record(TypedDict):
    """What a run cost (wall seconds, most memory at once) and where: day, cores, threads, runs at a time."""

    seconds: float
    memory_mb: int
    date: str
    cpus: int
    threads: int
    jobs: int


def has(key: str) -> bool:
    """Whether an executed copy is stored under `key`."""
    return (EXECUTED / f"{key}.json").is_file()


def put(key: str, executed: Path, record: Record) -> None:
    """Store an executed notebook. The record is written last: a copy without one does not count."""
    EXECUTED.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(executed, EXECUTED / f"{key}.ipynb")
    partial = EXECUTED / f"{key}.partial"
    partial.write_text(json.dumps(record))
    partial.rename(EXECUTED / f"{key}.json")


def prune(keys: set[str]) -> None:
    """Drop every stored copy whose key is not in `keys`."""
    for path in EXECUTED.iterdir():
        if path.stem not in keys:
            path.unlink()


def recorded_seconds() -> dict[str, float]:
    """Seconds that each page took when it last ran, here or under `make bench`, by page name."""
    measured = json.loads(BENCH.read_text())["notebooks"] if BENCH.is_file() else {}
    last = json.loads(RUNTIMES.read_text()) if RUNTIMES.is_file() else {}
    return {name: record["seconds"] for name, record in (measured | last).items()}


def publish(keys: dict[Path, str]) -> None:
    """Fill the jupyter-cache and the list of run times with exactly the notebooks given."""
    shutil.rmtree(CACHE, ignore_errors=True)
    cache = get_cache(CACHE)
    runtimes = {}
    for notebook, key in keys.items():
        record: Record = json.loads((EXECUTED / f"{key}.json").read_text())
        runtimes[docname(notebook)] = {**record, "key": key}
        bundle = CacheBundleIn(
            with_outputs(notebook, EXECUTED / f"{key}.ipynb"),
            uri=str(notebook.resolve()),
            data={"execution_seconds": record["seconds"]},
        )
        # check_validity refuses a notebook whose cells did not all run, in order.
        cache.cache_notebook_bundle(bundle, check_validity=True, overwrite=True)
    RUNTIMES.write_text(json.dumps(runtimes, indent=1, sort_keys=True) + "\n")


def with_outputs(notebook: Path, executed: Path) -> nbformat.NotebookNode:
    """The notebook as it is now, with the outputs of its executed copy.

    jupyter-cache looks a notebook up by code, tags and kernel; nbclient's timings would be part of that, and
    a tag changed since the run would miss. So the outputs move into the present notebook, not the other way.
    """
    now = nbformat.read(notebook, as_version=4)
    ran = nbformat.read(executed, as_version=4)
    now.metadata["language_info"] = ran.metadata.get("language_info", {})
    outputs = [cell for cell in ran.cells if cell.cell_type == "code"]
    for cell, done in zip((cell for cell in now.cells if cell.cell_type == "code"), outputs, strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    return now
