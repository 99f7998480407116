"""A YAML file, checked by pydantic against the signatures of what it configures; all its faults at once."""

from __future__ import annotations

import difflib
import inspect
import re
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from mmbook.assets import AssetError

FLOAT, BOOL = "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"
WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a mapping",
    Any: "any value",
}


class ConfigError(ValueError):
    """A configuration with faults; `problems` lists them, each a line that begins with the dotted key."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(" ".join(line.split()) for line in problems))
        super().__init__("\n".join(self.problems))


class Faults(list[str]):
    """Collects faults, so that all of them are told."""

    @contextmanager
    def about(self, key: str) -> Iterator[None]:
        """What is refused inside is a fault of `key`."""
        try:
            yield
        except ConfigError as error:
            self += [f"{key}.{line}" if key else line for line in error.problems]
        except (ValueError, TypeError, OSError, AssetError) as error:
            self.append(f"{key}: {error}" if key else str(error))

    def stop(self) -> None:
        """Go no further if there are faults: ConfigError with all of them."""
        if self:
            raise ConfigError(self)


class Section(BaseModel):
    """A mapping of a configuration: no other keys, and no value of one type taken for another."""

    model_config = ConfigDict(extra="forbid", strict=True)


def arguments(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Argument of a function or a constructor -> its (annotation, default); ``...`` for no default."""
    hints = get_type_hints(function.__init__ if isinstance(function, type) else function)  # type: ignore[misc]
    return {
        name: (hints.get(name, Any), ... if argument.default is argument.empty else argument.default)
        for name, argument in inspect.signature(function).parameters.items()
        if argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL)
    }


def section_of(
    function: Callable[..., Any],
    without: Iterable[str] = (),
    part: Any = dict,
    instead: Mapping[str, tuple[Any, Any]] = MappingProxyType({}),
) -> type[Section]:
    """The arguments of a function or a constructor, as a mapping can give them.

    Args:
        function: the annotations of its arguments say what is allowed, and their defaults fill the gaps.
        without: arguments that the mapping does not give.
        part: the type of what stands for an object.
        instead: argument, or another key -> its ``(type, default)`` here.
    """
    known = arguments(function)
    fields: dict[str, Any] = {}
    for name, (hint, default) in {**instead, **known, **instead}.items():
        if name not in without:  # by an alias, since an argument may be called "copy"
            fields[f"option_{name}"] = _plain(hint, part), Field(default, alias=name, description=said(hint))
    return create_model("Options", __base__=Section, **fields)


def _plain(hint: Any, part: Any) -> Any:
    """What stands in a YAML file for an argument that is annotated with `hint`."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        return Union[tuple(_plain(one, part) for one in inner)]  # noqa: UP007  (of what is known only now)
    if kind in (Any, int, float, bool, str, types.NoneType):
        return kind
    if issubclass(kind, Path):
        return str
    if issubclass(kind, Mapping):
        return dict[str, _plain(inner[1], part)] if inner else dict  # type: ignore[misc]
    if issubclass(kind, Sequence):
        return list[_plain(inner[0], part)] if inner else list  # type: ignore[misc]
    return part


def said(hint: Any) -> str:
    """An annotation in words."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        some = dict.fromkeys(said(one) for one in inner if one not in (types.NoneType, Path))
        return " or ".join([*some, "null"] if types.NoneType in inner else some)
    if kind in WORDS and not inner:
        return WORDS[kind]
    if isinstance(kind, type) and issubclass(kind, Mapping) and inner:
        return f"a mapping to {said(inner[1])}"
    if isinstance(kind, type) and issubclass(kind, Sequence) and inner:
        return f"a list of which each is {said(inner[0])}"
    return "a mapping, such as {type: NAME}"


def checked(section: type[Section], given: Any) -> dict[str, Any]:
    """`given`, with the defaults of a section filled in, as plain values.

    Raises:
        ConfigError: all its faults. Each line says key, value, what is allowed, and the nearest known name.
    """
    try:
        found = section.model_validate(given)
    except ValidationError as error:
        raise ConfigError(
            line for fault in error.errors() for line in _lines(section, given, fault)
        ) from error
    return found.model_dump(mode="json", by_alias=True, warnings=False)


def _lines(section: type[Section], given: Any, fault: Any) -> list[str]:
    """What pydantic found, in our words."""
    if not isinstance(given, dict):
        return [f"is {given!r:.80}; it must be a mapping, such as {{key: value}}"]
    name, cause = str(fault["loc"][0]), fault.get("ctx", {}).get("error")
    known = {field.alias or key: field for key, field in section.model_fields.items()}
    if isinstance(cause, ConfigError):
        return [f"{name}.{line}" for line in cause.problems]
    if cause is not None:  # of a class that begins with the name, or not
        return [str(cause) if str(cause).startswith(f"{name} ") else f"{name}: {cause}"]
    if name not in known:
        wrong, some = f"{name} is {given.get(name)!r:.80}", ", ".join(known) or "none"
        return [f"{wrong}, but there is no such key; there are {some}{_nearest(name, known)}"]
    words = known[name].description or said(known[name].annotation)
    if fault["type"] == "missing":
        return [f"{name} is missing; give {words}"]
    return [f"{name} is {given[name]!r:.80}; it must be {words}"]


def choose(key: str, value: Any, allowed: Iterable[str], besides: str = "") -> None:
    """Refuse a value that is not among `allowed`: ConfigError with the nearest that is."""
    names = list(allowed)
    if value not in names:
        some = ", ".join(names)
        raise ConfigError([f"{key} is {value!r}; it must be one of {some}{besides}{_nearest(value, names)}"])


def _nearest(name: Any, allowed: Iterable[str]) -> str:
    found = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


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
        raise ConfigError([f"{path} is no YAML in UTF-8: {error}"]) from error
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


def yaml_of(config: Mapping[str, Any]) -> str:
    """A configuration as text that `read_yaml`, and any other reader, takes for the same."""
    return yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
