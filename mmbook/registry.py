"""Every encoder, fusion, head and processor can say how it was made, in JSON, and be made again from that.

A decorator records the arguments of the constructor; no base class and no pickle is needed, and a model on
disk is a readable config beside its weights.
"""

from __future__ import annotations

import functools
import inspect
import json
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

REGISTRY: dict[str, type] = {}


def register(cls: T) -> T:
    """Class decorator: list `cls` by name, and keep its constructor's arguments in ``self.config``.

    The arguments must be what JSON can hold (None, bool, int, float, str, list, dict), or registered objects,
    which stand in the config by their own config. Tuples come back as lists.
    """
    if cls.__name__ in REGISTRY:
        raise ValueError(f"two classes are registered as {cls.__name__!r}; rename one")
    init = cls.__init__  # type: ignore[misc]  # fears the __init__ of a subclass; cls is the class itself
    signature = inspect.signature(init)

    @functools.wraps(init)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        config: dict[str, Any] = {"type": cls.__name__}
        for name, parameter in list(signature.parameters.items())[1:]:
            value = bound.arguments[name]
            config |= value if parameter.kind is parameter.VAR_KEYWORD else {name: value}
        init(self, *args, **kwargs)
        self.config = json.loads(json.dumps(config, default=_config_of))

    cls.__init__ = recording  # type: ignore[misc]
    REGISTRY[cls.__name__] = cls
    return cls


def build(config: Any) -> Any:
    """The object that `config` describes; nested configs are built first.

    Raises:
        ValueError: a type that is not registered.
    """
    if isinstance(config, list):
        return [build(item) for item in config]
    if not isinstance(config, dict):
        return config
    arguments = {name: build(value) for name, value in config.items() if name != "type"}
    if "type" not in config:
        return arguments
    if config["type"] not in REGISTRY:
        raise ValueError(
            f"no class is registered as {config['type']!r}; known: {', '.join(sorted(REGISTRY))}"
        )
    return REGISTRY[config["type"]](**arguments)


def _config_of(value: Any) -> Any:
    if hasattr(value, "config"):
        return value.config
    raise TypeError(f"{value!r} cannot stand in a config: use JSON values or registered objects")
