"""The folder of a run: its configuration in ``run.yaml``, and nothing of the user's ever overwritten."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmbook.app.schema import read_yaml, yaml_of
from mmbook.models.saving import CONFIG, WEIGHTS
from mmbook.train.checkpoint import PREFIX
from mmbook.train.settings import Settings

RUN_FILE, CHECKPOINTS = "run.yaml", "training"
EARLIER_RUN_FILE = "config.yaml"  # of version 0.1
MARK = "# Written by mmbook train for the run in this folder; to change it, copy it. "
# What may differ when a run goes on.
FREE = (*(f"training.{name}" for name in Settings.FREE), "data.keep", "output")


def write_run(config: Mapping[str, Any], folder: Path) -> None:
    """Write a complete configuration as ``run.yaml``, but not over a file that somebody has changed."""
    file = folder / RUN_FILE
    if file.exists() and not is_ours(file):
        return
    folder.mkdir(parents=True, exist_ok=True)
    part, text = folder / f".{RUN_FILE}.part", yaml_of(config)
    part.write_text(f"{MARK}{_digest(text)}\n{text}", encoding="utf-8")
    part.replace(file)


def is_ours(file: Path) -> bool:
    """Whether `write_run` wrote a file, and nobody has changed it since: its first line knows the rest."""
    first, _, text = file.read_text(encoding="utf-8", errors="replace").partition("\n")
    return first == f"{MARK}{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_out(file: Path, *sources: str | Path | None) -> None:
    """Refuse to write an answer over what it is the answer to.

    Raises:
        ValueError: `file` is one of the sources.
    """
    for source in sources:
        if source is not None and file.exists() and Path(source).exists() and file.samefile(source):
            raise ValueError(f"{file} would be written over the data that it is made from; give another file")


def run_config(folder: Path) -> dict[str, Any]:
    """The configuration of the run in a folder, with paths relative to it; empty where there is none."""
    files = [folder / name for name in (RUN_FILE, EARLIER_RUN_FILE) if (folder / name).is_file()]
    return read_yaml(files[0]) if files else {}


def faults_of_output(output: Path, config: Mapping[str, Any], resume: bool) -> list[str]:
    """What forbids a run in a folder: it may go on with the same run, or start where nothing is replaced.

    Args:
        output: the folder, perhaps not yet there.
        config: complete, with paths relative to `output`.
        resume: go on with a run that has checkpoints there.
    """
    begun = any((output / CHECKPOINTS).glob(f"{PREFIX}*"))
    if begun and not resume:
        return [f"output is {output}, which holds a run already; give --resume to go on with it, or another"]
    now, earlier = dict(_flat(config)), run_config(output) if begun else {}
    if earlier:
        then = earlier.get("training", {})  # without the options that are younger than the run
        then = {name: then.get(name, value) for name, value in config["training"].items()}
        before = dict(_flat(earlier | {"training": then}))
        return [
            f"{key} is {now.get(key)!r}, but the run in {output} was begun with {before.get(key)!r}; go on "
            f"with that, or take another output"
            for key in {**before, **now}
            if key not in FREE and before.get(key) != now.get(key)
        ]
    if begun:
        return []  # the configuration is gone; the checkpoint knows what is the same run, too
    taken = [name for name in (CONFIG, WEIGHTS) if (output / name).exists()]
    file = output / RUN_FILE
    if file.exists() and not is_ours(file) and dict(_flat(read_yaml(file))) != now:
        taken.append(RUN_FILE)
    some = ", ".join(taken)
    return (
        [f"output is {output}, where {some} would be replaced; give another, or move them"] if taken else []
    )


def _flat(config: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Every key as a dotted path, with its value."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{start}{name}.")
        else:
            yield f"{start}{name}", value
