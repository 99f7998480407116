"""A training run from one YAML file: what it says, checked whole, becomes model, data and settings.

The file::

    model:
      encoders: {text: {type: Word2Vec, width: 64}, image: {type: SmallCNN}}
      fusion: {type: attention}
      head: {type: Classification}
    data: {train: train.csv, valid: valid.csv}
    training: {epochs: 3, batch_size: 32, lr: 1e-3, seed: 0}
    output: runs/first
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from mmbook.app.config_check import Option, Problems, options_of
from mmbook.app.config_data import Files, Shards, open_data
from mmbook.app.config_file import read_yaml
from mmbook.app.config_model import build_model, checked_model
from mmbook.app.config_output import CHECKPOINTS, check_output, effective_config, resolve_tokenizers
from mmbook.app.saved import saved_model
from mmbook.evaluate.metrics import CLASSIFICATION, REGRESSION
from mmbook.heads import Classification, Regression
from mmbook.models import MultimodalModel
from mmbook.train.optimizer import build_optimizer
from mmbook.train.settings import Settings

DATA = {
    "train": Option(str),
    "valid": Option(str | None, None),
    "keep": Option(bool, True),
    "buffer": Option(int, 1000),
}
SECTIONS = {"model": Option(dict), "data": Option(dict), "training": Option(dict), "output": Option(str)}


@dataclass
class Run:
    """A training run, ready for ``mmbook.Trainer(run.model, run.train, run.valid, **run.settings)``.

    Attributes:
        model: with its processors, and with random weights or those it was saved with.
        train: the dataset to learn from.
        valid: the one to choose by; None where there is none.
        settings: keywords of the trainer.
        output: the folder where the model is to be saved, with checkpoints and logs in ``training/``.
        effective: the configuration with all defaults, paths relative to `output`: to be written beside the
            model, where it describes this very run.
    """

    model: MultimodalModel
    train: Dataset
    valid: Dataset | None
    settings: dict[str, Any]
    output: Path
    effective: dict[str, Any]


def read_run(path: str | Path, changes: Sequence[str] = (), resume: bool = False) -> Run:
    """The run that a configuration describes.

    Relative paths in it, and in `changes`, are relative to its folder. ``data.train`` and ``data.valid`` are
    each a CSV, as `mmbook.data.Table` reads it, a folder with one for each class (`mmbook.data.Folder`), or a
    folder or pattern of tar shards.
    ``data.keep`` holds what a CSV names in memory; ``data.buffer`` is that of `mmbook.data.ShardDataset`.
    ``model.classes`` names the classes in order; else the training labels say it. ``model`` may be
    ``{from: folder}``, to go on with a saved model.

    Args:
        path: of the YAML file.
        changes: as in ``["training.lr=1e-4"]``.
        resume: go on with the run in the output folder, if there is one; it must be the same. Without it
            there must be none.

    Raises:
        ConfigError: everything that is wrong, a line each: the key, its value, what is allowed.
    """
    path, problems = Path(path), Problems()
    base = path.parent
    top = problems.options("", read_yaml(path, changes), SECTIONS)
    settings = checked_settings(problems, top["training"]) if "training" in top else {}
    data, sources = _checked_data(problems, top["data"], base) if "data" in top else ({}, {})
    config, model = _checked_model(problems, top["model"], base) if "model" in top else ({}, None)
    names = list(model.encoders if model else config.get("encoders", {}))
    for name, source in sources.items():
        _compare_modalities(problems, f"data.{name}", source, names)
    problems.stop()
    if model is None:
        _complete_head(problems, config, sources["train"])
        problems.stop()
        torch.manual_seed(settings["seed"])
        model = build_model(problems, config, sources["train"])
    output = _below(base, top["output"])
    _compare_settings(problems, settings, model)
    effective = effective_config({"model": config, "data": data, "training": settings}, output)
    check_output(problems, output, effective, resume)
    problems.stop()
    sets: dict[str, Dataset] = {}
    for name, source in sources.items():
        with problems.about(f"data.{name}"):
            sets[name] = source.dataset(model, data["keep"], data["buffer"], settings["seed"])
    problems.stop()
    settings = settings | {"output_dir": output / CHECKPOINTS, "resume": resume}
    return Run(model, sets["train"], sets.get("valid"), settings, output, effective)


def _below(base: Path, path: str) -> Path:
    return Path(os.path.normpath(base / path))


def _checked_data(
    problems: Problems, given: Mapping[str, Any], base: Path
) -> tuple[dict[str, Any], dict[str, Files | Shards]]:
    """The section with its defaults, and what is at its paths."""
    data, sources = problems.options("data", given, DATA), {}
    for name in ("train", "valid"):
        if data.get(name) is not None:
            path = _below(base, data[name])
            data[name] = str(path)
            with problems.about(f"data.{name}"):
                sources[name] = open_data(path)
    return data, sources


def _checked_model(
    problems: Problems, given: Mapping[str, Any], base: Path
) -> tuple[dict[str, Any], MultimodalModel | None]:
    """The section with its defaults, and the model, if it is a saved one."""
    if "from" not in given:
        config = checked_model(problems, given)
        # a saved model names its tokenizer, wherever it is loaded from
        resolve_tokenizers(config, lambda file: str(_below(base, file).absolute()))
        return config, None
    config = problems.options("model", given, {"from": Option(str)})
    if "from" in config:
        config["from"] = str(_below(base, config["from"]))
        with problems.about("model.from"):
            return config, saved_model(config["from"])
    return config, None


def checked_settings(problems: Problems, given: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``training`` with all defaults; `Settings` itself says which values are allowed."""
    known = options_of(Settings, without=["output_dir", "resume"])  # from the key output, and from --resume
    known["groups"] = known["groups"]._replace(default={})
    found = problems.options("training", given, known)
    usual: dict[str, Any] = {"epochs": 1, "batch_size": 1, "lr": 1.0, "seed": 0, "output_dir": CHECKPOINTS}
    for name in given:
        if name in found:
            try:
                Settings(**usual | {name: found[name]})
            except ValueError as error:  # begins with the name
                problems.add(f"training.{error}")
    return found


def _compare_settings(problems: Problems, settings: Mapping[str, Any], model: MultimodalModel) -> None:
    """What only the model can tell: whether a group has parameters, and a score to monitor exists."""
    if settings["groups"]:
        with problems.about("training.groups"):
            names = "optimizer", "lr", "weight_decay", "groups"
            build_optimizer(model.named_parameters(), *(settings[name] for name in names))
    scores = {Classification: CLASSIFICATION, Regression: REGRESSION}.get(type(model.head))
    if scores:  # a saved model may have another head, whose scores have names of their own
        problems.choice("training.monitor", settings["monitor"], ("loss", *scores))


def _compare_modalities(problems: Problems, key: str, source: Files | Shards, names: Sequence[str]) -> None:
    """Every modality of the data must have an encoder, and every encoder its modality."""
    if source.modalities is None or not names:
        return
    for name in source.modalities:
        if name not in names:
            problems.add(
                f"{key}: {source.path} has {name!r}, which no encoder reads; there are encoders for "
                f"{', '.join(names)}. Add model.encoders.{name}, or leave it out of the data"
            )
    for name in names:
        if name not in source.modalities:
            problems.add(
                f"model.encoders.{name}: {source.path} has no {name!r}, only {', '.join(source.modalities)}. "
                f"Add it, or remove the encoder"
            )


def _complete_head(problems: Problems, model: dict[str, Any], data: Files | Shards) -> None:
    """Fill in what the labels say: classes and their number, or how many numbers a label has."""
    head, count = model["head"], "num_classes" if model["head"]["type"] == "Classification" else "num_targets"
    with problems.about("data.train"):
        found, names = data.classes() if count == "num_classes" else (data.targets(), [])
        model["classes"] = classes = names if model["classes"] is None else model["classes"]
        head[count] = (len(classes) or found) if head[count] is None else head[count]
        if head[count] is None:
            raise ValueError(
                f"{data.path} does not say how many classes there are; give model.head.num_classes"
            )
        if classes and len(classes) != head[count]:
            problems.add(
                f"model.head.{count} is {head[count]}, but there are {len(classes)} classes: "
                f"{', '.join(classes)}; leave it out, and it is counted"
            )
        elif (found or 0) > head[count] or (count == "num_targets" and found != head[count]):
            problems.add(
                f"model.head.{count} is {head[count]}, but {data.path} has {found}; leave it out, and it is "
                f"counted"
            )
    if model["fusion"]["out_dim"] is None:
        model["fusion"]["out_dim"] = head[count]
