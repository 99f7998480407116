"""The section ``model`` of a configuration: checked against the package's classes, then built.

It is checked whole before anything is built, so that all its faults come out together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmbook import encoders
from mmbook.app.config_check import Option, Problems, options_of
from mmbook.app.config_data import Files, Shards
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
from mmbook.registry import REGISTRY

HEADS: dict[str, type] = {"Classification": Classification, "Regression": Regression}
# What reads a modality from files; Word2Vec has a processor of its own kind.
PROCESSORS: dict[str, type] = {
    "text": TextProcessor,
    "image": ImageProcessor,
    "audio": AudioProcessor,
    "video": VideoProcessor,
}
# Class methods that make an encoder with trained weights, in a configuration as "Bert.minilm".
PRETRAINED = ("minilm", "pretrained", "from_pretrained")
# What an encoder is told by its processor and not by the configuration: else the two could differ.
FROM_PROCESSOR: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Word2Vec": ("vocabulary", lambda processor: processor.vocabulary),
    "Bert": ("vocab_size", lambda processor: processor.tokenizer.get_vocab_size()),
}
VOCABULARY = options_of(vocabulary_of, without=["texts"])


def makers() -> dict[str, Callable[..., Any]]:
    """What can stand as the type of an encoder, or of a part of one: classes and their `PRETRAINED`."""
    found: dict[str, Callable[..., Any]] = {}
    for name in dir(encoders):
        if name in REGISTRY:
            found[name] = REGISTRY[name]
            methods = [method for method in PRETRAINED if hasattr(found[name], method)]
            found |= {f"{name}.{method}": getattr(found[name], method) for method in methods}
    return found


def reads(config: Mapping[str, Any]) -> str | None:
    """Which modality an encoder reads; a wrapper such as Frozen what the encoder inside does."""
    kind = REGISTRY.get(str(config.get("type")).partition(".")[0])
    if hasattr(kind, "reads"):
        return kind.reads  # type: ignore[union-attr]
    return reads(config["encoder"]) if isinstance(config.get("encoder"), dict) else None


def checked_model(problems: Problems, config: Mapping[str, Any]) -> dict[str, Any]:
    """The section with all defaults filled in; faults go to `problems`."""
    known = {"head": Option(dict), "encoders": Option(dict), "fusion": Option(dict)}
    known |= {"processors": Option(dict, {}), "classes": Option(list[str] | None, None)}
    found = problems.options("model", config, known)
    parts = problems.section("model.encoders", found.get("encoders", {}))
    if "encoders" in found and not parts:
        problems.add("model.encoders is {}; give at least one, such as {image: {type: SmallCNN}}")
    full = {name: _encoder(problems, name, part) for name, part in parts.items()}
    given = problems.section("model.processors", found.get("processors", {}))
    for name in given:
        if name not in parts:
            problems.choice("the modality in model.processors", name, parts)
    processors = {name: _processor(problems, name, full[name], given.get(name)) for name in parts}
    fusion, head = problems.section("model.fusion", found.get("fusion", {})), found.get("head", {})
    if "fusion" in found and problems.choice("model.fusion.type", fusion.get("type"), FUSIONS):
        # the width of late fusion is the number of answers, known only when the data are
        usual = {"out_dim": Option(int | None, None if fusion["type"] == "late" else 64)}
        usual |= options_of(FUSIONS[fusion["type"]], without=["dims", "out_dim"])
        usual |= options_of(build_fusion, without=["name", "dims", "out_dim", "options"])
        fusion = {"type": fusion["type"]} | problems.options("model.fusion", fusion, usual, ["type"])
    if "head" in found and problems.choice("model.head.type", head.get("type"), HEADS):
        usual = options_of(HEADS[head["type"]], without=["dim"])
        count = "num_classes" if head["type"] == "Classification" else "num_targets"
        usual[count] = Option(int | None, None)
        if fusion.get("type") == "late":
            usual["linear"] = Option(bool, False)
        head = {"type": head["type"]} | problems.options("model.head", head, usual, ["type"])
    return {
        "encoders": full,
        "fusion": fusion,
        "head": head,
        "processors": processors,
        "classes": found.get("classes"),
    }


def _encoder(problems: Problems, name: str, config: Any) -> dict[str, Any]:
    key = f"model.encoders.{name}"
    kinds = {
        k: v for k, v in makers().items() if reads({"type": k}) in PROCESSORS or "encoder" in options_of(v)
    }
    found = _part(problems, key, config, kinds)
    kind = reads(found) if found else None
    if kind not in PROCESSORS:
        if found.get("encoder", found):  # what is missing or wrong inside has been said
            problems.add(f"{key}.type is {found['type']!r}, which reads {kind}, not what files hold")
    elif name in PROCESSORS and name != kind:
        able = [k for k in kinds if reads({"type": k}) == name]
        problems.add(
            f"{key}.type is {found['type']!r}, which reads {kind}; those that read {name} are "
            f"{', '.join(able)}"
        )
    return found


def _part(
    problems: Problems, key: str, config: Any, kinds: Mapping[str, Callable[..., Any]]
) -> dict[str, Any]:
    """An encoder, or a part of one, with its defaults; empty if nothing can be said about it."""
    config = problems.section(key, config)
    if not config or not problems.choice(f"{key}.type", config.get("type"), kinds):
        return {}
    told = FROM_PROCESSOR.get(config["type"], ("",))[0]
    known = options_of(kinds[config["type"]], without=[told])
    found = {"type": config["type"]} | problems.options(key, config, known, ["type"])
    inner = {name: value for name, value in found.items() if isinstance(value, dict)}
    return found | {name: _part(problems, f"{key}.{name}", value, makers()) for name, value in inner.items()}


def _processor(problems: Problems, name: str, encoder: Mapping[str, Any], config: Any) -> dict[str, Any]:
    kind, key = reads(encoder), f"model.processors.{name}"
    if kind not in PROCESSORS:
        return {}
    cls = WordProcessor if _innermost(encoder)["type"] == "Word2Vec" else PROCESSORS[kind]
    config = {"type": cls.__name__} if config is None else problems.section(key, config)
    if not problems.choice(f"{key}.type", config.get("type"), [cls.__name__]):
        return {}
    known = options_of(cls)
    if "vocabulary" in known:  # from the training texts, or listed
        known["vocabulary"] = Option(list[str] | dict, {})
    found = {"type": config["type"]} | problems.options(key, config, known, ["type"])
    if isinstance(found.get("vocabulary"), dict):
        found["vocabulary"] = problems.options(f"{key}.vocabulary", found["vocabulary"], VOCABULARY)
    return found


def _innermost(encoder: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = encoder.get("encoder")
    return _innermost(inner) if isinstance(inner, dict) and inner else encoder


def build_model(problems: Problems, config: Mapping[str, Any], data: Files | Shards) -> MultimodalModel:
    """The model that a checked section describes, with random weights; faults stop it.

    Args:
        problems: is told what the classes refuse.
        config: of `checked_model`, with the numbers of classes or targets.
        data: of which a vocabulary is made, where one is needed.

    Raises:
        ConfigError: a value that a class refuses.
    """
    processors, parts, kinds = {}, {}, makers()
    for name, options in config["processors"].items():
        with problems.about(f"model.processors.{name}"):
            options = dict(options)
            if isinstance(options.get("vocabulary"), dict):
                options["vocabulary"] = vocabulary_of(data.texts(name), **options["vocabulary"])
            processors[name] = REGISTRY[options.pop("type")](**options)
    problems.stop()
    for name, options in config["encoders"].items():
        with problems.about(f"model.encoders.{name}"):
            parts[name] = _made(options, kinds, processors[name])
    problems.stop()
    dims: dict[str, Any] = {name: encoder.out_dim for name, encoder in parts.items()}
    fusion, head = dict(config["fusion"]), dict(config["head"])
    width = fusion["out_dim"]
    with problems.about("model.fusion"):
        joined = build_fusion(fusion.pop("type"), dims, **fusion)
    with problems.about("model.head"):
        answer = HEADS[head.pop("type")](width, **head)
    problems.stop()
    return MultimodalModel(parts, joined, answer, preprocess=processors, classes=config["classes"])


def _made(config: Any, kinds: Mapping[str, Callable[..., Any]], processor: Any) -> Any:
    if not isinstance(config, dict):
        return config
    options = {name: _made(value, kinds, processor) for name, value in config.items() if name != "type"}
    if config["type"] in FROM_PROCESSOR:
        name, value = FROM_PROCESSOR[config["type"]]
        options[name] = value(processor)
    return kinds[config["type"]](**options)
