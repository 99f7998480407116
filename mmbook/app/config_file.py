"""A configuration as YAML: read, changed from the command line, written."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmbook.app.config_check import ConfigError

FLOAT, BOOL = "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, ``no`` is a word, and no key stands twice.

    YAML 1.1 takes 1e-3 for text, since it has no dot, and ``precision: no`` for ``precision: false``.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                line = node.value[i][0].start_mark.line + 1
                raise ConfigError([f"{key} stands there twice, the second time in line {line}; keep one"])
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader`, or any other reader, would take for something else than text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
for each in (_Loader, _Dumper):
    exponent = re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
    each.add_implicit_resolver(FLOAT, exponent, list("-+.0123456789"))


def read_yaml(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, with changes such as ``"training.lr=1e-4"`` made to it.

    Raises:
        ConfigError: no such file, no YAML, no mapping, a key twice, or a change that changes nothing.
    """
    if not path.is_file():
        raise ConfigError([f"there is no configuration at {path}; give the path of a YAML file"])
    try:
        config = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path} is no YAML in UTF-8: {' '.join(str(error).split())}"]) from error
    if not isinstance(config, dict):
        raise ConfigError(
            [f"{path} holds {config!r:.60}; it must hold the keys model, data, training, output"]
        )
    for change in changes:
        _change(config, change)
    return config


def _change(config: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not all([*sections, last]):
        raise ConfigError([f"--set is {change!r}; write KEY=VALUE, such as training.lr=1e-4"])
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError([f"--set is {change!r}, whose value is no YAML: {error}"]) from error
    for i, name in enumerate(sections):
        config = config.setdefault(name, {})
        if not isinstance(config, dict):
            whole = ".".join(sections[: i + 1])
            raise ConfigError([f"--set is {change!r}, but {whole} is {config!r} and has no keys in it"])
    config[last] = value


def write_yaml(config: Mapping[str, Any], path: Path) -> None:
    """Write a configuration; what stood there before is replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    text = yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def flat(config: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Every key as a dotted path, with its value."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{start}{name}.")
        else:
            yield f"{start}{name}", value
