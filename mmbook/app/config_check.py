"""What a configuration may hold, read off the signatures of what it configures; all its faults at once."""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from mmbook.assets import AssetError

REQUIRED = inspect.Parameter.empty
WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    dict: "a mapping",
}


class ConfigError(ValueError):
    """A configuration with faults, one a line; `problems` lists them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class Option(NamedTuple):
    """What is known of a key: the type of its value, and its default or REQUIRED."""

    type: Any
    default: Any = REQUIRED


class Problems:
    """Collects the faults of a configuration. Keys are dotted paths, such as ``training.lr``."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: object) -> None:
        """Note a fault, as one line."""
        self.lines.append(" ".join(str(line).split()))

    def stop(self) -> None:
        """Go no further if there are faults.

        Raises:
            ConfigError: all of them.
        """
        if self.lines:
            raise ConfigError(list(dict.fromkeys(self.lines)))

    @contextmanager
    def about(self, key: str) -> Iterator[None]:
        """What is refused inside is a fault of `key`."""
        try:
            yield
        except (ValueError, TypeError, OSError, AssetError) as error:
            self.add(f"{key}: {error}")

    def section(self, key: str, value: Any) -> dict[str, Any]:
        """`value`, which must be a mapping; an empty one if it is not."""
        if isinstance(value, dict):
            return value
        self.add(f"{key} is {value!r}; it must be a mapping, such as {{key: value}}")
        return {}

    def choice(self, key: str, value: Any, allowed: Iterable[str]) -> bool:
        """Whether `value` is one of `allowed`."""
        names = list(allowed)
        if value in names:
            return True
        self.add(f"{key} is {value!r}; it must be one of {', '.join(names)}{_nearest(value, names)}")
        return False

    def options(
        self, key: str, given: Mapping[str, Any], known: Mapping[str, Option], besides: Sequence[str] = ()
    ) -> dict[str, Any]:
        """`given` with the defaults of `known` filled in.

        An unknown key, one that has no default and is missing, and a value of another type are faults; such
        keys are left out of the result. Keys in `besides` are allowed, too, and are somebody else's to check.
        """
        dot = f"{key}." if key else ""
        for name, value in given.items():
            if name not in known and name not in besides:
                allowed = [*besides, *known]
                self.add(
                    f"{dot}{name} is {value!r:.80}, but there is no such key; there are "
                    f"{', '.join(allowed) or 'none'}{_nearest(name, allowed)}"
                )
        found = {}
        for name, option in known.items():
            value = given.get(name, option.default)
            if value is REQUIRED:
                self.add(f"{dot}{name} is missing; give {said(option.type)}")
            elif name in given and not fits(value, option.type):
                self.add(f"{dot}{name} is {value!r:.80}; it must be {said(option.type)}")
            else:
                found[name] = list(value) if isinstance(value, tuple) else value
        return found


def options_of(function: Callable[..., Any], without: Sequence[str] = ()) -> dict[str, Option]:
    """The arguments of a class's constructor or of a function."""
    hints = get_type_hints(function.__init__ if isinstance(function, type) else function)  # type: ignore[misc]
    return {
        name: Option(hints.get(name, Any), parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in without and parameter.kind is not parameter.VAR_KEYWORD
    }


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of a YAML file can stand for an argument that is annotated with `kind`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if isinstance(value, bool) or kind is bool:  # to Python, True is a number
        return isinstance(value, bool) and kind in (bool, Any)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(fits(one, inner[1]) for one in value.values())
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list | tuple) and all(fits(one, inner[0]) for one in value)
    if kind is Any:
        return True
    plain: dict[Any, Any] = {
        float: (int, float),
        int: int,
        str: str,
        Path: str,
        types.NoneType: types.NoneType,
    }
    return isinstance(value, plain.get(kind, dict))  # all others are objects, described by a mapping


def said(kind: Any) -> str:
    """An annotation in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        some = dict.fromkeys(said(one) for one in inner if one not in (types.NoneType, Path))
        return " or ".join([*some, "null"] if types.NoneType in inner else some)
    if origin is not None and issubclass(origin, Mapping):
        return f"a mapping to {said(inner[1])}"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list of which each is {said(inner[0])}"
    return WORDS.get(kind, "a mapping, such as {type: NAME}")


def _nearest(name: Any, allowed: Sequence[str]) -> str:
    found = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
