"""Checkpoints that a kill or a full disk cannot spoil, and from which a run goes on bit by bit.

accelerate saves what it prepared (weights, optimisers, gradient scaler, random states, in shards where the
model is sharded); beside it lies where in the data the run is, and what it has measured.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

PREFIX = "checkpoint-"
CURVE = ("step", "epoch", "lr", "gradient_norm", "loss")  # what is known of each step


@dataclass
class Progress:
    """Where a run is, and what it has found.

    Attributes:
        epoch: that is under way, from 0.
        position: steps of it that are done (or passed over, where nothing could be read).
        step: optimiser steps in all.
        seen: samples in this epoch; `losses` the sum of their losses; `skipped` those not readable.
        rows: the history, one dict an epoch.
        best: epoch -> its value of `monitor`, for the best ones.
        stale: epochs since the best one.
        curve: one tuple a step, in the order of `CURVE`.
        settings: that decide the result.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    seen: int = 0
    losses: list[float] = field(default_factory=list)
    skipped: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[int, float] = field(default_factory=dict)
    stale: int = 0
    curve: list[tuple[float, ...]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of a run, in a folder: the newest `keep` stay.

    A checkpoint is written under another name, brought to the disk, and only then given its own; older ones
    are removed after that. So whatever happens, the newest that has its name is whole.
    """

    def __init__(self, folder: Path, keep: int, engine: Accelerator) -> None:
        self.folder, self.keep, self.engine = folder, keep, engine

    def newest(self) -> Path | None:
        found = self._all()
        return found[-1] if found else None

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob(f"{PREFIX}*"), key=_number)

    def _next(self, step: int) -> Path:
        """A name that no checkpoint has; of two at one step (no batch between them could be read) ``.1``."""
        newest = self.newest()
        done, *again = _number(newest) if newest is not None else (-1,)
        return self.folder / f"{PREFIX}{step:08d}{f'.{sum(again) + 1}' if done == step else ''}"

    def save(self, progress: Progress) -> Path:
        """Write a checkpoint; its name tells how many steps were done.

        Raises:
            OSError: it could not be written (a full disk, say); names the checkpoint that is still good.
        """
        target = self._next(progress.step)
        part = self.folder / f".{target.name}.part"
        main = self.engine.is_main_process
        try:
            if main:
                self.folder.mkdir(parents=True, exist_ok=True)
                for broken in self.folder.glob(f".{PREFIX}*.part"):  # by a kill
                    shutil.rmtree(broken, ignore_errors=True)
            self.engine.wait_for_everyone()
            self.engine.save_state(str(part))
            if main:
                plain = asdict(progress)
                curve = torch.tensor(plain.pop("curve"), dtype=torch.float64)
                save_file({"curve": curve}, part / "curve.safetensors")
                (part / "progress.json").write_text(json.dumps(plain), encoding="utf-8")
            self.engine.wait_for_everyone()
            if main:
                _to_disk(part)
                part.rename(target)
                _to_disk(self.folder, deep=False)
                for old in self._all()[: -self.keep]:
                    shutil.rmtree(old, ignore_errors=True)
        except Exception as error:  # whatever the library that writes a full disk calls it
            shutil.rmtree(part, ignore_errors=True)
            good = self.newest()
            raise OSError(
                f"checkpoint {target} could not be written: {error}. "
                + (f"{good} is whole; " if good else "There is no earlier one; ")
                + f"{shutil.disk_usage(self.folder).free / 1e6:.0f} MB are free there. Make room, and go on "
                f"with resume=True"
            ) from error
        self.engine.wait_for_everyone()
        return target

    def load(self, path: Path, settings: Mapping[str, Any]) -> Progress:
        """Put weights, optimisers and random states back, and return where the run was.

        Raises:
            ValueError: the run was told otherwise; names the option, its value then and now.
        """
        plain = json.loads((path / "progress.json").read_text(encoding="utf-8"))
        now = json.loads(json.dumps(dict(settings)))
        for name, value in plain["settings"].items():
            if name in now and now[name] != value:
                raise ValueError(
                    f"{path} was made with {name}={value!r}, and now it is {now[name]!r}; "
                    f"go on with the same, or take another output_dir"
                )
        curve = load_file(path / "curve.safetensors")["curve"]
        plain["best"] = {int(epoch): value for epoch, value in plain["best"].items()}
        self.engine.load_state(str(path))
        return Progress(**plain, curve=[tuple(row) for row in curve.tolist()])


def _number(path: Path) -> tuple[int, ...]:
    """Steps done, and how many checkpoints that step had before."""
    return tuple(map(int, path.name[len(PREFIX) :].split(".")))


def write_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Weights as safetensors, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        # copies, since the format refuses two names for the same memory
        copies = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()}
        save_file(copies, part)
        part.replace(path)
    except Exception as error:
        part.unlink(missing_ok=True)
        raise OSError(
            f"{path} could not be written: {error}; make room and go on with resume=True"
        ) from error


def _to_disk(folder: Path, deep: bool = True) -> None:
    for path in [*(folder.rglob("*") if deep else []), folder]:
        if os.name == "posix" or path.is_file():  # only there can a folder be opened
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
