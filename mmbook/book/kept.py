"""Results that take long are made once and kept, together with where they come from.

A `Recipe` says how a result is made, and in which intervals its scores must lie. What it made is kept in the
package, beside a JSON file with its pedigree; a result that is too large for that is made where it is needed.
A result belongs to the code that made it: it is used as long as the closure of the recipe's `make` (see
`mmbook.book.closure`) and the scale are what they were. Else it is made anew, into the reader's cache, with
the reason in a line. The versions of Python and of other packages, the processor and the commit are pedigree
and make nothing stale.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmbook.assets import cache_dir
from mmbook.book.closure import Closure, changes, package
from mmbook.book.pedigree import REPOSITORY, pedigree
from mmbook.book.syntax import hashed
from mmbook.scale import scale

log = logging.getLogger(__name__)

RESULTS = Path(__file__).with_name("recipes") / "results"
INTERVALS = RESULTS.with_name("intervals.toml")
LARGEST = 5_000_000  # bytes of a result that is kept in the package
RECIPES: dict[str, Recipe] = {}  # by name, those of the modules that were imported


class ScoreOutside(RuntimeError):
    """A result was made whose scores are not where its recipe says they must be."""


class RecipeForbidden(RuntimeError):
    """A kept result would have to be made anew, and MMBOOK_NO_RECIPES says that nothing may wait for that."""


@dataclass(frozen=True)
class Recipe:
    """How one result is made.

    Args:
        name: of the result, and of its files.
        make: returns the result; a function at the top level of a module, or a `functools.partial` of one
            whose arguments the name tells. What it draws at random must come from seeds of its own.
        score: result -> name of a score -> number; of the same kind.
        keep: whether the package has the result. If not, it is made where it is needed, in under a minute.
        ahead: whether what is not kept is made before any page runs; else where it is first asked for.
        half: store numbers of single precision in half, where the scores allow it.
        versions: other packages whose version decides the result too. Only for what is not kept: a kept
            result is one for all versions.
    """

    name: str
    make: Callable[[], Mapping[str, Tensor]]
    score: Callable[[dict[str, Tensor]], Mapping[str, float]]
    keep: bool = True
    ahead: bool = True
    half: bool = False
    versions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.keep and self.versions:
            raise ValueError(f"{self.name} is kept, so it cannot depend on versions: {self.versions}")
        RECIPES[self.name] = self

    @cached_property
    def made_by(self) -> Closure:
        """All that decides the result, each part with a hash."""
        outside = {f"version of {name}": version(name) for name in self.versions}
        return {"scale": scale(), **outside, **_closure(self.make)}

    @cached_property
    def scored_by(self) -> Closure:
        """All that decides its scores, beside the result."""
        return _closure(self.score)

    @property
    def within(self) -> dict[str, list[float]]:
        """Name of a score -> lowest and highest value of a result made anew, from ``intervals.toml``."""
        table = tomllib.loads(INTERVALS.read_text(encoding="utf-8"))
        if self.name not in table:
            raise ValueError(f"{INTERVALS} says nothing of {self.name!r}")
        return table[self.name]

    @property
    def key(self) -> str:
        """A hash of `made_by`."""
        return hashed(self.made_by)

    @property
    def module(self) -> str:
        """The file of the package that declares how it is made."""
        return _function(self.make).__module__.partition(".")[2].replace(".", "/") + ".py"

    @property
    def record(self) -> dict[str, Any]:
        """The pedigree of the result in the package, also of one that is not kept; empty if there is none."""
        path = RESULTS / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def kept_file(self) -> Path:
        """Where the package keeps the result."""
        return RESULTS / f"{self.name}.safetensors"

    @property
    def cached_file(self) -> Path:
        """Where the result lies if it had to be made here."""
        return cache_dir() / "results" / f"{self.name}-{self.key}.safetensors"

    def stale(self) -> str:
        """Why the package has no such result for the present code; empty if it has."""
        if not self.record:
            return "it was never made"
        if reason := changes(self.record["made_by"], self.made_by):
            return reason
        if not self.keep:
            return "the package does not hold it"
        return "" if self.kept_file.is_file() else "its file is missing"

    def is_made(self) -> bool:
        """Whether it is there, in the package or in the cache."""
        return not self.stale() or self.cached_file.is_file()

    def needed_ahead(self) -> bool:
        """Whether a page that uses it would have to wait."""
        return (self.keep or self.ahead) and not self.is_made()

    def tensors(self) -> dict[str, Tensor]:
        """The result: from the package, or from the cache, or made now.

        Raises:
            RecipeForbidden: it would have to be made, and ``MMBOOK_NO_RECIPES`` is 1.
        """
        file = self.cached_file if self.stale() else self.kept_file
        if file == self.cached_file and not file.exists():
            with FileLock(_ready(file).with_suffix(".lock")):
                if not file.exists():
                    self._make(file)
        return _loaded(file)

    def make_anew(self) -> dict[str, Any]:
        """Make the result, whether there is one or not, and keep it; return its pedigree.

        Raises:
            ScoreOutside: a score is not within its interval; nothing is kept then.
            ValueError: the result is larger than the package may hold.
        """
        file = _ready(self.cached_file)
        with FileLock(file.with_suffix(".lock")):
            self._make(file, asked=True)
            return self._keep(file)

    def renew(self) -> str:
        """Bring what is kept up to the present code without training; say in words what was done.

        A result whose `make` has not changed is scored by the code as it is now. One that the cache has for
        the present code is taken from there. Empty if neither is possible: it must be made anew.

        Raises:
            ScoreOutside, ValueError: as `make_anew`.
        """
        if self.stale() and not (self.record and not self.keep and self.record["key"] == self.key):
            if not self.cached_file.is_file():
                return ""
            self._keep(self.cached_file)
            return "taken from the cache"
        record = self.record
        if record["scored_by"] == self.scored_by and record["within"] == self.within:
            return "as it was"
        record |= {"scores": self.scores(self.tensors()), "within": self.within}
        record |= {"scored_by": self.scored_by}
        _write(RESULTS / f"{self.name}.json", record)
        return "scored anew"

    def _make(self, file: Path, asked: bool = False) -> None:
        """Write the result and its pedigree. A kill meanwhile leaves nothing that would be taken for it.

        What is drawn at random leaves the reader's own random numbers as they were: they must not depend on
        a cache. Nor does it matter whether the reader has gradients switched off just then.
        """
        reason = self.stale()
        if not asked and self.keep and os.environ.get("MMBOOK_NO_RECIPES") == "1":
            raise RecipeForbidden(f"{self.name} would have to be made anew, since {reason}")
        if not asked:
            seconds = self.record.get("seconds")
            estimate = f" (about {seconds:.0f} s)" if seconds else ""
            log.warning("%s: made anew%s, since %s", self.name, estimate, reason)
        start = time.perf_counter()
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            made = self.make()
        seconds = time.perf_counter() - start
        # copies: the format refuses two names for the same memory, which a recipe may well return
        stored = {k: self._stored(v).clone(memory_format=torch.contiguous_format) for k, v in made.items()}
        part = file.with_suffix(".part")
        save_file(stored, part)
        where = pedigree(apart_from=RESULTS.relative_to(REPOSITORY).as_posix())
        record = {"key": self.key, **where, "seconds": round(seconds, 1), "bytes": part.stat().st_size}
        _write(file.with_suffix(".json"), record | {"made_by": self.made_by})
        part.rename(file)

    def _stored(self, tensor: Tensor) -> Tensor:
        if not self.half or tensor.dtype != torch.float32:
            return tensor
        small = tensor.half()
        if not torch.equal(small.isfinite(), tensor.isfinite()):
            raise ValueError(f"{self.name} has numbers that half precision cannot hold; leave `half` out")
        return small

    def _keep(self, file: Path) -> dict[str, Any]:
        """Score what lies in the cache, and put it into the package."""
        record = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        if self.keep and record["bytes"] > LARGEST:
            raise ValueError(
                f"{self.name} has {record['bytes']} bytes; the package holds results of at most {LARGEST}: "
                "store it in half precision, make several of it, or do not keep it"
            )
        record |= {"scores": self.scores(_loaded(file)), "within": self.within}
        record |= {"scored_by": self.scored_by, "kept": self.keep}
        RESULTS.mkdir(parents=True, exist_ok=True)
        if self.keep:
            part = self.kept_file.with_suffix(".part")
            shutil.copyfile(file, part)
            part.rename(self.kept_file)
        _write(RESULTS / f"{self.name}.json", record)
        return record

    def scores(self, result: dict[str, Tensor]) -> dict[str, float]:
        """The scores of a result.

        Raises:
            ScoreOutside: one is not within its interval.
        """
        scores = {name: round(float(value), 4) for name, value in self.score(result).items()}
        if scores.keys() != self.within.keys():
            raise ValueError(
                f"{self.name} has the scores {list(scores)} and intervals of {list(self.within)}"
            )
        wrong = [
            f"{name} is {scores[name]}, not within {low} to {high}"
            for name, (low, high) in self.within.items()
            if not low <= scores[name] <= high
        ]
        if wrong:
            raise ScoreOutside(f"{self.name}: {'; '.join(wrong)}")
        return scores


def _function(call: Callable[..., Any]) -> Any:
    return call.func if isinstance(call, functools.partial) else call


def _closure(call: Callable[..., Any]) -> Closure:
    function = _function(call)
    return package().of_names(function.__module__, [function.__qualname__])


def _loaded(file: Path) -> dict[str, Tensor]:
    """The result in a file; what was stored in half precision, in single."""
    return {k: v.float() if v.dtype == torch.float16 else v for k, v in load_file(file).items()}


def _ready(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _write(file: Path, record: Mapping[str, Any]) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.rename(file)
