"""Checkpoints that a kill or a full disk cannot spoil, and from which a run goes on bit by bit.

accelerate saves what it prepared (weights, optimisers, gradient scaler, random states, in shards where the
model is sharded); beside it lies where in the data the run is, and what it has measured.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmbook.train.accelerator import cut_as, whole
from mmbook.train.progress import Progress

PREFIX = "checkpoint-"


class Checkpoints:
    """The checkpoints of a run, in a folder: the newest `keep` stay.

    A checkpoint is written under another name, brought to the disk, and only then given its own; older ones
    are removed after that. So whatever happens, the newest that has its name is whole.
    """

    def __init__(self, folder: Path, keep: int, accelerator: Accelerator) -> None:
        self.folder, self.keep, self.accelerator = folder, keep, accelerator

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
        main = self.accelerator.is_main_process
        try:
            if main:
                self.folder.mkdir(parents=True, exist_ok=True)
                for broken in self.folder.glob(f".{PREFIX}*.part"):  # by a kill
                    shutil.rmtree(broken, ignore_errors=True)
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(part))
            if main:
                plain = asdict(progress)
                curve = torch.tensor(plain.pop("curve"), dtype=torch.float64)
                save_file({"curve": curve}, part / "curve.safetensors")
                (part / "progress.json").write_text(json.dumps(plain), encoding="utf-8")
            self.accelerator.wait_for_everyone()
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
                + f"{_free(self.folder) / 1e6:.0f} MB are free there. Make room, and go on with resume=True"
            ) from error
        self.accelerator.wait_for_everyone()
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
        self.accelerator.load_state(str(path))
        return Progress(**plain, curve=[tuple(row) for row in curve.tolist()])


def _free(folder: Path) -> int:
    """Bytes that are free where a folder is, or would be."""
    return shutil.disk_usage(next(p for p in (folder, *folder.absolute().parents) if p.is_dir())).free


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


LOWER_IS_BETTER = ("loss", "nll", "mae", "mse", "brier", "ece")


class Best:
    """Keeps the weights of the best epochs: in a folder, or those of the very best in memory.

    Args:
        progress: of the run; `best` and `stale` are kept in it.
        monitor: the score that decides.
        keep: how many epochs' weights stay in the folder.
        folder: None for memory.
    """

    def __init__(self, progress: Progress, monitor: str, keep: int, folder: Path | None) -> None:
        self.progress, self.monitor, self.keep, self.folder = progress, monitor, keep, folder
        self.state: dict[str, Tensor] | None = None

    def consider(self, scores: Mapping[str, float], model: nn.Module, main: bool = True) -> None:
        """Take in an epoch's scores, and the weights where they are among the best.

        Raises:
            ValueError: the scores lack `monitor`.
        """
        p = self.progress
        if self.monitor not in scores:
            raise ValueError(f"monitor is {self.monitor!r}; evaluate gives {', '.join(scores)}")
        epoch, value = p.epoch + 1, scores[self.monitor]
        first = not p.best or self._key(value) < min(map(self._key, p.best.values()))
        ranked = sorted([*p.best.items(), (epoch, value)], key=lambda pair: self._key(pair[1]))[: self.keep]
        p.best, p.stale = dict(ranked), 0 if first else p.stale + 1
        if epoch in p.best:
            if self.folder is None:  # each process holds its own, since each puts it back
                self.state = {k: v.detach().clone() for k, v in _trained(model).items()}
            else:
                state = {k: whole(v) for k, v in _trained(model).items()}
                if main:
                    write_weights(state, self._path(epoch))

    def _key(self, value: float) -> float:
        sign = 1 if self.monitor.rpartition("_")[2] in LOWER_IS_BETTER else -1
        return sign * value if value == value else float("inf")  # what is not a number is never the best

    def _path(self, epoch: int) -> Path:
        assert self.folder is not None
        return self.folder / f"epoch-{epoch:05d}.safetensors"

    def prune(self) -> None:
        """Remove the weights of epochs that are no longer among the best; call it after a checkpoint."""
        if self.folder is not None:
            keep = {self._path(epoch) for epoch in self.progress.best}
            for path in self.folder.glob("epoch-*.safetensors"):
                if path not in keep:
                    path.unlink(missing_ok=True)  # another process may have done it

    def put_back(self, model: nn.Module, main: bool = True) -> None:
        """Give the model the best epoch's weights, and the file of them its name, best.safetensors."""
        state = self.state
        if self.folder is not None and self.progress.best:
            path = self._path(next(iter(self.progress.best)))
            state = load_file(path)
            if main:
                part = self.folder / ".best.safetensors.part"
                shutil.copyfile(path, part)
                part.replace(self.folder / "best.safetensors")
        if state is not None:
            own = model.state_dict()
            model.load_state_dict({k: cut_as(v, own[k]) for k, v in state.items()}, strict=False)


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """The state without frozen parameters, which cannot have changed and may be large."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}
