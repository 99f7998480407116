"""The configuration that lies beside a trained model, complete and so that it can be run again."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmbook.app.config_check import Problems
from mmbook.app.config_file import flat, read_yaml
from mmbook.train.checkpoint import PREFIX
from mmbook.train.settings import Settings

FILE = "config.yaml"
CHECKPOINTS = "training"
# What may differ when a run goes on.
FREE = (*(f"training.{name}" for name in Settings.FREE), "data.keep", "output")


def resolve_tokenizers(model: Mapping[str, Any], resolve: Callable[[str], str]) -> None:
    """Change the path of each tokenizer file that the section names."""
    for options in model.get("processors", {}).values():
        if str(options.get("tokenizer")).endswith(".json"):
            options["tokenizer"] = resolve(options["tokenizer"])


def effective_config(config: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """A copy of the configuration that says the same from inside the folder `output`."""

    def near(path: str) -> str:
        return Path(os.path.relpath(path, output)).as_posix()

    found = copy.deepcopy(dict(config))
    resolve_tokenizers(found["model"], near)
    for section, name in (("model", "from"), ("data", "train"), ("data", "valid")):
        if found[section].get(name) is not None:
            found[section][name] = near(found[section][name])
    return found | {"output": "."}


def check_output(problems: Problems, output: Path, effective: Mapping[str, Any], resume: bool) -> None:
    """A folder holds one run: go on with the same, or start in another."""
    if not any((output / CHECKPOINTS).glob(f"{PREFIX}*")):
        return
    if not resume:
        problems.add(
            f"output is {output}, which holds a run already; give --resume to go on with it, or another"
        )
        return
    before, now = dict(flat(read_yaml(output / FILE))), dict(flat(effective))
    for key in {**before, **now}:
        if key not in FREE and before.get(key) != now.get(key):
            problems.add(
                f"{key} is {now.get(key)!r}, but the run in {output} was begun with {before.get(key)!r}; go "
                f"on with that, or take another output"
            )
