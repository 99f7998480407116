"""A training run from one YAML file: what it says, checked whole, becomes model, data and settings.

The file::

    model:
      encoders: {text: {type: Word2Vec, width: 64}, image: {type: SmallCNN}}
      fusion: {type: attention}
      head: {type: Classification}
    data: {train: train.csv, valid: valid.csv}
    training: {epochs: 3, batch_size: 32, lr: 1e-3, seed: 0}
    output: runs/first

What may stand there is read off the constructors of the classes and off `mmbook.train.Settings`. A type is a
short name, or ``my_module.MyEncoder`` for a class of one's own with ``@register``, from the file's folder or
any other place on ``sys.path``.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from torch.utils.data import Dataset

from mmbook import encoders
from mmbook.app.config_data import open_data
from mmbook.app.run_folder import CHECKPOINTS, faults_of_output
from mmbook.app.saved import saved_model
from mmbook.app.schema import (
    ConfigError,
    Faults,
    Section,
    arguments,
    checked,
    choose,
    read_yaml,
    section_of,
)
from mmbook.evaluate.metrics import CLASSIFICATION, REGRESSION
from mmbook.fusion import FUSIONS, build_fusion
from mmbook.heads import Classification, Regression
from mmbook.models import MultimodalModel
from mmbook.preprocess import (
    AudioProcessor,
    ImageProcessor,
    TextProcessor,
    VideoProcessor,
    WordProcessor,
    vocabulary_of,
)
from mmbook.registry import REGISTRY, find_class
from mmbook.train.optimizer import build_optimizer
from mmbook.train.settings import Settings

__all__ = ["ConfigError", "Run", "read_run"]

HEADS: dict[str, type] = {"Classification": Classification, "Regression": Regression}
# What reads a modality from files; the first is the usual one.
PROCESSORS: dict[str, list[type]] = {
    "text": [TextProcessor, WordProcessor],
    "image": [ImageProcessor],
    "audio": [AudioProcessor],
    "video": [VideoProcessor],
}
# Arguments that an encoder is told by its processor and not by the configuration: else the two could differ.
TOLD: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "vocabulary": (WordProcessor, lambda processor: processor.vocabulary),
    "vocab_size": (TextProcessor, lambda processor: processor.tokenizer.get_vocab_size()),
}
# Class methods that make an encoder with trained weights, in a configuration as "Bert.minilm".
PRETRAINED = ("minilm", "pretrained", "from_pretrained")


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

    Relative paths in it, and in `changes`, are relative to its folder, which is put on ``sys.path``.
    ``data.train`` and ``data.valid`` are what `mmbook.app.config_data.open_data` takes; ``data.keep`` holds
    the files of a table in memory, ``data.buffer`` is that of `mmbook.data.ShardDataset`. ``model.classes``
    names the classes in order; else the training labels say it. ``model`` may be ``{from: folder}``, to go on
    with a saved model.

    Args:
        path: of the YAML file.
        changes: as in ``["training.lr=1e-4"]``.
        resume: go on with the run in the output folder, if there is one; it must be the same. Without it
            there must be none.

    Raises:
        ConfigError: everything that is wrong, a line each: the key, its value, what is allowed.
    """
    path, faults = Path(path), Faults()
    base = path.parent.absolute()
    given = read_yaml(path, changes)
    if str(base) not in sys.path:
        sys.path.append(str(base))  # last, so that no file there hides a library
    with faults.about(""):
        config = checked(Config, given)
    data = _mapping(given.get("data"))
    sources: dict[str, Any] = {}
    for name in ("train", "valid"):
        if isinstance(data.get(name), str):
            with faults.about(f"data.{name}"):
                sources[name] = open_data(_below(base, data[name]))
    model = None
    if isinstance(folder := _mapping(given.get("model")).get("from"), str):
        with faults.about("model.from"):
            model = saved_model(_below(base, folder))
    names = list(model.encoders if model else _mapping(_mapping(given.get("model")).get("encoders")))
    for name, source in sources.items():
        _compare_modalities(faults, f"data.{name}", source, names)
    faults.stop()
    output, settings = _below(base, config.pop("output")), config["training"]
    _resolve(config, lambda path: str(_below(base, path)))
    if model is None:
        _complete_head(faults, config["model"], sources["train"])
        faults.stop()
        torch.manual_seed(settings["seed"])
        model = _model(faults, config["model"], sources["train"])
    _compare_settings(faults, settings, model)
    effective = copy.deepcopy(config) | {"output": "."}
    _resolve(effective, lambda path: Path(os.path.relpath(path, output)).as_posix())
    faults += faults_of_output(output, effective, resume)
    sets: dict[str, Dataset] = {}
    for name, source in sources.items():
        with faults.about(f"data.{name}"):
            keep, buffer = config["data"]["keep"], config["data"]["buffer"]
            sets[name] = source.dataset(model, keep, buffer, settings["seed"])
    faults.stop()
    settings = settings | {"output_dir": output / CHECKPOINTS, "resume": resume}
    return Run(model, sets["train"], sets.get("valid"), settings, output, effective)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _below(base: Path, path: str) -> Path:
    return Path(os.path.normpath(base / path))


def _resolve(config: Mapping[str, Any], change: Callable[[str], str]) -> None:
    """Change every path in a configuration."""
    places = [(config["model"], "from"), (config["data"], "train"), (config["data"], "valid")]
    for options in config["model"].get("processors", {}).values():
        if str(options.get("tokenizer")).endswith(".json"):
            places.append((options, "tokenizer"))  # a saved model names it wherever it is loaded from
    for section, name in places:
        if section.get(name) is not None:
            section[name] = change(section[name])


# --- what may stand in the file -----------------------------------------------------------------------------


def _makers() -> dict[str, Callable[..., Any]]:
    """The encoders and parts of them that have short names: classes, and their `PRETRAINED`."""
    found: dict[str, Callable[..., Any]] = {}
    for name in encoders.__all__:
        if name in REGISTRY:
            found[name] = REGISTRY[name]
            methods = [method for method in PRETRAINED if hasattr(found[name], method)]
            found |= {f"{name}.{method}": getattr(found[name], method) for method in methods}
    return found


def _maker(name: Any, known: Mapping[str, Callable[..., Any]], *kinds: type) -> Any:
    """What `type` names: one of `known`, or a class of one's own that is one of `kinds`."""
    if name in known or "." not in str(name) or name.partition(".")[0] in REGISTRY:
        choose("type", name, known, besides=", or module.Class for one of your own")
        return known[name]
    try:
        found = find_class(name)
    except ValueError as error:
        raise ConfigError([f"type: {error}"]) from error
    if kinds and not issubclass(found, kinds):
        some = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigError([f"type is {name!r}, which is no subclass of {some}"])
    return found


def _typed(config: Any, known: Mapping[str, Any], *kinds: type, **options: Any) -> dict[str, Any]:
    """``{type: NAME, option: value}`` with all defaults.

    Args:
        known, kinds: as in `_maker`.
        options: of `section_of`.
    """
    config = _mapping(config)
    maker = _maker(config.get("type"), known, *kinds)
    options["instead"] = {"type": (str, ...)} | options.get("instead", {})
    return checked(section_of(maker, part=Part, **options), config)


# An encoder, or a part of one.
Part = Annotated[dict[str, Any], AfterValidator(lambda config: _typed(config, _makers(), without=TOLD))]


def _class_of(config: Mapping[str, Any]) -> Any:
    """The class of an encoder; of a wrapper such as Frozen that of the encoder inside."""
    if config.get("encoder"):
        return _class_of(config["encoder"])
    maker = _maker(config["type"], _makers())
    return getattr(maker, "__self__", maker)  # of a class method


def _reads(config: Mapping[str, Any]) -> str | None:
    """Which modality an encoder reads."""
    return getattr(_class_of(config), "reads", None)


class Model(Section):
    """The section ``model``: classes and their options."""

    encoders: Annotated[dict[str, Any], Field(min_length=1)]
    fusion: dict[str, Any]
    head: dict[str, Any]
    processors: dict[str, Any] = Field(default={}, validate_default=True)
    classes: list[str] | None = None

    @field_validator("encoders")
    @classmethod
    def _encoders(cls, given: dict[str, Any]) -> dict[str, Any]:
        faults, found = Faults(), {}
        reads = {name: _reads({"type": name}) for name in _makers()}
        able = {k: v for k, v in _makers().items() if reads[k] in PROCESSORS or "encoder" in arguments(v)}
        for name, config in given.items():
            with faults.about(name):
                found[name] = _typed(config, able, without=TOLD)
                kind, wanted = _reads(found[name]), [name] if name in PROCESSORS else list(PROCESSORS)
                if kind not in wanted:
                    some = ", ".join(one for one in able if reads[one] in wanted)
                    wrong = f"type is {config['type']!r}, which reads {kind}"
                    raise ConfigError([f"{wrong}; those that read {' or '.join(wanted)} are {some}"])
        faults.stop()
        return found

    @field_validator("fusion")
    @classmethod
    def _fusion(cls, given: dict[str, Any]) -> dict[str, Any]:
        # the width of late fusion is the number of answers, known only when the data are
        more: dict[str, Any] = {"out_dim": (int | None, None if given.get("type") == "late" else 64)}
        if given.get("type") in FUSIONS:  # a class of one's own deals with gaps by itself
            more |= {k: v for k, v in arguments(build_fusion).items() if k not in (*more, "name")}
        return _typed(given, FUSIONS, torch.nn.Module, without=["dims"], instead=more)

    @field_validator("head")
    @classmethod
    def _head(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        maker = _maker(given.get("type"), HEADS, *HEADS.values())
        more: dict[str, Any] = {_count(maker): (int | None, None)}
        if info.data.get("fusion", {}).get("type") == "late":
            more["linear"] = (bool, False)
        return _typed(given, HEADS, *HEADS.values(), without=["dim"], instead=more)

    @field_validator("processors")
    @classmethod
    def _processors(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        faults, found = Faults(), {}
        parts: dict[str, Any] = info.data.get("encoders", {})  # none where they have faults of their own
        for name in [name for name in given if parts and name not in parts]:
            faults.append(
                f"{name} is {given[name]!r:.80}, but there is no encoder {name!r}, only {', '.join(parts)}"
            )
        for name, encoder in parts.items():
            told = [TOLD[key][0] for key in arguments(_class_of(encoder)) if key in TOLD]
            known = {one.__name__: one for one in told or PROCESSORS[_reads(encoder) or ""]}
            with faults.about(name):
                config = given.get(name, {"type": next(iter(known))})
                words = isinstance(config, dict) and config.get("type") == WordProcessor.__name__
                more: dict[str, Any] = {"vocabulary": (list[str] | dict, {})} if words else {}
                found[name] = _typed(config, known, *known.values(), instead=more)
                if isinstance(found[name].get("vocabulary"), dict):  # of the training texts, and not listed
                    with faults.about("vocabulary"):
                        of_texts = section_of(vocabulary_of, without=["texts"])
                        found[name]["vocabulary"] = checked(of_texts, found[name]["vocabulary"])
        faults.stop()
        return found


class Saved(Section):
    """The section ``model`` that goes on with a saved model."""

    folder: Annotated[str, Field(alias="from")]


class Data(Section):
    """The section ``data``."""

    train: str
    valid: str | None = None
    keep: bool = True
    buffer: int = 1000


# The folder comes from the key output, and resume from --resume.
Training = section_of(
    Settings, without=["output_dir", "resume"], instead={"groups": (arguments(Settings)["groups"][0], {})}
)


def _training(given: dict[str, Any]) -> dict[str, Any]:
    """The section ``training``; `Settings` itself says which values are allowed."""
    faults = Faults()
    with faults.about(""):
        given = checked(Training, given)
    usual: dict[str, Any] = {"epochs": 1, "batch_size": 1, "lr": 1.0, "seed": 0, "output_dir": CHECKPOINTS}
    told = [line.partition(" ")[0] for line in faults]
    for name in [name for name in given if name not in told]:
        with faults.about(""):
            Settings(**usual | {name: given[name]})
    faults.stop()
    return given


def _model_section(given: dict[str, Any]) -> dict[str, Any]:
    return checked(Saved if "from" in given else Model, given)


class Config(Section):
    """The file."""

    model: Annotated[dict[str, Any], AfterValidator(_model_section)]
    data: Annotated[dict[str, Any], AfterValidator(lambda given: checked(Data, given))]
    training: Annotated[dict[str, Any], AfterValidator(_training)]
    output: str


# --- what it becomes ----------------------------------------------------------------------------------------


def _count(head: Any) -> str:
    """The argument of a head that the labels decide."""
    return "num_classes" if issubclass(head, Classification) else "num_targets"


def _compare_modalities(faults: Faults, key: str, source: Any, names: Sequence[str]) -> None:
    """Every modality of the data must have an encoder, and every encoder its modality."""
    if source.modalities is None or not names:
        return
    for name in [name for name in source.modalities if name not in names]:
        faults.append(
            f"{key}: {source.path} has {name!r}, which no encoder reads; there are encoders for "
            f"{', '.join(names)}. Add model.encoders.{name}, or leave it out of the data"
        )
    for name in [name for name in names if name not in source.modalities]:
        faults.append(
            f"model.encoders.{name}: {source.path} has no {name!r}, only {', '.join(source.modalities)}. Add "
            f"it, or remove the encoder"
        )


def _complete_head(faults: Faults, model: dict[str, Any], data: Any) -> None:
    """Fill in what the labels say: classes and their number, or how many numbers a label has."""
    head = model["head"]
    count = _count(_maker(head["type"], HEADS))
    with faults.about("data.train"):
        found, names = data.classes() if count == "num_classes" else (data.targets(), [])
        model["classes"] = classes = names if model["classes"] is None else model["classes"]
        head[count] = (len(classes) or found) if head[count] is None else head[count]
        if head[count] is None:
            raise ValueError(
                f"{data.path} does not say how many classes there are; give model.head.num_classes"
            )
        if classes and len(classes) != head[count]:
            faults.append(
                f"model.head.{count} is {head[count]}, but there are {len(classes)} classes: "
                f"{', '.join(classes)}; leave it out, and it is counted"
            )
        elif (found or 0) > head[count] or (count == "num_targets" and found != head[count]):
            faults.append(
                f"model.head.{count} is {head[count]}, but {data.path} has {found}; leave it out, and it is "
                f"counted"
            )
    if model["fusion"]["out_dim"] is None:
        model["fusion"]["out_dim"] = head[count]


def _compare_settings(faults: Faults, settings: Mapping[str, Any], model: MultimodalModel) -> None:
    """What only the model can tell: whether a group has parameters, and a score to monitor exists."""
    if settings["groups"]:
        with faults.about("training.groups"):
            names = "optimizer", "lr", "weight_decay", "groups"
            build_optimizer(model.named_parameters(), *(settings[name] for name in names))
    scores = {Classification: CLASSIFICATION, Regression: REGRESSION}.get(type(model.head))
    if scores:  # a saved model may have another head, whose scores have names of their own
        with faults.about(""):
            choose("training.monitor", settings["monitor"], ("loss", *scores))


def _model(faults: Faults, config: Mapping[str, Any], data: Any) -> MultimodalModel:
    """The model that a complete section describes, with random weights.

    Raises:
        ConfigError: a value that a class refuses.
    """
    processors, parts = {}, {}
    for name, options in config["processors"].items():
        with faults.about(f"model.processors.{name}"):
            options = dict(options)
            if isinstance(options.get("vocabulary"), dict):
                options["vocabulary"] = vocabulary_of(data.texts(name), **options["vocabulary"])
            processors[name] = find_class(options.pop("type"))(**options)
    faults.stop()
    for name, options in config["encoders"].items():
        with faults.about(f"model.encoders.{name}"):
            parts[name] = _made(options, processors[name])
    faults.stop()
    dims: dict[str, Any] = {name: encoder.out_dim for name, encoder in parts.items()}
    fusion, head = dict(config["fusion"]), dict(config["head"])
    kind, width = fusion.pop("type"), fusion["out_dim"]
    with faults.about("model.fusion"):
        joined = build_fusion(kind, dims, **fusion) if kind in FUSIONS else find_class(kind)(dims, **fusion)
    with faults.about("model.head"):
        answer = find_class(head.pop("type"))(width, **head)
    faults.stop()
    return MultimodalModel(parts, joined, answer, preprocess=processors, classes=config["classes"])


def _made(config: Any, processor: Any) -> Any:
    """An encoder, or a part of one, or the value of an option."""
    if not isinstance(config, dict) or "type" not in config:
        return config
    maker = _maker(config["type"], _makers())
    options = {name: _made(value, processor) for name, value in config.items() if name != "type"}
    options |= {name: TOLD[name][1](processor) for name in arguments(maker) if name in TOLD}
    return maker(**options)
