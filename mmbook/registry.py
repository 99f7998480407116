"""Every encoder, fusion, head and processor can say how it was made, in JSON, and be made again from that.

A decorator records the arguments of the constructor; no base class and no pickle is needed, and a model on
disk is a readable config beside its weights. The classes of this package stand there by their short names;
all others by the name that imports them, such as ``my_package.encoders.MyEncoder``.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import json
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, TypeVar

from mmbook.moved import NEW

T = TypeVar("T", bound=type)

REGISTRY: dict[str, type] = {}


def type_name(cls: type) -> str:
    """What a config calls a class: ``"Bert"`` for one of the library, ``"module.Class"`` for any other."""
    package, _, inside = cls.__module__.partition(".")
    ours = package == __name__.partition(".")[0] and inside.partition(".")[0] not in ("app", "book")
    return cls.__name__ if ours else f"{cls.__module__}.{cls.__qualname__}"


def register(cls: T) -> T:
    """Class decorator: list `cls` by its `type_name`, and keep its arguments in ``self.config``.

    The arguments must be what JSON can hold (None, bool, int, float, str, list, dict), or registered objects,
    which stand in the config by their own config. Tuples come back as lists. A class defined once more, as by
    a notebook cell that runs again, takes the place of the earlier one.

    Raises:
        ValueError: another class of this package has the same short name.
    """
    name = type_name(cls)
    known = REGISTRY.get(name, cls)
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f"two classes are registered as {name!r}, in {known.__module__} and {cls.__module__}; rename one"
        )
    REGISTRY[name] = cls
    init = cls.__init__  # type: ignore[misc]  # fears the __init__ of a subclass; cls is the class itself
    signature = inspect.signature(init)

    @functools.wraps(init)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        # type(self), not cls: a subclass that is not registered must not pass for its parent
        config: dict[str, Any] = {"type": type_name(type(self))}
        for name, parameter in list(signature.parameters.items())[1:]:
            value = bound.arguments[name]
            config |= value if parameter.kind is parameter.VAR_KEYWORD else {name: value}
        init(self, *args, **kwargs)
        self.config = json.loads(json.dumps(config, default=_config_of_argument))

    cls.__init__ = recording  # type: ignore[misc]
    return cls


def _config_of_argument(value: Any) -> Any:
    if hasattr(value, "config"):
        return value.config
    raise TypeError(f"{value!r} cannot stand in a config: use JSON values or registered objects")


def config_of(thing: Any) -> dict[str, Any]:
    """The config from which `build` makes an object like `thing` again.

    Raises:
        ValueError: its class, or that of a part of it, could not come back: it is not registered, or it
            does not stand at the top of a module.
    """
    config: Any = getattr(thing, "config", None)
    if not isinstance(config, dict) or "type" not in config:
        config = {"type": type_name(type(thing))}
    for name in _types(config):
        if name not in REGISTRY:
            raise ValueError(
                f"{name} cannot be saved, for it is not registered: put @register (from mmbook.registry) "
                f"above its class statement, and make the model anew"
            )
        if REGISTRY[name].__qualname__ != REGISTRY[name].__name__:
            raise ValueError(
                f"{name} cannot be saved, for no import finds a class inside a function or another class; "
                f"define it at the top of a module or notebook"
            )
    return config


def _types(config: Any) -> list[str]:
    """Each type that a config names, at any depth."""
    if isinstance(config, list):
        return [name for item in config for name in _types(item)]
    if not isinstance(config, dict):
        return []
    inner = [name for key, value in config.items() if key != "type" for name in _types(value)]
    return [config["type"], *inner] if "type" in config else inner


def build(config: Any, folder: str | Path | None = None) -> Any:
    """The object that `config` describes; nested configs are built first.

    Args:
        config: of `config_of`.
        folder: where the config came from, as `find_class` takes it.

    Raises:
        ValueError: what `find_class` refuses.
    """
    if isinstance(config, list):
        return [build(item, folder) for item in config]
    if not isinstance(config, dict):
        return config
    arguments = {name: build(value, folder) for name, value in config.items() if name != "type"}
    return find_class(config["type"], folder)(**arguments) if "type" in config else arguments


def find_class(name: str, folder: str | Path | None = None) -> type:
    """The registered class of that `type_name`; its module is imported if need be.

    A config may come from a stranger, so it can name registered classes and nothing else. A module runs only
    if its source puts ``@register`` on a class of that name, and not if it may have come with the config.

    Args:
        name: short for classes of this package, ``module.Class`` for others. The short name of another class
            is understood, too, where one alone is registered so: that is how version 0.1 wrote it.
        folder: where the config came from. A package around that folder may be the stranger's, too, and is
            not imported.

    Raises:
        ValueError: no such class, one that is not registered, or one that must be defined first.
    """
    alike = [cls for key, cls in REGISTRY.items() if name in (key, cls.__name__)]
    if len(alike) == 1 or name in REGISTRY:
        return REGISTRY.get(name, alike[0])
    module, _, short = name.rpartition(".")
    if module == "__main__":
        raise ValueError(
            f"no class {short} is registered; run the cell or script that defines it, then load again"
        )
    home = {old.rpartition(".")[2]: new for old, new in NEW.items()}.get(name, "")
    if not module and home.rpartition(".")[2] == name:  # it stood in the library once
        return find_class(home)
    if not module:
        known = ", ".join(sorted(key for key in REGISTRY if "." not in key))
        raise ValueError(
            f"no class is registered as {name!r}; known: {known}. Others stand by module.Class, or must be "
            f"defined before"
        )
    source = _source_of(module, folder)
    if not _declares(source, short):
        raise ValueError(
            f"{name!r} is no registered class; put @register (from mmbook.registry) above class {short} in "
            f"{source}"
        )
    return getattr(importlib.import_module(module), short)


def _source_of(module: str, folder: str | Path | None) -> Path:
    """The file of a module, found without running any code, that of the packages around it included."""
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module that no file holds
        spec = None
    places = [Path(place).resolve() for place in getattr(spec, "submodule_search_locations", None) or ()]
    if folder is not None and any(Path(folder).resolve().is_relative_to(place) for place in places):
        raise ValueError(
            f"the config in {folder} names the module {module}, whose code in {places[0]} may have come with "
            f"it and does not run by itself. Read it, and if you trust it, import {module} first"
        )
    for i in range(len(inner)):
        within = list(spec.submodule_search_locations or ()) if spec else []
        spec = PathFinder.find_spec(".".join([top, *inner[: i + 1]]), within) if within else None
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {module}; put its folder on PYTHONPATH, or import it first")
    return Path(spec.origin)


def _declares(source: Path, name: str) -> bool:
    """Whether a file has a class of that name at its top, with the decorator."""
    if source.suffix != ".py":
        return False
    statements = ast.parse(source.read_text(encoding="utf-8")).body
    return any(
        isinstance(one, ast.ClassDef)
        and one.name == name
        and any(ast.unparse(decorator).rpartition(".")[2] == "register" for decorator in one.decorator_list)
        for one in statements
    )
